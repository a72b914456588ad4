"""What was looked at before something is run, and how it was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kfp_suite.contracts.errors import ParameterError

Level = Literal["ok", "unknown", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: What it is needed for: local, docker, cluster or kubeflow.
        what: The thing.
        level: `error`: what needs it fails; `warning`: it may; `unknown`: it cannot be seen.
        found: How it is.
        remedy: What to do if it is not `ok`.
    """

    area: str
    what: str
    level: Level
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = "" if self.level == "ok" or not self.remedy else f"; {self.remedy}"
        return f"{self.what}: {self.found}{remedy}"


def judged(area: str, what: str, good: bool, found: str, remedy: str = "") -> Finding:
    """A finding that is `ok` or an `error`."""
    return Finding(area, what, "ok" if good else "error", found, remedy)


def refuse_errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The warnings among findings.

    Raises:
        ParameterError: some are errors; naming each, with its remedy.
    """
    found = tuple(findings)
    errors = [one for one in found if one.level == "error"]
    if len(errors) == 1:
        (only,) = errors
        raise ParameterError(only.found, where=only.what, fix=only.remedy or None)
    if errors:
        raise ParameterError(
            f"{len(errors)} things are not as the run needs them",
            fix="; and ".join(map(str, errors)),
        )
    return tuple(one for one in found if one.level == "warning")
