"""Where deployments go, and how long they may take: what every deploying step checks."""

from __future__ import annotations

from kfp_suite.contracts.errors import ParameterError

TARGETS = ("local", "cluster")


def check_place(target: str, timeout_seconds: float) -> None:
    """Raises ParameterError where `target` is none, or nothing can be done in that time."""
    if target not in TARGETS:
        raise ParameterError(
            "not allowed", where="target", got=target, expected=" or ".join(TARGETS)
        )
    if timeout_seconds < 1:
        raise ParameterError(
            "out of range", where="timeout_seconds", got=timeout_seconds, expected="at least 1"
        )
