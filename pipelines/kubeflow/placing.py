"""What each task of a compiled pipeline may use, and where it may run.

A file says it, at compile time: of every task under `defaults`, of one under `tasks`.

    defaults: {retries: 3, node_selector: {pool: ml}}
    tasks:
      train: {cpu: "8", memory: 32Gi, accelerator: nvidia.com/gpu, timeout: 2h}

What Kubernetes alone knows is written by kfp-kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import yaml

from kfp_suite.components.contracts.errors import (
    ContractError,
    ParameterError,
    did_you_mean,
    store_error,
)
from kfp_suite.components.contracts.parameters import parse, whole_numbers

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
_DURATION = re.compile(r"(\d+)([smhd])")
_SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY)(?!.*_(FILE|PATH)$)", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Json = dict[str, Any]


@dataclass(frozen=True)
class SecretUse:
    """A Secret as environment variables (`env`: key to variable) or as files (`path`)."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = ""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.path):
            raise ParameterError(
                "either env or path", where=f"secrets.{self.name}", expected="one of them"
            )


@dataclass(frozen=True)
class VolumeUse:
    """A PersistentVolumeClaim that is there, mounted at a path."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    claim: str
    path: str


@dataclass(frozen=True)
class Placement:
    """What a task may use; what is None, empty or 0 stays as it was compiled.

    Attributes:
        cpu, memory: Requested: `500m`, `4Gi`.
        cpu_limit, memory_limit: At most.
        accelerator: A resource: `nvidia.com/gpu`.
        accelerators: How many of it.
        retries: After a failure; -1: as it was compiled.
        backoff, backoff_max: The first and the longest pause between tries: `30s`.
        backoff_factor: Between two pauses.
        timeout: Of a try: `2h`.
        cache: Whether an equal task's outputs are taken.
        node_selector: Labels of its node.
        tolerations: As Kubernetes has them, in snake case.
        node_affinity: As Kubernetes has it.
        env: Environment variables that are no secret: `AWS_ENDPOINT_URL`.
        secrets, volumes: Which it sees.
        labels, annotations: Of its pod.
        image_pull_secrets: Secrets with the sign-in to a private registry, by name.
        image_pull_policy: Always, IfNotPresent or Never.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    cpu: str = ""
    cpu_limit: str = ""
    memory: str = ""
    memory_limit: str = ""
    accelerator: str = ""
    accelerators: int = 1
    retries: int = -1
    backoff: str = "10s"
    backoff_factor: float = 2.0
    backoff_max: str = "1h"
    timeout: str = ""
    cache: bool | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    node_affinity: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretUse, ...] = ()
    volumes: tuple[VolumeUse, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""

    def __post_init__(self) -> None:
        for name in ("cpu", "cpu_limit", "memory", "memory_limit"):
            if getattr(self, name) and not _QUANTITY.fullmatch(getattr(self, name)):
                raise ParameterError(
                    "not a quantity",
                    where=name,
                    got=getattr(self, name),
                    expected="as Kubernetes writes them: 500m, 2, 512Mi, 4Gi",
                )
        for name in self.env:
            if _SECRET_NAME.search(name):
                raise ParameterError(
                    "a secret is not written into a pipeline",
                    where=f"env.{name}",
                    fix="give the task a Kubernetes Secret: secrets",
                )
        for name in ("backoff", "backoff_max", "timeout"):
            if getattr(self, name):
                seconds_of(getattr(self, name), name)


def seconds_of(text: str, where: str) -> int:
    """Seconds of `30s`, `10m`, `2h` or `1d`. Raises ParameterError."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise ParameterError(
            "not a duration", where=where, got=text, expected="a number and s, m, h or d: 6h"
        )
    return int(found[1]) * _UNITS[found[2]]


def placed(file: Path | None) -> Callable[[Json, Json], None] | None:
    """What puts the placements of a file into a compiled pipeline; None without one.

    Raises:
        MissingError: there is no such file.
        ContractError: it is not YAML, or not of this form.
        ParameterError: a value that is not allowed.
    """
    if file is None:
        return None
    defaults, tasks = _read(file)

    def adapt(spec: Json, platform: Json) -> None:
        found = dict(_tasks(spec))
        for name in tasks:
            if name not in found:
                raise ParameterError(f"no task '{name}'", where=file, fix=did_you_mean(name, found))
        for name, task in found.items():
            placement = parse(Placement, whole_numbers({**defaults, **tasks.get(name, {})}), name)
            _place(spec, platform, task, placement)

    return adapt


def _read(file: Path) -> tuple[Json, dict[str, Json]]:
    try:
        found = yaml.safe_load(file.read_bytes()) or {}
    except OSError as error:
        raise store_error(error, file) from error
    except yaml.YAMLError as error:
        raise ContractError("not valid YAML", where=file, got=str(error)) from error
    known = {"defaults", "tasks"}
    if not isinstance(found, dict) or set(found) - known:
        raise ContractError(
            "not a resources file",
            where=file,
            got=found if not isinstance(found, dict) else sorted(set(found) - known),
            expected="`defaults` and `tasks`",
        )
    return found.get("defaults") or {}, found.get("tasks") or {}


def _tasks(spec: Json) -> Iterator[tuple[str, Json]]:
    """The tasks that run in a container, wherever they are."""
    executed = {
        name for name, component in spec["components"].items() if "executorLabel" in component
    }
    dags = [spec["root"], *spec["components"].values()]
    for dag in dags:
        for name, task in dag.get("dag", {}).get("tasks", {}).items():
            if task["componentRef"]["name"] in executed:
                yield name, task


def _place(spec: Json, platform: Json, task: Json, wanted: Placement) -> None:
    executor = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    container = spec["deploymentSpec"]["executors"][executor].get("container")
    if container is None:  # an importer
        return
    resources = container.setdefault("resources", {})
    for key, value in (
        ("resourceCpuRequest", wanted.cpu),
        ("resourceCpuLimit", wanted.cpu_limit),
        ("resourceMemoryRequest", wanted.memory),
        ("resourceMemoryLimit", wanted.memory_limit),
    ):
        if value:
            resources[key] = value
            # The older spelling, in cores and in billions of bytes.
            resources.pop(key[len("resource")].lower() + key[len("resource") + 1 :], None)
    if wanted.accelerator:
        resources["accelerator"] = {
            "resourceType": wanted.accelerator,
            "resourceCount": str(wanted.accelerators),
        }
    if not resources:
        del container["resources"]
    if wanted.env:
        kept = [one for one in container.get("env", ()) if one["name"] not in wanted.env]
        given = [{"name": name, "value": value} for name, value in wanted.env.items()]
        container["env"] = [*kept, *given]
    if wanted.retries >= 0:
        task["retryPolicy"] = {
            "maxRetryCount": wanted.retries,
            "backoffDuration": f"{seconds_of(wanted.backoff, 'backoff')}s",
            "backoffFactor": wanted.backoff_factor,
            "backoffMaxDuration": f"{seconds_of(wanted.backoff_max, 'backoff_max')}s",
        }
    if wanted.cache is not None:
        task["cachingOptions"] = {"enableCache": True} if wanted.cache else {}
    _place_pod(platform, executor, wanted)


def _place_pod(platform: Json, executor: str, wanted: Placement) -> None:
    from kfp import kubernetes

    executors = (
        platform.setdefault("platforms", {})
        .setdefault("kubernetes", {})
        .setdefault("deploymentSpec", {})
        .setdefault("executors", {})
    )
    # All that kfp-kubernetes reads and writes of a task.
    task: Any = SimpleNamespace(
        platform_config={"kubernetes": executors[executor]} if executor in executors else {}
    )
    for key, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in wanted.tolerations:
        kubernetes.add_toleration(task, **toleration)
    if wanted.node_affinity:
        kubernetes.add_node_affinity_json(task, dict(wanted.node_affinity))
    for secret in wanted.secrets:
        if secret.env:
            kubernetes.use_secret_as_env(task, secret.name, dict(secret.env))
        else:
            kubernetes.use_secret_as_volume(task, secret.name, secret.path)
    for volume in wanted.volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.path)
    for key, value in wanted.labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in wanted.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
    _place_image(task, wanted)
    if wanted.timeout:
        kubernetes.set_timeout(task, seconds_of(wanted.timeout, "timeout"))
    if task.platform_config:
        executors[executor] = task.platform_config["kubernetes"]
    _drop_empty(platform)


def _place_image(task: Any, wanted: Placement) -> None:
    from kfp import kubernetes

    if wanted.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(wanted.image_pull_secrets))
    if wanted.image_pull_policy:
        kubernetes.set_image_pull_policy(task, wanted.image_pull_policy)


def _drop_empty(platform: Json) -> None:
    kubernetes = platform["platforms"]["kubernetes"]
    if not kubernetes["deploymentSpec"]["executors"]:
        del kubernetes["deploymentSpec"]
    if not kubernetes:
        platform.clear()


def both(
    *adaptations: Callable[[Json, Json], None] | None,
) -> Callable[[Json, Json], None] | None:
    """One after the other; None where there is none."""
    given = [one for one in adaptations if one is not None]

    def adapt(spec: Json, platform: Json) -> None:
        for one in given:
            one(spec, platform)

    return adapt if given else None
