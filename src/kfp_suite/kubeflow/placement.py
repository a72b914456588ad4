"""The schema of a task in a resources file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kserve.secrecy import is_secret

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
_DURATION = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EITHER_CASE = Field(validation_alias=AliasChoices("toleration_seconds", "tolerationSeconds"))


def _text(value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if is_number else value


Quantity = Annotated[str, BeforeValidator(_text)]
"""As Kubernetes has it: `500m`, `4Gi`, or a number."""


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
class Toleration:
    """A taint that does not keep a task away; `tolerationSeconds` is as right."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: Annotated[int | None, _EITHER_CASE] = None

    def __post_init__(self) -> None:
        # As Kubernetes refuses it, when the pod is made.
        wrong = {
            "a value is for operator Equal": self.operator == "Exists" and self.value,
            "without a key the operator is Exists": self.operator == "Equal" and not self.key,
            "seconds are for effect NoExecute": self.toleration_seconds is not None
            and self.effect != "NoExecute",
        }
        for why, found in wrong.items():
            if found:
                raise ParameterError("no toleration", where=f"tolerations.{self.key}", got=why)


@dataclass(frozen=True)
class Placement:
    """The resources of a task; values that are None, empty or 0 stay as compiled.

    Attributes:
        cpu, memory: Requested: `500m`, `4Gi`.
        cpu_limit, memory_limit: At most.
        accelerator: A resource: `nvidia.com/gpu`.
        accelerators: How many of it.
        retries: After a failure; -1: as it was compiled.
        backoff: The pause before the first retry: `30s`.
        backoff_factor: Between two pauses, whole.
        retry_for: All tries together, and waiting for nodes: `2d`; empty: what they may take.
        timeout: Of a try: `2h`.
        cache: Whether an equal task's outputs are taken.
        node_selector: Labels of its node.
        tolerations: As Kubernetes has them.
        node_affinity: As Kubernetes has it.
        env: Environment variables that are no secret: `AWS_ENDPOINT_URL`.
        secrets, volumes: Which it sees.
        labels, annotations: Of its pod.
        image_pull_secrets: Secrets with the sign-in to a private registry, by name.
        image_pull_policy: Always, IfNotPresent or Never.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    cpu: Quantity = ""
    cpu_limit: Quantity = ""
    memory: Quantity = ""
    memory_limit: Quantity = ""
    accelerator: str = ""
    accelerators: int = 1
    retries: int = -1
    backoff: str = "10s"
    backoff_factor: int = 2
    retry_for: str = ""
    timeout: str = ""
    cache: bool | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
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
        for name, value in self.env.items():
            if is_secret(name, value):
                raise ParameterError(
                    "a secret is not written into a pipeline",
                    where=f"env.{name}",
                    fix="give the task a Kubernetes Secret: secrets",
                )
        for name in ("backoff", "retry_for", "timeout"):
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
