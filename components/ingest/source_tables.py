"""The rows of the sources as tables of a DuckDB file, and the query's result over them.

Reading is over, and every bad row is known, before the query begins: no part of the query
can reach into a reader, and change there what a value is.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from kfp_suite.components.contracts.errors import DataError
from kfp_suite.components.contracts.sql import quote_name, quote_text
from kfp_suite.components.ingest.query import Query

_DATABASE = "source_tables"
# No source can have these names, for want of a space.
_ORDERED = '"rows in order"'
_RESULT = '"the query"'


def store_table(
    connection: duckdb.DuckDBPyConnection, name: str, file: Path, *, ordered: bool
) -> int:
    """Copy the view `name` to a table of that name in a DuckDB file, which may be new.

    Args:
        connection: Where the view is.
        name: Its name.
        file: The file.
        ordered: Store the rows in a total order, that of all columns from left to right, so
            that the table depends on the rows alone and not on the files that held them.

    Returns:
        How many rows were read.
    """
    connection.execute(f"ATTACH {quote_text(str(file))} AS {_DATABASE}")
    source = quote_name(name)
    rows = f"SELECT {_without_minus_zero(connection, source)} FROM {source}"
    if ordered:
        connection.execute(f"CREATE TABLE {_ORDERED} AS {rows} ORDER BY ALL")
        rows = f"FROM {_ORDERED}"
        # Several threads lay a table out in another way each time.
        connection.execute("SET threads = 1")
    counted = connection.execute(f"CREATE TABLE {_DATABASE}.main.{source} AS {rows}").fetchone()
    assert counted is not None
    if ordered:
        connection.execute("RESET threads")
        connection.execute(f"DROP TABLE {_ORDERED}")
    connection.execute(f"DETACH {_DATABASE}")
    return int(counted[0])


def add_result(connection: duckdb.DuckDBPyConnection, query: Query) -> str:
    """The quoted name of the query's result, over tables that `store_table` wrote.

    Raises:
        DataError: two columns whose names are equal, or differ in capital letters alone.
    """
    named: dict[str, str] = {}
    for name in connection.sql(query.sql).columns:
        if name.lower() in named:
            raise DataError(
                "two columns of one name; capital letters make no difference",
                where=f"column '{name}'",
                got=f"{named[name.lower()]}, {name}",
                fix="rename one of them in `sql`",
            )
        named[name.lower()] = name
    if query.depends_on_order:
        connection.execute("SET threads = 1")
    connection.execute(f"CREATE TEMP VIEW {_RESULT} AS {query.sql}")
    return _RESULT


def _without_minus_zero(connection: duckdb.DuckDBPyConnection, view: str) -> str:
    """The columns of `view`; -0.0 equals 0.0, so which one a query gives would be open."""
    columns = connection.execute(f"DESCRIBE FROM {view}").fetchall()
    return ", ".join(
        f"({quote_name(name)} + 0.0)::{kind} AS {quote_name(name)}"
        if kind in ("FLOAT", "DOUBLE")
        else quote_name(name)
        for name, kind, *_ in columns
    )
