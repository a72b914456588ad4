"""How an endpoint runs: the parameters that deploy and rollout share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import parse, whole_numbers
from kfp_suite.kserve.secrecy import check_no_secrets
from kfp_suite.stores.versions import check_model_name

_WHERE = "settings"
_SCALE_METRICS = ("", "cpu", "memory", "concurrency", "rps")
_LOGGED = ("all", "request", "response")
_MODES = ("", "Knative", "Standard")
_AFFINITIES = ("nodeAffinity", "podAffinity", "podAntiAffinity")


@dataclass(frozen=True)
class SecretKey:
    """A key of a Kubernetes Secret, for an environment variable."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    secret: str
    key: str


@dataclass(frozen=True)
class Batcher:
    """KServe's request batcher.

    Attributes:
        max_batch_size: Instances in a batch, at most.
        max_latency: How long a batch waits for more, in milliseconds.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_batch_size: int = 32
    max_latency: int = 50


@dataclass(frozen=True)
class PayloadLogger:
    """KServe's payload logger: CloudEvents to `url`; `mode`: all, request or response."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    url: str
    mode: str = "all"

    def __post_init__(self) -> None:
        _among("logger.mode", self.mode, _LOGGED)
        check_no_secrets({"url": self.url}, f"{_WHERE}.logger")
        if not self.url.startswith(("http://", "https://")):
            raise ParameterError(
                "not a URL", where=f"{_WHERE}.logger.url", got=self.url, expected="http(s)://…"
            )


@dataclass(frozen=True)
class EndpointSettings:
    """The endpoint's name, size and placement.

    Attributes:
        name: Of the endpoint; empty: the model's.
        image: Of the model server; empty: the suite's own for the model's framework, as the
            pipeline's image lock names it.
        transformer_image: Of the transformer; empty: as of the suite's own server.
        service_account: The account of the servers, with which they read the store.
        requests: CPU, memory and GPUs (`nvidia.com/gpu`) that the scheduler sets aside, as
            Kubernetes writes quantities.
        limits: CPU, memory and GPUs at most.
        transformer_requests: The same of a transformer, which holds no estimator.
        transformer_limits: As much.
        min_replicas: Servers at least; 0 lets Knative scale to none.
        max_replicas: Servers at most; 0: KServe's own.
        scale_metric: `concurrency` or `rps` in Knative mode, `cpu` or `memory` in Standard mode;
            empty: KServe's own.
        scale_target: The metric's value a server is meant to have, in Standard mode percent of
            what is requested; 0: KServe's own.
        timeout: Seconds a request may take; 0: KServe's own.
        batcher: KServe's request batcher; None: none (our server batches by itself).
        logger: KServe's payload logger; None: none.
        node_selector: Labels of the nodes it may run on.
        affinity: Affinity to nodes and pods, as Kubernetes writes it.
        tolerations: Taints it may run on, as Kubernetes writes them.
        priority_class: The PriorityClass of its pods.
        env: Environment variables: text, or `{secret, key}` for secrets.
        labels: More labels of the endpoint.
        annotations: More annotations of the endpoint.
        deployment_mode: `Knative` or `Standard`; empty: the cluster's default.
        shared: An InferenceService that serves many models: the version becomes a TrainedModel
            of it. If it does not exist yet, it is created with the settings of servers.
        model_memory: The memory of a model in a shared server.
        transformer: Put our server before one that takes features, so that raw records
            are taken.
        overlay: Anything else, merged over the manifest last.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str = ""
    image: str = ""
    transformer_image: str = ""
    service_account: str = ""
    requests: dict[str, str | int] = field(default_factory=lambda: {"cpu": "1", "memory": "1Gi"})
    limits: dict[str, str | int] = field(default_factory=lambda: {"cpu": "1", "memory": "2Gi"})
    transformer_requests: dict[str, str | int] = field(
        default_factory=lambda: {"cpu": "500m", "memory": "512Mi"}
    )
    transformer_limits: dict[str, str | int] = field(
        default_factory=lambda: {"cpu": "1", "memory": "1Gi"}
    )
    min_replicas: int = 1
    max_replicas: int = 0
    scale_metric: str = ""
    scale_target: int = 0
    timeout: int = 0
    batcher: Batcher | None = None
    logger: PayloadLogger | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    affinity: dict[str, Any] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class: str = ""
    env: dict[str, str | SecretKey] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    deployment_mode: str = ""
    shared: str = ""
    model_memory: str = "256Mi"
    transformer: bool = True
    overlay: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.name, self.shared):
            if name:
                check_model_name(name)
        _among("scale_metric", self.scale_metric, _SCALE_METRICS)
        _among("deployment_mode", self.deployment_mode, _MODES)
        for name in ("min_replicas", "max_replicas", "scale_target", "timeout"):
            if getattr(self, name) < 0:
                raise ParameterError(
                    "out of range",
                    where=f"{_WHERE}.{name}",
                    got=getattr(self, name),
                    expected="0 or more",
                )
        if self.max_replicas and self.max_replicas < self.min_replicas:
            raise ParameterError(
                "below min_replicas",
                where=f"{_WHERE}.max_replicas",
                got=self.max_replicas,
                expected=f"at least {self.min_replicas}, or 0",
            )
        for kind in self.affinity:
            _among("affinity", kind, _AFFINITIES)
        for name in ("env", "annotations", "labels", "overlay"):
            check_no_secrets({name: getattr(self, name)}, _WHERE)


def parse_settings(value: Mapping[str, Any]) -> EndpointSettings:
    """Settings from a mapping. Raises ParameterError."""
    return parse(EndpointSettings, whole_numbers(value), _WHERE)


def _among(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ParameterError(
            "not allowed",
            where=f"{_WHERE}.{name}",
            got=value,
            expected=", ".join(repr(one) for one in allowed),
        )
