"""Files of a source as a DuckDB view; what makes them unreadable is told first."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.components.contracts.errors import DataError, did_you_mean
from kfp_suite.components.contracts.sources import Source
from kfp_suite.components.ingest.bad_rows import BadRow, plain
from kfp_suite.components.ingest.json_lines import separate
from kfp_suite.components.ingest.query import SQL_TYPES, one_line
from kfp_suite.components.stores.sources import SourceSpec, spec_of


def add_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    files: list[Path],
    work: Path,
) -> list[BadRow]:
    """Make the files of a source readable as the view `name`.

    Returns:
        The lines of JSON that are left out; rejected rows of CSV are known once it was read.

    Raises:
        DataError: an empty or truncated file, files with different columns, a column
            twice.
    """
    spec = spec_of(source)
    for path in files:
        if path.stat().st_size == 0:
            raise DataError("the file is empty", where=f"sources.{name}: {path}")
    plain_files = [
        part for path in files for part in _unzipped(name, path, work / f"{name}.unzipped")
    ]
    listed = "[" + ", ".join(_text(str(path)) for path in plain_files) + "]"
    match source.format:
        case "parquet":
            _check_parquet(name, plain_files)
            relation = f"read_parquet({listed})"
        case "jsonl":
            return _add_json_view(connection, name, spec, plain_files, work)
        case _:
            _check_headers(name, plain_files, spec)
            relation = f"read_csv({listed}, {_csv_options(name, spec)})"
    try:
        connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {relation}')
    except duckdb.Error as error:
        raise DataError(one_line(error), where=f"sources.{name}: {plain_files[0]}") from error
    return []


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


def _add_json_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    spec: SourceSpec,
    files: list[Path],
    work: Path,
) -> list[BadRow]:
    bad: list[BadRow] = []
    try:
        fits = _create_json_view(connection, name, spec, files)
    except duckdb.InvalidInputException:
        fits = False
    if not fits:
        sound = [work / f"{name}.sound" / f"{i:05}.jsonl" for i in range(len(files))]
        for path, target in zip(files, sound, strict=True):
            bad += separate(name, path, spec.types, target)
        if bad and all(target.stat().st_size == 0 for target in sound):
            raise DataError(
                "no line can be read",
                where=f"{bad[0].file}:{bad[0].line}",
                got=bad[0].text,
                expected="a JSON object a line",
            )
        files = sound
    try:
        if not fits:
            _create_json_view(connection, name, spec, files)
    except duckdb.Error as error:
        raise DataError(one_line(error), where=f"sources.{name}: {files[0]}") from error
    return bad


def _create_json_view(
    connection: duckdb.DuckDBPyConnection, name: str, spec: SourceSpec, files: list[Path]
) -> bool:
    """Create the view `name`; False where a value is not of the type that was given.

    Types are inferred from every line, so that a rare value is not a surprise.
    """
    listed = "[" + ", ".join(_text(str(path)) for path in files) + "]"
    relation = (
        f"read_json({listed}, format='newline_delimited', sample_size=-1, union_by_name=true)"
    )
    known = [row[0] for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()]
    for column in spec.types:
        if column not in known:
            raise DataError(
                f"no column '{column}'",
                where=f"sources.{name}.types",
                fix=did_you_mean(column, known),
            )
    casts = {_identifier(column): SQL_TYPES[kind] for column, kind in spec.types.items()}
    replaced = ", ".join(f"CAST({c} AS {kind}) AS {c}" for c, kind in casts.items())
    connection.execute(
        f'CREATE OR REPLACE VIEW "{name}" AS SELECT *'
        + (f" REPLACE ({replaced})" if casts else "")
        + f" FROM {relation}"
    )
    misfits = " OR ".join(
        f"({c} IS NOT NULL AND TRY_CAST({c} AS {kind}) IS NULL)" for c, kind in casts.items()
    )
    if not misfits:
        return True
    found = connection.execute(f"SELECT 1 FROM {relation} WHERE {misfits} LIMIT 1").fetchone()
    return found is None


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
    with plain(path) as raw, io.TextIOWrapper(raw, spec.encoding, errors="replace") as file:
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
