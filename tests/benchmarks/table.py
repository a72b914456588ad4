"""One measured figure beside its goal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure.

    `ratio` is the figure that `goal` speaks of: ours over theirs, taken in one run.
    """

    what: str
    ours: str
    theirs: str
    ratio: float
    goal: str


def render(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | ours | against | ratio | goal |", "|---|---|---|---|---|"]
    lines += [f"| {r.what} | {r.ours} | {r.theirs} | {r.ratio:.2g} | {r.goal} |" for r in rows]
    return "\n".join(lines)
