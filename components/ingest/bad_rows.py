"""The rows that could not be read: where each is, why, and its text."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from kfp_suite.components.contracts.sources import Source


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


_MOST_LOOKED_AT = 100
_ENCODING = "INVALID ENCODING"


def rejected_rows(
    connection: duckdb.DuckDBPyConnection,
    sources: Mapping[str, Source],
    files: Mapping[str, list[Path]],
) -> list[BadRow]:
    """The rows of CSV files that DuckDB left out, by source, file and line; each once."""
    found: list[BadRow] = []
    tables = {
        row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    }
    for name in sources:
        if f"rejects_{name}" not in tables:
            continue
        rows = connection.execute(
            f"""
            SELECT DISTINCT ON (s.file_path, r.line_byte_position)
                s.file_path, r.line_byte_position, r.column_name, r.error_type::VARCHAR,
                r.error_message, r.csv_line
            FROM "rejects_{name}" r JOIN "scans_{name}" s USING (scan_id, file_id)
            ORDER BY s.file_path, r.line_byte_position, r.column_idx
            """
        ).fetchall()
        for path, group in _by_file(rows).items():
            lines = _line_numbers(Path(path), [row[1] for row in group])
            encoding = sources[name].options.get("encoding", "utf-8")
            for (_, position, column, kind, message, text), line in zip(group, lines, strict=True):
                # What cannot be decoded cannot be converted either, and is why.
                undecoded = (
                    kind == "CAST"
                    and len(found) < _MOST_LOOKED_AT
                    and not _is_encoded(Path(path), int(position), encoding)
                )
                found.append(
                    BadRow(
                        source=name,
                        file=_name_of(path, files[name]),
                        line=line,
                        column=column,
                        reason=f"not {encoding}" if undecoded else _reason(kind, message, column),
                        text=text or "",
                        fix=_fix(name, _ENCODING if undecoded else kind, column),
                    )
                )
    return found


def _is_encoded(path: Path, position: int, encoding: str) -> bool:
    """Whether the line at a byte position (from 1) is text in that encoding."""
    if encoding != "utf-8":
        return True
    with plain(path) as file:
        file.seek(position - 1)
        try:
            file.readline().decode()
        except UnicodeDecodeError:
            return False
    return True


def _reason(kind: str, message: str, column: str | None) -> str:
    words = " ".join(message.split())
    if kind == "CAST":
        return words.removeprefix(f'Error when converting column "{column}". ')
    return words[0].lower() + words[1:].rstrip(".")


def _fix(name: str, kind: str, column: str | None) -> str:
    if kind == _ENCODING:
        return f"give the file's encoding: sources.{name}.encoding: latin-1"
    if kind == "CAST":
        return (
            f"mend the row, set on_bad_rows: quarantine, or give the column's type: "
            f"sources.{name}.types.{column}: string"
        )
    return "mend the row, or set on_bad_rows: quarantine with a max_bad_fraction"


def _by_file(rows: list[Any]) -> dict[str, list[Any]]:
    grouped: dict[str, list[tuple[object, ...]]] = {}
    for row in rows:
        grouped.setdefault(str(row[0]), []).append(row)
    return grouped


def _line_numbers(path: Path, positions: list[object]) -> list[int]:
    """The line of each byte position (from 1, ascending), in one pass.

    DuckDB counts records, which are not lines where a quoted value holds a line break.
    """
    numbers = []
    line, read = 1, 0
    with plain(path) as file:
        for position in positions:
            remaining = int(str(position)) - 1 - read
            while remaining > 0:
                block = file.read(min(remaining, 1 << 20))
                if not block:
                    break
                line += block.count(b"\n")
                read += len(block)
                remaining -= len(block)
            numbers.append(line)
    return numbers


def _name_of(path: str, files: list[Path]) -> str:
    """The user's name for a file: a zip's member is known by its archive too."""
    found = Path(path)
    for file in files:
        if file == found:
            return str(file)
        if file.suffix == ".zip" and found.parent.name == file.stem:
            return f"{file}/{found.name[6:]}"
    return path


def plain(path: Path) -> BinaryIO:
    """The bytes of a file, unzipped where its name ends in .gz."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
