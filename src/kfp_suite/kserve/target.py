"""The target of a deployment: a manifest on this machine, or a cluster."""

from __future__ import annotations

import re

from kfp_suite.contracts.errors import ParameterError

LOCAL, CLUSTER = "local", "cluster"
TARGETS = (LOCAL, CLUSTER)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def runs_on_cluster(artifact: str) -> bool:
    """Whether a step runs on a cluster: KFP keeps the artifacts of such a step in a bucket.

    A pod alone says nothing: a notebook server runs pipelines on its own disk.

    Args:
        artifact: The URI of an output of the step.
    """
    scheme, separator, _ = artifact.partition("://")
    return bool(separator) and scheme != "file"


def target_of(given: str, artifact: str) -> str:
    """The target of a step: the given one, or that of the place where the step runs.

    Args:
        given: `local`, `cluster`, or empty.
        artifact: The URI of an output of the step.
    """
    return given or (CLUSTER if runs_on_cluster(artifact) else LOCAL)


def check_target(target: str) -> None:
    """Raises ParameterError if there is no such target."""
    if target not in TARGETS:
        raise ParameterError(
            "not allowed", where="target", got=target, expected=" or ".join(TARGETS)
        )


def check_namespace(name: str) -> None:
    """Raises ParameterError if Kubernetes takes no namespace of this name."""
    if not _NAMESPACE.fullmatch(name):
        raise ParameterError(
            "not a namespace",
            where="namespace",
            got=name,
            expected="at most 63 lower-case letters, digits and '-', not at an end",
        )
