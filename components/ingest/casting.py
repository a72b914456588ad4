"""The columns of a query's result, cast to the types of a dataset without losing a digit."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from kfp_suite.components.ingest.duckdb_types import (
    is_long_decimal,
    is_whole_decimal,
    is_wide_integer,
)
from kfp_suite.components.ingest.query import SQL_TYPES
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.sql import quote_name
from kfp_suite.contracts.tables import ARROW_TYPES, columns_of

# DuckDB's spelling of a type, up to a parenthesis, to ours; what is not here is refused.
_CANONICAL: dict[str, ColumnType] = {
    **dict.fromkeys(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), "int64"
    ),
    **dict.fromkeys(("UBIGINT", "HUGEINT", "UHUGEINT"), "int64"),
    **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL"), "float64"),
    "BOOLEAN": "bool",
    **dict.fromkeys(("VARCHAR", "ENUM", "UUID"), "string"),
    "DATE": "date",
    **dict.fromkeys(
        (
            "TIMESTAMP",
            "TIMESTAMP_S",
            "TIMESTAMP_MS",
            "TIMESTAMP_NS",
            "TIMESTAMP WITH TIME ZONE",
            "TIMESTAMPTZ_NS",
        ),
        "timestamp",
    ),
}
_MARK = "not exact in column"
_MARKED = re.compile(rf"{_MARK} (\d+): (.*)", re.DOTALL)
_FIXES = {
    "int64": "read it as text, or leave it out: CAST({name} AS VARCHAR)",
    "float64": "say in `sql` what may be lost, CAST({name} AS DOUBLE), or keep it as text: "
    "CAST({name} AS VARCHAR)",
    "timestamp": "cut it to microseconds in `sql`: date_trunc('microseconds', {name})::TIMESTAMP",
}


def canonical_query(
    connection: duckdb.DuckDBPyConnection, relation: str, *, ordered: bool
) -> tuple[str, pa.Schema]:
    """All rows of `relation` with every column cast to its type in a dataset, and the schema.

    A value that its type cannot hold ends the query with an error that `inexact_value` reads.

    Args:
        connection: Where the relation is.
        relation: The quoted name of a table or view.
        ordered: Give the rows a total order, by all columns; minus zero becomes zero.

    Raises:
        DataError: a column of a type that a dataset cannot hold.
    """
    selected: list[str] = []
    fields: list[pa.Field] = []
    for name, kind, *_ in connection.execute(f"DESCRIBE FROM {relation}").fetchall():
        canonical = _canonical_type(kind)
        if canonical is None:
            raise DataError(
                "a dataset cannot hold this type",
                where=f"column '{name}'",
                got=kind,
                expected=", ".join(ARROW_TYPES),
                fix=f"cast it in `sql`, for instance CAST({quote_name(name)} AS VARCHAR)",
            )
        value = _exact_value(quote_name(name), kind, canonical, len(fields))
        if ordered and canonical == "float64":
            # Minus zero and zero are equal, so which comes first would be open.
            value = f"({value} + 0.0)"
        selected.append(f"{value} AS {quote_name(name)}")
        fields.append(pa.field(name, ARROW_TYPES[canonical]))
    inner = f"SELECT {', '.join(selected)} FROM {relation}"
    return (f"SELECT * FROM ({inner}) ORDER BY ALL" if ordered else inner), pa.schema(fields)


def inexact_value(error: duckdb.Error, schema: pa.Schema) -> DataError | None:
    """The error of a value that a column's type cannot hold; None if `error` is another one."""
    found = _MARKED.search(str(error))
    if found is None:
        return None
    column = columns_of(schema)[int(found[1])]
    return DataError(
        f"the value is not exact as {column.type}",
        where=f"column '{column.name}'",
        got=found[2],
        fix=_FIXES[column.type].format(name=quote_name(column.name)),
    )


def _canonical_type(kind: str) -> ColumnType | None:
    if kind.endswith("]"):
        return None
    if is_whole_decimal(kind):
        return "int64"
    return _CANONICAL.get(kind.split("(", maxsplit=1)[0])


def _exact_value(column: str, kind: str, canonical: ColumnType, position: int) -> str:
    """The SQL of the column's value in its new type."""
    target = SQL_TYPES[canonical]
    if is_wide_integer(kind):
        value = f"TRY_CAST({column} AS BIGINT)"
        return _or_error(value, f"{value} IS NOT NULL", column, position)
    if is_long_decimal(kind):
        value = f"{column}::VARCHAR::DOUBLE"
        return _or_error(
            value, f"TRY_CAST({value}::VARCHAR AS {kind}) = {column}", column, position
        )
    if kind in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS"):
        nanoseconds = f"({column} AT TIME ZONE 'UTC')" if kind == "TIMESTAMPTZ_NS" else column
        value = f"{nanoseconds}::TIMESTAMP"
        return _or_error(value, f"{value}::TIMESTAMP_NS = {nanoseconds}", column, position)
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"({column} AT TIME ZONE 'UTC')"
    return f"{column}::{target}"


def _or_error(value: str, is_exact: str, column: str, position: int) -> str:
    raised = f"error('{_MARK} {position}: ' || {column}::VARCHAR)"
    return f"CASE WHEN {column} IS NULL OR {is_exact} THEN {value} ELSE {raised} END"
