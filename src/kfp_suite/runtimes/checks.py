"""Checks that the options of several servers share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kfp_suite.contracts.errors import ParameterError

OPTIONS = "runtime_options"
INT32, UINT32, INT64 = 2**31 - 1, 2**32 - 1, 2**63 - 1
"""The largest numbers that the fields of the servers' protos hold."""


def in_range(
    least: float, most: float = math.inf, *, where: str = OPTIONS, **options: float
) -> None:
    """Check numbers.

    Args:
        least, most: The smallest and the largest allowed value; infinity never is.
        where: The parameter that holds the options, for errors.
        options: Name to value.

    Raises:
        ParameterError: naming the first that is not in the range.
    """
    for name, value in options.items():
        if not least <= value <= most or math.isinf(value):
            raise ParameterError(
                "out of range",
                where=f"{where}.{name}",
                got=value,
                expected=f"at least {least}" if math.isinf(most) else f"{least} to {most}",
            )


def one_of(allowed: Iterable[str], **options: str) -> None:
    """Raises ParameterError for the first option that is not among `allowed`."""
    for name, value in options.items():
        if value not in (known := tuple(allowed)):
            raise ParameterError(
                "not allowed",
                where=f"{OPTIONS}.{name}",
                got=value,
                expected=" or ".join(known),
            )


def different(**options: Sequence[int]) -> None:
    """Raises ParameterError for the first option that holds a number twice."""
    for name, values in options.items():
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise ParameterError(
                f"{twice} is there twice",
                where=f"{OPTIONS}.{name}",
                got=list(values),
                fix="name each once",
            )


def served_of(versions: Iterable[int], latest: int, specific: Sequence[int]) -> list[int]:
    """The versions that a policy serves, ascending: `specific`, or the `latest` N; 0: all.

    Raises:
        ParameterError: `specific` names one that is not there.
    """
    served_versions("specific", specific, versions := sorted(versions))
    return sorted(specific) or versions[-latest:]


def check_deployed(deployed: int, served: Sequence[int], default: int) -> None:
    """Raises ParameterError if requests that name no version would not get the deployed one.

    Args:
        deployed: The version of the deployment.
        served: All versions that are served.
        default: The version that such requests get.
    """
    if deployed not in served:
        raise ParameterError(
            f"version {deployed} is deployed, and not served",
            where=OPTIONS,
            got=f"{', '.join(map(str, served))} served",
            fix="name it in the version policy, too, or leave the policy out",
        )
    if deployed != default:
        raise ParameterError(
            f"requests that name no version would get version {default}",
            where="versions",
            expected=f"version {deployed}, which is deployed",
            fix=f"deploy version {default}, with versions: [{deployed}]",
        )


def served_versions(option: str, named: Iterable[int], served: Iterable[int]) -> None:
    """Raises ParameterError for a version that an option names and that is not served."""
    known = sorted(served)
    for version in named:
        if version not in known:
            raise ParameterError(
                f"version {version} is not served",
                where=f"{OPTIONS}.{option}",
                expected=f"one of {', '.join(map(str, known))}",
            )
