"""JSON Lines that DuckDB cannot read: the lines at fault, and a file with the others.

DuckDB stops at the first such line; this looks at every line, and only where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from kfp_suite.components.contracts.columns import ColumnType
from kfp_suite.components.ingest.bad_rows import BadRow, plain

_LONGEST_TEXT = 1_000


def separate(source: str, path: Path, types: Mapping[str, ColumnType], sound: Path) -> list[BadRow]:
    """Write the lines of `path` that hold an object of these types to `sound`.

    Empty lines are left out; they are not bad.

    Args:
        source: The source's name.
        path: The file; gzipped where its name ends in .gz.
        types: Column name to the type its values must have.
        sound: The file to write.

    Returns:
        The other lines.
    """
    found = []
    sound.parent.mkdir(parents=True, exist_ok=True)
    with plain(path) as lines, sound.open("wb") as kept:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            column, reason = _fault(line, types)
            if not reason:
                kept.write(line if line.endswith(b"\n") else line + b"\n")
                continue
            text = line.decode(errors="replace").rstrip("\r\n")[:_LONGEST_TEXT]
            fix = "mend the row, or set on_bad_rows: quarantine with a max_bad_fraction"
            found.append(BadRow(source, str(path), number, column, reason, text, fix))
    return found


def _fault(line: bytes, types: Mapping[str, ColumnType]) -> tuple[str | None, str]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return None, f"not JSON: {error.msg if hasattr(error, 'msg') else error}"
    if not isinstance(value, dict):
        return None, "not an object"
    for column, kind in types.items():
        item = value.get(column)
        if item is not None and not _fits(item, kind):
            return column, f"'{column}' is not of type {kind}"
    return None, ""


def _fits(value: Any, kind: ColumnType) -> bool:
    """Whether DuckDB casts the value: numbers and booleans may be texts, too."""
    if kind == "string":
        return True
    if kind in ("date", "timestamp"):
        return isinstance(value, str)
    if isinstance(value, (list, dict)):
        return False
    if kind == "bool":
        return isinstance(value, (bool, int)) or str(value).lower() in ("true", "false", "t", "f")
    try:
        number = float(value)
    except ValueError:
        return False
    return kind == "float64" or math.isfinite(number)
