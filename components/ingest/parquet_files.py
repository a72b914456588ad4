"""Parquet files as a view: every value exactly, of files from any writer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.components.ingest.bad_rows import MAX_TEXT_LENGTH, BadRow, type_misfit
from kfp_suite.components.ingest.duckdb_types import is_long_decimal, is_wide_integer
from kfp_suite.components.ingest.names import check_names
from kfp_suite.components.ingest.source_files import SourceFile
from kfp_suite.components.ingest.text_columns import fits, value
from kfp_suite.components.ingest.text_views import declared_types
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.sql import quote_name, quote_text
from kfp_suite.stores.sources import SourceSpec

_PLACE, _ROW = '"row of file"', "file_row_number"
# What DuckDB calls the type of a column without values that pandas and Arrow write.
_NO_VALUES = '"NULL"'
_MAX_DECIMAL_DIGITS = 38
"""DuckDB reads decimals of more digits as float64."""
_YEARS = "BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'"


def add_parquet_view(
    connection: duckdb.DuckDBPyConnection, name: str, spec: SourceSpec, files: list[SourceFile]
) -> list[BadRow]:
    """Create the view `name` of Parquet files.

    Files may differ in what changes no value: the order of columns, the width of integers,
    large strings and dictionaries, nullability.

    Returns:
        The rows with a value that is not of the type that was declared; the view has the
        others.

    Raises:
        DataError: files with different columns, names that cannot be kept, or a value that
            its type in a dataset cannot hold.
    """
    schemas = [_schema(name, file) for file in files]
    _check_alike(name, files, schemas)
    columns = [field.name for field in schemas[0]]
    declared = declared_types(name, spec, columns)
    parts = []
    numbered = list(enumerate(zip(files, schemas, strict=True)))
    for _, group in groupby(numbered, key=lambda item: _key(item[1][1])):
        members = list(group)
        paths = ", ".join(quote_text(file.pattern()) for _, (file, _) in members)
        selected = ", ".join(quote_name(column) for column in columns)
        parts.append(
            f"SELECT {selected}, filename, {_ROW} FROM read_parquet([{paths}],"
            " hive_partitioning=false, union_by_name=false, filename=true, file_row_number=true)"
        )
    types = _duckdb_types(connection, parts)
    checks, values = {}, {}
    for column in columns:
        kinds = types[column]
        if set(kinds) == {_NO_VALUES}:
            kinds = ["VARCHAR"] * len(kinds)
        texts = [_convert(column, kind, declared.get(column)) for kind in kinds]
        values[column], checks[column] = [t[0] for t in texts], [t[1] for t in texts]
    selects, bad = [], []
    for number, part in enumerate(parts):
        selected = ", ".join(f"{values[c][number]} AS {quote_name(c)}" for c in columns)
        wrong = {c: checks[c][number] for c in columns if checks[c][number]}
        found = _misfits(connection, name, part, wrong, declared, files)
        bad += found
        kept = " WHERE NOT (" + " OR ".join(wrong.values()) + ")" if found else ""
        selects.append(f"SELECT {selected} FROM ({part}){kept}")
    connection.execute(
        f"CREATE OR REPLACE VIEW {quote_name(name)} AS {' UNION ALL '.join(selects)}"
    )
    return bad


def _schema(name: str, file: SourceFile) -> pa.Schema:
    """The columns of a file, without the unnamed index that pandas says is none."""
    try:
        schema = pq.read_schema(file.path)
        _check_int96(name, file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            "not a whole Parquet file",
            where=f"sources.{name}: {file.name}",
            got=" ".join(str(error).split()),
            fix="write the file again",
        ) from error
    pandas = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = {
        column
        for column in pandas.get("index_columns", ())
        if isinstance(column, str) and column.startswith("__index_level_")
    }
    check_names(name, file.name, schema.names)
    for field in schema:
        if pa.types.is_decimal(field.type) and field.type.precision > _MAX_DECIMAL_DIGITS:
            raise DataError(
                f"column '{field.name}': decimals that DuckDB would round",
                where=f"sources.{name}: {file.name}",
                got=str(field.type),
                expected=f"at most {_MAX_DECIMAL_DIGITS} digits",
                fix="write it as text",
            )
    return pa.schema([field for field in schema if field.name not in index])


def _check_int96(name: str, file: SourceFile) -> None:
    """Refuse times of the old type INT96 with nanoseconds, which DuckDB would cut off.

    Arrow reads them in either unit; in nanoseconds, times far from 1970 wrap around, and so does
    the product that they are compared with.
    """
    with pq.ParquetFile(file.path) as parquet:
        columns = [
            parquet.schema.column(i).path
            for i in range(len(parquet.schema))
            if parquet.schema.column(i).physical_type == "INT96"
        ]
        names = parquet.schema_arrow.names
    if not columns:
        return
    for column in columns:
        if column not in names:
            raise DataError(
                f"column '{column}': Parquet's old type INT96 within another value",
                where=f"sources.{name}: {file.name}",
                expected="times of this type in columns of their own",
                fix="write the times as TIMESTAMP, or as text",
            )
    first = 0
    with (
        pq.ParquetFile(file.path, coerce_int96_timestamp_unit="ns") as exact,
        pq.ParquetFile(file.path, coerce_int96_timestamp_unit="us") as rounded,
    ):
        batches = (one.iter_batches(columns=columns) for one in (exact, rounded))
        for nanoseconds, microseconds in zip(*batches, strict=True):
            for column in nanoseconds.schema.names:
                ns, us = (
                    one.column(column).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
                    for one in (nanoseconds, microseconds)
                )
                (places,) = np.nonzero(us * np.int64(1000) != ns)
                if len(places):
                    place = int(places[0])
                    raise DataError(
                        f"column '{column}': a time with nanoseconds in Parquet's old type INT96",
                        where=f"sources.{name}: {file.name}: row {first + place + 1}",
                        got=f"{int(ns[place]) % 1000} ns beyond the microsecond",
                        fix="write the column as TIMESTAMP(NANOS), or as text",
                    )
            first += len(nanoseconds)


def _key(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in schema]


def _family(kind: pa.DataType) -> str:
    """What a dataset makes of an Arrow type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    families = {
        "string": pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
        "int64": pa.types.is_integer(kind),
        "float64": pa.types.is_floating(kind),
        "timestamp": pa.types.is_timestamp(kind) and not kind.tz,
        "timestamp, in UTC": pa.types.is_timestamp(kind) and kind.tz,
        "date": pa.types.is_date(kind),
    }
    return next((family for family, is_one in families.items() if is_one), str(kind))


def _check_alike(name: str, files: Sequence[SourceFile], schemas: Sequence[pa.Schema]) -> None:
    known: dict[str, str] = {}
    first = dict.fromkeys(schemas[0].names)
    for file, schema in zip(files, schemas, strict=True):
        where = f"sources.{name}: {file.name}"
        if dict.fromkeys(schema.names).keys() != first.keys():
            missing = [column for column in first if column not in schema.names]
            more = [column for column in schema.names if column not in first]
            raise DataError(
                "other columns than the first file",
                where=where,
                got=f"without {', '.join(missing)}" if missing else f"also {', '.join(more)}",
                expected=", ".join(first),
                fix="give the files the same columns",
            )
        for field in schema:
            family = _family(field.type)
            if family == "null":  # what pandas writes for a column without values
                continue
            expected = known.setdefault(field.name, family)
            if family != expected:
                raise DataError(
                    f"column '{field.name}' has another type than in the files before",
                    where=where,
                    got=family,
                    expected=expected,
                    fix="write the files with one type, or read them as two sources and "
                    "cast in `sql`",
                )


def _duckdb_types(
    connection: duckdb.DuckDBPyConnection, parts: Sequence[str]
) -> dict[str, list[str]]:
    """Column name to its type in each part, as DuckDB names it."""
    found: dict[str, list[str]] = {}
    for part in parts:
        for column, kind, *_ in connection.execute(f"DESCRIBE {part}").fetchall():
            found.setdefault(column, []).append(kind)
    return found


def _convert(column: str, kind: str, declared: ColumnType | None) -> tuple[str, str]:
    """SQL for a column's value in a dataset, and for whether it is another one ("" if never)."""
    name = quote_name(column)
    found, changed = (f"{name}::VARCHAR" if kind == "VARCHAR" else name), ""
    if kind == _NO_VALUES:
        return "NULL", ""
    if declared is not None or is_long_decimal(kind):
        text, target = _as_text(name, kind), declared or "float64"
        found = value(text, target)
        changed = "" if target == "string" else f"NOT {fits(text, target)}"
    elif is_wide_integer(kind):
        found = f"TRY_CAST({name} AS BIGINT)"
        changed = f"{found} IS NULL"
    elif kind.startswith("DECIMAL"):
        found = f"TRY_CAST({name} AS DOUBLE)"
    elif kind in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS"):
        plain = f"({name} AT TIME ZONE 'UTC')" if kind == "TIMESTAMPTZ_NS" else name
        found = f"{plain}::TIMESTAMP"
        changed = f"{found}::TIMESTAMP_NS IS DISTINCT FROM {plain}"
    elif kind == "DATE" or kind.startswith("TIMESTAMP"):
        found = f"({name} AT TIME ZONE 'UTC')" if kind == "TIMESTAMP WITH TIME ZONE" else name
        changed = f"NOT {found}::DATE {_YEARS}"
    return found, f"({name} IS NOT NULL AND {changed})" if changed else ""


def _as_text(name: str, kind: str) -> str:
    """SQL for a value as text, by the grammar of text values."""
    if kind in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"):
        return f"({name} AT TIME ZONE 'UTC')::VARCHAR || 'Z'"
    if kind in ("FLOAT", "DOUBLE"):
        # A whole number as one: 5.0 is 5.
        whole = f"TRY_CAST({name} AS HUGEINT)"
        return (
            f"CASE WHEN {name} = {whole} AND {name} NOT IN (0) THEN {whole}::VARCHAR"
            f" WHEN {name} = 0 THEN '0' ELSE {name}::DOUBLE::VARCHAR END"
        )
    return f"{name}::VARCHAR"


def _misfits(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    part: str,
    wrong: dict[str, str],
    declared: dict[str, ColumnType],
    files: Sequence[SourceFile],
) -> list[BadRow]:
    """The rows with a value that would be changed; without a declared type the run is refused."""
    if not wrong:
        return []
    names = {str(file.path): file.name for file in files}
    shown = ", ".join(f"{rule}, {quote_name(column)}::VARCHAR" for column, rule in wrong.items())
    rows = connection.execute(
        f"SELECT filename, {_ROW}, {shown} FROM ({part}) WHERE {' OR '.join(wrong.values())}"
        f" ORDER BY filename, {_ROW}"
    ).fetchall()
    bad = []
    for path, row, *cells in rows:
        for column, is_wrong, text in zip(wrong, cells[::2], cells[1::2], strict=True):
            if not is_wrong:
                continue
            if column not in declared:
                raise DataError(
                    f"column '{column}': a value that a dataset cannot hold exactly",
                    where=f"{names[path]}: row {row + 1}",
                    got=text,
                    fix=f"give the column's type: sources.{source}.types.{column}: string",
                )
            bad.append(
                type_misfit(
                    source, names[path], row + 1, column, declared[column], text[:MAX_TEXT_LENGTH]
                )
            )
            break
    return bad
