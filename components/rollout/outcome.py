"""What a rollout came to: what `rollout.json` holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Step:
    """What happened at one share. `answered`: how many answers of the candidate were counted."""

    percent: int
    seconds: float
    judgement: dict[str, Any]
    why: str
    answered: int = 0


@dataclass(frozen=True)
class Outcome:
    """The content of `rollout.json`. `before` is the version that served, 0 for none; `share`, the
    percentage that the version is left with."""

    model: str
    name: str
    version: int
    before: int
    promoted: bool
    why: str
    share: int
    steps: tuple[Step, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def measured(self) -> bool:
        """Whether an answer of the version was counted: without one nothing was compared."""
        return any(step.answered for step in self.steps)
