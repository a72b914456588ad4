"""The user's query: one deterministic SELECT, its columns cast to the canonical types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from kfp_suite.components.contracts.columns import ColumnType
from kfp_suite.components.contracts.errors import DataError, ParameterError
from kfp_suite.components.contracts.tables import ARROW_TYPES

# DuckDB's spelling of a type, up to a parenthesis, to ours; what is not here is refused.
_CANONICAL: dict[str, ColumnType] = {
    **dict.fromkeys(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), "int64"
    ),
    **dict.fromkeys(("UBIGINT", "HUGEINT"), "int64"),
    **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL"), "float64"),
    "BOOLEAN": "bool",
    **dict.fromkeys(("VARCHAR", "ENUM", "UUID"), "string"),
    "DATE": "date",
    **dict.fromkeys(
        ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"),
        "timestamp",
    ),
}
SQL_TYPES: dict[ColumnType, str] = {
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
# Without parentheses these are parsed as columns, not as calls.
_VOLATILE_WORDS = frozenset(
    {"current_timestamp", "current_date", "current_time", "localtime", "localtimestamp"}
)
# These call no file system of their own; every other table function may.
_TABLE_FUNCTIONS = frozenset({"unnest", "generate_series", "range"})


def one_line(error: duckdb.Error) -> str:
    """DuckDB's message without its pointer lines."""
    return " ".join(str(error).split("\n\nLINE")[0].split())


def checked_query(connection: duckdb.DuckDBPyConnection, sql: str, sources: list[str]) -> str:
    """The query to run: the user's, or all of the only source.

    Raises:
        ParameterError: not one SELECT, a syntax error, or a function that gives another
            result on another day.
    """
    if not sql.strip():
        if len(sources) != 1:
            raise ParameterError(
                "several sources and no query",
                where="sql",
                got=", ".join(sources),
                expected="one source, or a query that joins them",
            )
        return f'SELECT * FROM "{sources[0]}"'
    serialized = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    assert serialized is not None
    tree = json.loads(serialized[0])
    if tree["error"]:
        raise ParameterError(
            "not one SELECT statement",
            where="sql",
            got=" ".join(str(tree.get("error_message", "")).split()),
            fix="write a single SELECT (WITH … SELECT is fine)",
        )
    if len(tree["statements"]) != 1:
        raise ParameterError("not one SELECT statement", where="sql", got=len(tree["statements"]))
    volatile = _volatile_functions(connection)
    for node in _nodes(tree):
        for name in _volatile_names(node, volatile):
            raise ParameterError(
                f"'{name}' gives another result at another time",
                where="sql",
                fix="pass the value as a literal in the query",
            )
        if node.get("type") == "TABLE_FUNCTION":
            called = node["function"]["function_name"].lower()
            if called not in _TABLE_FUNCTIONS:
                raise ParameterError(
                    f"'{called}' reads past the sources",
                    where="sql",
                    fix="name the file in the parameter `sources`",
                )
        if node.get("sample"):
            raise ParameterError("a sample gives other rows at another time", where="sql")
    return sql.strip().rstrip(";")


def canonical_query(
    connection: duckdb.DuckDBPyConnection, query: str, *, ordered: bool
) -> tuple[str, pa.Schema]:
    """`query` with every column cast to its canonical type, and the schema it gives.

    Args:
        ordered: Give the rows a total order, by all columns.

    Raises:
        DataError: a column of a type that a dataset cannot hold, or a name twice.
    """
    selected: list[str] = []
    fields: list[pa.Field] = []
    for name, kind, *_ in connection.execute(f"DESCRIBE {query}").fetchall():
        base = kind.split("(")[0]
        canonical = None if kind.endswith("]") else _CANONICAL.get(base)
        if canonical is None:
            raise DataError(
                "a dataset cannot hold this type",
                where=f"column '{name}'",
                got=kind,
                expected=", ".join(ARROW_TYPES),
                fix=f'cast it in `sql`, for instance CAST("{name}" AS VARCHAR)',
            )
        if name in {field.name for field in fields}:
            raise DataError("two columns of one name", where=f"column '{name}'", fix="rename one")
        quoted = '"' + name.replace('"', '""') + '"'
        source = f"({quoted} AT TIME ZONE 'UTC')" if base.endswith("ZONE") else quoted
        # Minus zero and zero are equal, but not the same bits.
        value = (
            f"({source}::DOUBLE + 0.0)"
            if canonical == "float64"
            else f"{source}::{SQL_TYPES[canonical]}"
        )
        selected.append(f"{value} AS {quoted}")
        fields.append(pa.field(name, ARROW_TYPES[canonical]))
    inner = f"SELECT {', '.join(selected)} FROM ({query})"
    return (f"SELECT * FROM ({inner}) ORDER BY ALL" if ordered else inner), pa.schema(fields)


def _volatile_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"
    ).fetchall()
    return frozenset(name for (name,) in rows)


def _volatile_names(node: dict[str, Any], volatile: frozenset[str]) -> Iterator[str]:
    if node.get("class") == "FUNCTION" and node["function_name"].lower() in volatile:
        yield node["function_name"]
    if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
        name = node["column_names"][0].lower()
        if name in _VOLATILE_WORDS:
            yield name


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)
