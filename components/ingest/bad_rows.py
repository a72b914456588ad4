"""The rows that could not be read: where each is, why, and its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from kfp_suite.components.ingest.source_files import SourceFile

MAX_TEXT_LENGTH = 1_000
"""Characters of a bad row that are kept."""

QUARANTINE_FIX = "mend the row, or set on_bad_rows: quarantine with a max_bad_fraction"


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read: where it is, why, and its text."""

    source: str
    file: str
    line: int
    column: str | None
    reason: str
    text: str
    fix: str


_REASONS = {
    "INVALID ENCODING": "not utf-8",
    "LINE SIZE OVER MAXIMUM": "a line longer than 2,000,000 bytes",
    "TOO MANY COLUMNS": "more values than columns",
    "MISSING COLUMNS": "fewer values than columns",
    "UNQUOTED VALUE": "a quoted value that does not end at its quote",
}


def type_misfit(source: str, file: str, line: int, column: str, kind: str, text: str) -> BadRow:
    """A row with a value that is not exactly one of the type that was declared."""
    fix = (
        f"mend the row, set on_bad_rows: quarantine, or give the column's type: "
        f"sources.{source}.types.{column}: string"
    )
    return BadRow(source, file, line, column, f"'{column}' is not of type {kind}", text, fix)


def rejected_rows(
    connection: duckdb.DuckDBPyConnection, source: str, files: Mapping[str, SourceFile]
) -> list[BadRow]:
    """The rows of CSV files that DuckDB left out, by file and line, each once.

    Args:
        connection: Where the tables `rejects_{source}` and `scans_{source}` are; they are
            dropped.
        source: The source's name.
        files: The files, by the path that DuckDB read.
    """
    tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    if (f"rejects_{source}",) not in tables:
        return []
    rows = connection.execute(
        f"""
        SELECT DISTINCT ON (s.file_path, r.line_byte_position)
            s.file_path, r.line_byte_position, r.column_name, r.error_type::VARCHAR,
            r.error_message, r.csv_line
        FROM "rejects_{source}" r JOIN "scans_{source}" s USING (scan_id, file_id)
        ORDER BY s.file_path, r.line_byte_position, r.column_idx
        """
    ).fetchall()
    connection.execute(f'DROP TABLE "rejects_{source}"; DROP TABLE "scans_{source}"')
    by_file: dict[str, list[Any]] = {}
    for row in rows:
        by_file.setdefault(str(row[0]), []).append(row)
    found = []
    for path, file in files.items():
        group = by_file.get(path, [])
        lines = _line_numbers(file, [int(row[1]) for row in group])
        for (_, _, column, kind, message, text), line in zip(group, lines, strict=True):
            reason = _REASONS.get(kind) or _reason(message)
            fix = QUARANTINE_FIX
            if kind == "INVALID ENCODING":
                fix = f"give the file's encoding, such as sources.{source}.encoding: cp1252"
            shown = (text or "").rstrip("\r\n")[:MAX_TEXT_LENGTH]
            found.append(BadRow(source, file.name, line, column, reason, shown, fix))
    return found


def _reason(message: str) -> str:
    words = " ".join(message.split())
    return words[:1].lower() + words[1:].rstrip(".")


def _line_numbers(file: SourceFile, positions: list[int]) -> list[int]:
    """The line of each byte position (from 1, ascending), in one pass.

    DuckDB counts records, which are not lines if a quoted value holds a line break.
    """
    if not positions:
        return []
    numbers = []
    line, read, last = 1, 0, b""
    with file.open() as content:
        for position in positions:
            remaining = position - 1 - read
            while remaining > 0:
                block = content.read(min(remaining, 1 << 20))
                if not block:
                    break
                pairs = block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
                line += block.count(b"\n") + block.count(b"\r") - pairs
                last = block[-1:]
                read += len(block)
                remaining -= len(block)
            numbers.append(line)
    return numbers
