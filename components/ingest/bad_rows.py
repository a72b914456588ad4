"""The rows that could not be read: where each is, why, and its text."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TEXT_LENGTH = 1_000
"""Characters of a bad row that are kept."""

QUARANTINE_FIX = "mend the row, or set on_bad_rows: quarantine with a max_bad_fraction"


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read: its position, the reason, and its text.

    `rows` is as how many rows it counts: as many as it has lines, if a quote does not end.
    """

    source: str
    file: str
    line: int
    column: str | None
    reason: str
    text: str
    fix: str
    rows: int = 1


def type_misfit(source: str, file: str, line: int, column: str, kind: str, text: str) -> BadRow:
    """A row with a value that is not exactly one of the type that was declared."""
    fix = (
        f"mend the row, set on_bad_rows: quarantine, or give the column's type: "
        f"sources.{source}.types.{column}: string"
    )
    return BadRow(source, file, line, column, f"'{column}' is not of type {kind}", text, fix)
