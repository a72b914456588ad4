"""Checks that the options of several servers share."""

from __future__ import annotations

from collections.abc import Iterable

from kfp_suite.components.contracts.errors import ParameterError


def at_least(least: float, **options: float) -> None:
    """Raises ParameterError for the first option below `least`."""
    for name, value in options.items():
        if value < least:
            raise ParameterError(
                "out of range",
                where=f"runtime_options.{name}",
                got=value,
                expected=f"at least {least:g}",
            )


def one_of(allowed: Iterable[str], **options: str) -> None:
    """Raises ParameterError for the first option that is not among `allowed`."""
    for name, value in options.items():
        if value not in (known := tuple(allowed)):
            raise ParameterError(
                "not allowed",
                where=f"runtime_options.{name}",
                got=value,
                expected=" or ".join(known),
            )


def served_versions(option: str, named: Iterable[int], served: Iterable[int]) -> None:
    """Raises ParameterError for a version that an option names and nobody serves."""
    known = sorted(served)
    for version in named:
        if version not in known:
            raise ParameterError(
                f"version {version} is not served",
                where=f"runtime_options.{option}",
                expected=f"one of {', '.join(map(str, known))}",
            )
