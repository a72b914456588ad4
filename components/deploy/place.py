"""Where deployments go, and how long they may take: what every deploying step checks."""

from __future__ import annotations

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kserve.target import check_target


def check_place(target: str, timeout_seconds: float) -> None:
    """Raises ParameterError if `target` is none, or nothing can be done in that time."""
    check_target(target)
    if timeout_seconds < 1:
        raise ParameterError(
            "out of range", where="timeout_seconds", got=timeout_seconds, expected="at least 1"
        )
