"""A task of a run, and which nodes of the engine's are tasks."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

CACHED = "CACHED"
"""The state of a task that KFP took from its cache: a word of ours, KFP says SUCCEEDED."""
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED", CACHED)
# What Kubeflow puts around tasks: conditions, loops, exit handlers, and what runs a container.
_AROUND = re.compile(
    r"root|.*-driver|executor|.*\.onExit|iteration-(item|iterations(\(.*\))?)|.*\(\d+\)"
    r"|(condition(-branches)?|for-loop|exit-handler)-\d+|steps|(if|each)-[a-z-]+"
)


@dataclass(frozen=True)
class Task:
    """A task of a run: `state` as KFP names it, or CACHED; `seconds` that it took, None until it
    ends. `error`: why it failed; `reason`: why it does not run yet. Both are empty if that is not
    known."""

    id: str
    name: str
    state: str
    seconds: float | None
    error: str = ""
    reason: str = ""


def is_step(name: str, names: Container[str] | None) -> bool:
    """Whether a node of the engine's is a task.

    Args:
        name: The node's.
        names: Of the tasks; None if they are not known: then by how the engine names its own.
    """
    if names is not None:
        return name in names
    return bool(name) and not _AROUND.fullmatch(name)
