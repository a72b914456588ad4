"""The user's query: one SELECT over the sources that gives the same rows on every machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import ParameterError, did_you_mean

SQL_TYPES: dict[ColumnType, str] = {
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
# Without parentheses these are parsed as columns, not as calls.
_CLOCK_WORDS = frozenset(
    {"current_timestamp", "current_date", "current_time", "localtime", "localtimestamp"}
)
# DuckDB does not mark these as reading the clock or drawing at random, and they do.
_UNMARKED = frozenset({"current_localtime", "current_localtimestamp", "reservoir_quantile"})
# Marked for another reason: it ends the query, and draws nothing.
_HARMLESS = frozenset({"error"})
# These call no file system of their own; every other table function may.
_TABLE_FUNCTIONS = frozenset({"unnest", "generate_series", "range"})
# Aggregates whose result is that of the set of values, whatever their order and grouping.
_UNORDERED_AGGREGATES = frozenset(
    {"bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count", "count_if", "count_star"}
    | {"countif", "max", "median", "min", "quantile_cont", "quantile_disc"}
)
# Macros of the common kind, each an expression of one row.
_ROW_MACROS = frozenset({"date_add", "days_in_month", "fdiv", "fmod", "if", "nullif", "split_part"})
_ORDERED_JOINS = ("ASOF", "POSITIONAL")
_CALL = re.compile(r'"?(\w+)"?\(')


@dataclass(frozen=True)
class Query:
    """A checked query.

    Attributes:
        sql: The query's text.
        depends_on_order: Whether its result may depend on the order in which rows are met:
            sums of floats, windows, `first`, `LIMIT` and their kin.
    """

    sql: str
    depends_on_order: bool


def one_line(error: duckdb.Error) -> str:
    """DuckDB's message without its pointer lines."""
    return " ".join(str(error).split("\n\nLINE")[0].split())


def check_query(connection: duckdb.DuckDBPyConnection, sql: str, sources: list[str]) -> Query:
    """The user's query, if it gives the same result everywhere and reads the sources alone.

    Raises:
        ParameterError: not one SELECT, a syntax error, a table that is not a source, or a
            function that gives another result on another day or another machine.
    """
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
    _check_tables(tree["statements"][0]["node"], sources, frozenset())
    functions = _Functions(connection)
    for node in _nodes(tree):
        _check_node(node, functions)
    return Query(sql, any(_depends_on_order(node, functions) for node in _nodes(tree)))


class _Functions:
    """What DuckDB knows of its functions, by lower-case name."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = connection.execute(
            "SELECT function_name, function_type, stability, macro_definition "
            "FROM duckdb_functions()"
        ).fetchall()
        volatile = {name for name, _, stability, _ in rows if stability not in (None, "CONSISTENT")}
        aggregates = {name for name, kind, _, _ in rows if kind == "aggregate"}
        scalars = {name for name, kind, _, _ in rows if kind == "scalar"}
        self.volatile = (volatile | _UNMARKED) - _HARMLESS
        self.volatile |= {
            name for name, kind, _, text in rows if kind == "macro" and self._is_volatile(text)
        }
        self.of_a_row = (
            (scalars | _ROW_MACROS | _TABLE_FUNCTIONS) - aggregates
        ) | _UNORDERED_AGGREGATES

    def _is_volatile(self, definition: str) -> bool:
        """Whether a macro reads the clock, or the settings and the catalogue of the machine."""
        called = set(_CALL.findall(definition))
        words = set(re.findall(r"\w+", definition))
        return bool(
            called & self.volatile
            or words & _CLOCK_WORDS
            or any(name.startswith(("duckdb_", "pragma_")) for name in called)
        )


def _check_node(node: dict[str, Any], functions: _Functions) -> None:
    for name in _volatile_names(node, functions):
        raise ParameterError(
            f"'{name}' gives another result at another time or on another machine",
            where="sql",
            fix="pass the value as a literal in the query",
        )
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        called = node["function"]["function_name"].lower()
        if called not in _TABLE_FUNCTIONS:
            raise ParameterError(
                f"'{called}' reads past the sources",
                where="sql",
                fix="name the file in the parameter `sources`",
            )
    if kind == "SHOW_REF":
        raise ParameterError(
            "not one SELECT statement", where="sql", fix="write a SELECT in place of it"
        )
    if node.get("sample"):
        raise ParameterError(
            "a sample gives other rows at another time",
            where="sql",
            fix="choose rows by a hash of a key, such as WHERE hash(id) % 10 = 0",
        )


def _volatile_names(node: dict[str, Any], functions: _Functions) -> Iterator[str]:
    if node.get("class") in ("FUNCTION", "WINDOW"):
        name = node["function_name"].lower()
        # With one argument it is the age today; `t.age()` has it before the dot.
        if name in functions.volatile or (name == "age" and len(node["arguments"]) < 2):
            yield name
    if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
        name = node["column_names"][0].lower()
        if name in _CLOCK_WORDS:
            yield name


def _check_tables(node: Any, sources: list[str], visible: frozenset[str]) -> None:
    """Every table is a source or one of the query's own, so never one of DuckDB's about itself.

    Args:
        visible: The query's own tables that can be named here, in lower case.
    """
    if isinstance(node, list):
        for item in node:
            _check_tables(item, sources, visible)
        return
    if not isinstance(node, dict):
        return
    for entry in (node.get("cte_map") or {}).get("map", ()):
        name = entry["key"].lower()
        body = entry["value"]
        is_recursive = body["query_node"]["type"] == "RECURSIVE_CTE_NODE"
        _check_tables(body, sources, visible | {name} if is_recursive else visible)
        visible |= {name}
    if node.get("type") == "BASE_TABLE":
        name = node["table_name"]
        is_plain = not node.get("catalog_name") and node.get("schema_name") in ("", "main", None)
        known = visible | {source.lower() for source in sources}
        if not is_plain or name.lower() not in known:
            qualified = [node.get("catalog_name"), node.get("schema_name"), name]
            raise ParameterError(
                f"no source '{'.'.join(part for part in qualified if part)}'",
                where="sql",
                fix=did_you_mean(name, sources),
            )
    for key, value in node.items():
        if key != "cte_map":
            _check_tables(value, sources, visible)


def _depends_on_order(node: dict[str, Any], functions: _Functions) -> bool:
    """Whether the node may give another result where rows come in another order.

    What is not known to be free of the order is taken to depend on it.
    """
    kind, group = node.get("type"), node.get("class")
    if group == "FUNCTION":
        name: str = node["function_name"].lower()
        return name not in functions.of_a_row and not bool(node["is_operator"])
    if group == "COLUMN_REF":
        return bool(node["column_names"][-1].lower() == "rowid")
    if group in ("WINDOW", "COLLATE"):
        return True
    if kind == "JOIN":
        return bool(node["ref_type"] in _ORDERED_JOINS)
    if kind == "DISTINCT_MODIFIER":
        return bool(node.get("distinct_on_targets"))
    return kind in ("LIMIT_MODIFIER", "PIVOT", "RECURSIVE_CTE_NODE")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)
