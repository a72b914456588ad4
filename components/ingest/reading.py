"""Files of a source as a DuckDB view, and the rows that could not be read."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.components.contracts.dataset import Source
from kfp_suite.components.contracts.errors import DataError
from kfp_suite.components.ingest.query import SQL_TYPES, one_line
from kfp_suite.components.stores.sources import SourceSpec, spec_of


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


def add_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    files: list[Path],
    work: Path,
) -> None:
    """Make the files of a source readable as the view `name`.

    Raises:
        DataError: an empty or truncated file, files with different columns, a column
            twice.
    """
    spec = spec_of(source)
    for path in files:
        if path.stat().st_size == 0:
            raise DataError("the file is empty", where=f"sources.{name}: {path}")
    plain = [part for path in files for part in _unzipped(name, path, work / f"{name}.unzipped")]
    listed = "[" + ", ".join(_text(str(path)) for path in plain) + "]"
    match source.format:
        case "parquet":
            _check_parquet(name, plain)
            relation = f"read_parquet({listed})"
        case "jsonl":
            relation = (
                f"read_json({listed}, format='newline_delimited', sample_size=-1, "
                f"union_by_name=true{_json_types(spec)})"
            )
        case _:
            _check_headers(name, plain, spec)
            relation = f"read_csv({listed}, {_csv_options(name, spec)})"
    try:
        connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {relation}')
    except duckdb.Error as error:
        raise DataError(one_line(error), where=f"sources.{name}: {plain[0]}") from error


def bad_rows(
    connection: duckdb.DuckDBPyConnection,
    sources: Mapping[str, Source],
    files: Mapping[str, list[Path]],
) -> list[BadRow]:
    """The rows that reading left out, by source, file and line; each once."""
    found = []
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
            for (_, _, column, kind, message, text), line in zip(group, lines, strict=True):
                found.append(
                    BadRow(
                        source=name,
                        file=_name_of(path, files[name]),
                        line=line,
                        column=column,
                        reason=_reason(kind, message, column),
                        text=text or "",
                        fix=_fix(name, kind, column),
                    )
                )
    return found


def _reason(kind: str, message: str, column: str | None) -> str:
    words = " ".join(message.split())
    if kind == "CAST":
        return words.removeprefix(f'Error when converting column "{column}". ')
    return words[0].lower() + words[1:].rstrip(".")


def _fix(name: str, kind: str, column: str | None) -> str:
    if kind == "INVALID ENCODING":
        return f"give the file's encoding: sources.{name}.encoding: latin-1"
    if kind == "CAST":
        return (
            f"mend the row, set on_bad_rows: quarantine, or give the column's type: "
            f"sources.{name}.types.{column}: string"
        )
    return "mend the row, or set on_bad_rows: quarantine with a max_bad_fraction"


def _csv_options(name: str, spec: SourceSpec) -> str:
    options = [
        f"header={str(spec.header).lower()}",
        "store_rejects=true",
        f"rejects_table='rejects_{name}'",
        f"rejects_scan='scans_{name}'",
        f"encoding={_text(spec.encoding)}",
        "null_padding=false",
    ]
    if spec.delimiter:
        options.append(f"delim={_text(spec.delimiter)}")
    if spec.null_values:
        options.append(f"nullstr=[{', '.join(_text(v) for v in ('', *spec.null_values))}]")
    if spec.types:
        types = ", ".join(f"{_text(c)}: {_text(SQL_TYPES[t])}" for c, t in spec.types.items())
        options.append(f"types={{{types}}}")
    return ", ".join(options)


def _json_types(spec: SourceSpec) -> str:
    if not spec.types:
        return ""
    types = ", ".join(f"{_text(c)}: {_text(SQL_TYPES[t])}" for c, t in spec.types.items())
    return f", columns={{{types}}}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _unzipped(name: str, path: Path, folder: Path) -> list[Path]:
    """The files in a zip archive, extracted; any other file as it is, if it is whole."""
    if path.suffix == ".gz":
        try:
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass
        except (EOFError, OSError) as error:
            raise DataError(
                "not a whole gzip file", where=f"sources.{name}: {path}", got=str(error)
            ) from error
        return [path]
    if path.suffix != ".zip":
        return [path]
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(
                m
                for m in archive.namelist()
                if not m.endswith("/") and not m.startswith("__MACOSX")
            )
            # Numbered, so that a member's own path cannot leave the folder.
            targets = []
            for number, member in enumerate(members):
                target = folder / path.stem / f"{number:05}-{Path(member).name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as file:
                    while block := source.read(1 << 20):
                        file.write(block)
                targets.append(target)
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            "not a whole zip file", where=f"sources.{name}: {path}", got=str(error)
        ) from error
    if not targets:
        raise DataError("the archive is empty", where=f"sources.{name}: {path}")
    return targets


def _check_headers(name: str, files: list[Path], spec: SourceSpec) -> None:
    """Every file has the columns of the first, each once."""
    if not spec.header:
        return
    first: list[str] | None = None
    for path in files:
        header = _header(path, spec)
        twice = sorted({c for c in header if header.count(c) > 1})
        if twice:
            raise DataError(
                f"column '{twice[0]}' is there twice",
                where=f"sources.{name}: {path}",
                fix="rename one of them in the file",
            )
        if first is not None and header != first:
            raise DataError(
                "other columns than the first file",
                where=f"sources.{name}: {path}",
                got=", ".join(header),
                expected=", ".join(first),
                fix="give the files the same columns in the same order",
            )
        first = first or header


def _header(path: Path, spec: SourceSpec) -> list[str]:
    with _plain(path) as raw, io.TextIOWrapper(raw, spec.encoding, errors="replace") as file:
        line = file.readline()
        delimiter = spec.delimiter or max(",\t;|", key=line.count)
        return next(csv.reader([line], delimiter=delimiter), [])


def _check_parquet(name: str, files: list[Path]) -> None:
    first: pa.Schema | None = None
    for path in files:
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(
                "not a whole Parquet file",
                where=f"sources.{name}: {path}",
                got=" ".join(str(error).split()),
                fix="write the file again",
            ) from error
        if first is not None and not schema.equals(first):
            raise DataError(
                "another schema than the first file",
                where=f"sources.{name}: {path}",
                got=_described(schema),
                expected=_described(first),
            )
        first = first or schema


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _plain(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


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
    with _plain(path) as file:
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
