"""JSON Lines as a view: each value as the text that the file has, typed by one grammar.

Parsers of JSON make numbers of what they read, and lose digits. So the lines are first copied
to Parquet files of text, in one pass that also finds the lines that are no JSON objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.components.ingest.bad_rows import MAX_TEXT_LENGTH, QUARANTINE_FIX, BadRow
from kfp_suite.components.ingest.names import check_names
from kfp_suite.components.ingest.source_files import SourceFile
from kfp_suite.components.ingest.text_views import (
    Record,
    TextSource,
    create_text_view,
    declared_types,
)
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.exact_json import unique_keys
from kfp_suite.contracts.sql import quote_text
from kfp_suite.contracts.text_values import parse_text
from kfp_suite.stores.sources import SourceSpec

_MAX_LINE_BYTES = 16 << 20
_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 50_000
# float64 holds each whole number of so many digits.
_MAX_EXACT_DIGITS = 15
# What values of a kind may turn out to be; a number in quotes stays text.
_TYPES: dict[str, tuple[ColumnType, ...]] = {
    "number": ("int64", "float64"),
    "text": ("date", "timestamp"),
    "true or false": ("bool",),
    "object or list": (),
}


class _Number(str):
    """A number as it is written."""


def add_json_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    spec: SourceSpec,
    files: list[SourceFile],
    work: Path,
) -> list[BadRow]:
    """Create the view `name` of JSON Lines.

    Returns:
        The lines that the view does not have.

    Raises:
        DataError: no line is an object, names that cannot be kept, values of several kinds
            in a column without a declared type, or as `create_text_view`.
    """
    copy = _TextCopy(work / f"{name}.text")
    nested_numbers = _NestedNumbers()
    bad = []
    for file in files:
        for item in _lines(name, file):
            if isinstance(item, BadRow):
                bad.append(item)
            else:
                copy.add(item[1])
                nested_numbers.add(item[1], f"{file.name}:{item[0]}")
    nested_numbers.check()
    paths = copy.close()
    if bad and not copy.rows:
        raise DataError(
            f"no line can be read; the first is refused: {bad[0].reason}",
            where=f"{bad[0].file}:{bad[0].line}",
            got=bad[0].text,
            expected="a JSON object a line",
            fix="jq -c '.[]' makes lines of a list" if bad[0].text.startswith("[") else None,
        )
    if not paths:
        raise DataError("no rows", where=f"sources.{name}: {files[0].name}", fix="check the data")
    check_names(name, files[0].name, list(copy.kinds))
    declared = declared_types(name, spec, copy.kinds)
    for column, kinds in copy.kinds.items():
        if len(kinds) > 1 and column not in declared:
            raise DataError(
                f"column '{column}' has values of several kinds",
                where=f"sources.{name}: {files[0].name}",
                got=" and ".join(sorted(kinds)),
                fix=f"give the column's type: sources.{name}.types.{column}: string",
            )

    def records() -> Iterator[Record]:
        for file in files:
            for item in _lines(name, file):
                if not isinstance(item, BadRow):
                    line, values, text = item
                    texts = {key: _text(value) for key, value in values.items()}
                    kept = {key: text for key, text in texts.items() if text is not None}
                    yield Record(file.name, line, text, kept)

    listed = ", ".join(quote_text(SourceFile(path, "").pattern()) for path in paths)
    columns = {
        column: tuple(kind for found in kinds for kind in _TYPES[found])
        for column, kinds in copy.kinds.items()
    }
    nested = {column for column, kinds in copy.kinds.items() if kinds == {"object or list"}}
    relation = f"read_parquet([{listed}], union_by_name=true, hive_partitioning=false)"
    source = TextSource(name, relation, columns, records, nested=nested)
    return bad + create_text_view(connection, source, spec)


def _lines(name: str, file: SourceFile) -> Iterator[BadRow | tuple[int, dict[str, Any], str]]:
    """Each line that is not blank: its number, values and text; or what is wrong with it."""
    with file.open() as content:
        number = 0
        while line := content.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            reason = "a line longer than 16 MiB"
            if len(line) <= _MAX_LINE_BYTES:
                value, reason = _parsed(line)
                if value is not None:
                    yield number, value, line.decode().rstrip("\r\n")
                    continue
            shown = line[:MAX_TEXT_LENGTH].decode(errors="replace").rstrip("\r\n")
            yield BadRow(name, file.name, number, None, reason, shown, QUARANTINE_FIX)
            while len(line) > _MAX_LINE_BYTES and not line.endswith(b"\n"):
                line = content.readline(_MAX_LINE_BYTES + 1)
                if not line:
                    return


def _parsed(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """The object in a line, its numbers as text; or why there is none."""
    try:
        value = _DECODER.decode(line.decode())
        _check_nested(value)
        json.dumps(value, ensure_ascii=False).encode() if b"\\u" in line else None
    except json.JSONDecodeError as error:
        return None, f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
    except UnicodeDecodeError:
        return None, "not utf-8"
    except UnicodeEncodeError:
        return None, "half of a surrogate pair is no character"
    except RecursionError:
        return None, "nested too deeply"
    except ValueError as error:
        return None, str(error)
    return (value, "") if isinstance(value, dict) else (None, "not an object")


_DECODER = json.JSONDecoder(
    object_pairs_hook=unique_keys, parse_int=_Number, parse_float=_Number, parse_constant=_Number
)


def _check_nested(value: Any) -> None:
    """DuckDB reads what is nested, and rounds numbers: refuse those it would change."""
    for item in value.values() if isinstance(value, dict) else ():
        if isinstance(item, (dict, list)):
            _check_numbers(item)


def _check_numbers(value: Any) -> None:
    if isinstance(value, _Number) and not any(
        _is_of_type(value, kind) for kind in _TYPES["number"]
    ):
        raise ValueError(f"a number that float64 cannot hold: {value}")
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list)):
        for item in items:
            _check_numbers(item)


class _NestedNumbers:
    """The numbers within objects and lists: DuckDB makes float64 of all at a place if one is."""

    def __init__(self) -> None:
        self._floats: set[tuple[str, ...]] = set()
        self._wide: dict[tuple[str, ...], tuple[str, str]] = {}

    def add(self, values: dict[str, Any], where: str) -> None:
        """Look at a row.

        Args:
            values: Its values.
            where: Its file and line.
        """
        for name, value in values.items():
            if isinstance(value, (dict, list)):
                self._add(value, (name,), where)

    def check(self) -> None:
        """Refuse whole numbers that would be rounded, because of others at their place.

        Raises:
            DataError: naming the first.
        """
        for place, (where, text) in self._wide.items():
            if place in self._floats:
                raise DataError(
                    f"'{'.'.join(place)}' has decimals and a whole number that float64 cannot hold",
                    where=where,
                    got=text,
                    fix="write it as text, in quotes",
                )

    def _add(self, value: Any, place: tuple[str, ...], where: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self._add(item, (*place, key), where)
        elif isinstance(value, list):
            for item in value:
                self._add(item, (*place, "[]"), where)
        elif isinstance(value, _Number):
            if not _is_of_type(value, "int64"):
                self._floats.add(place)
            elif len(value) > _MAX_EXACT_DIGITS and not _is_of_type(value, "float64"):
                self._wide.setdefault(place, (where, value))


def _is_of_type(text: str, kind: ColumnType) -> bool:
    try:
        parse_text(text, kind)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str | None:
    """A value as text; of an object or list, its JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return str(value)
    return _json(value)


def _json(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        inner = ",".join(
            f"{json.dumps(k, ensure_ascii=False)}:{_json(v)}" for k, v in value.items()
        )
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _kind(value: Any) -> str:
    if isinstance(value, _Number):
        return "number"
    if isinstance(value, str):
        return "text"
    return "true or false" if isinstance(value, bool) else "object or list"


class _TextCopy:
    """Rows as Parquet files of text; memory is that of one batch.

    Attributes:
        kinds: Column name to the kinds of its values, in the order of first appearance.
        rows: How many rows there are.
    """

    def __init__(self, folder: Path) -> None:
        self.kinds: dict[str, set[str]] = {}
        self.rows = 0
        self._folder = folder
        self._batch: list[dict[str, str | None]] = []
        self._bytes = 0
        self._paths: list[Path] = []

    def add(self, values: dict[str, Any]) -> None:
        """Add a row."""
        texts = {}
        for name, value in values.items():
            kinds = self.kinds.setdefault(name, set())
            if value is not None:
                kinds.add(_kind(value))
                text = texts[name] = _text(value)
                self._bytes += len(text or "")
        self._batch.append(texts)
        self.rows += 1
        # Rows without a column are kept until one is known.
        if (len(self._batch) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES) and self.kinds:
            self._write()

    def close(self) -> list[Path]:
        """Write what is left; the files, in order."""
        if self._batch and self.kinds:
            self._write()
        return self._paths

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        table = pa.table(
            {
                name: pa.array([row.get(name) for row in self._batch], pa.string())
                for name in self.kinds
            }
        )
        path = self._folder / f"{len(self._paths):05}.parquet"
        pq.write_table(table, path)
        self._paths.append(path)
        self._batch, self._bytes = [], 0
