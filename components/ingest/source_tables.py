"""The rows of the sources as tables of a DuckDB file, and the query's result over them.

Reading is over, and every bad row is known, before the query begins: no part of the query
can reach into a reader, and change there what a value is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from kfp_suite.components.ingest.connections import connect_again
from kfp_suite.components.ingest.expected_rows import ExpectedRows
from kfp_suite.components.ingest.query import Query
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.sql import quote_name, quote_text

_DATABASE = "source_tables"
# No source can have these names, for want of a space.
_UNORDERED = '"rows as they come"'
_READER = '"rows of a reader"'
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
    with _attach_database(connection, file):
        return _store_table(connection, name, quote_name(name), ordered=ordered)


def store_rows(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    rows: ExpectedRows,
    file: Path,
    *,
    ordered: bool,
) -> int:
    """As `store_table`, for rows that are read for the first time.

    Raises:
        UnexpectedRowsError: as the rows; then there is no table.
    """
    with _attach_database(connection, file), connect_again(connection) as writing:
        target = _UNORDERED if ordered else f"{_DATABASE}.main.{quote_name(name)}"
        failures: list[BaseException] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from rows.batches
            except BaseException as error:
                failures.append(error)  # DuckDB makes an error of its own of it.
                raise

        # One statement: many of them would keep all rows in memory, or write them twice.
        reader = pa.RecordBatchReader.from_batches(rows.schema, batches())
        writing.register(_READER.strip('"'), reader)
        values = _without_minus_zero(writing, _READER)
        try:
            counted = writing.execute(
                f"CREATE TABLE {target} AS SELECT {values} FROM {_READER}"
            ).fetchone()
        except duckdb.Error:
            if failures:
                raise failures[0] from None
            raise
        assert counted is not None
        count = int(counted[0])
        if ordered:
            _store_table(connection, name, _UNORDERED, ordered=True)
            connection.execute(f"DROP TABLE {_UNORDERED}")
        return count


@contextmanager
def _attach_database(connection: duckdb.DuckDBPyConnection, file: Path) -> Iterator[None]:
    connection.execute(f"ATTACH {quote_text(str(file))} AS {_DATABASE}")
    try:
        yield
    finally:
        connection.execute(f"DETACH {_DATABASE}")


def _store_table(
    connection: duckdb.DuckDBPyConnection, name: str, source: str, *, ordered: bool
) -> int:
    """Copy the table or view of the quoted name `source`; see `store_table`."""
    rows = f"SELECT {_without_minus_zero(connection, source)} FROM {source}"
    if ordered:
        connection.execute(f"CREATE TABLE {_ORDERED} AS {rows} ORDER BY ALL")
        rows = f"FROM {_ORDERED}"
        # Several threads lay a table out in another way each time.
        connection.execute("SET threads = 1")
    counted = connection.execute(
        f"CREATE TABLE {_DATABASE}.main.{quote_name(name)} AS {rows}"
    ).fetchone()
    assert counted is not None
    if ordered:
        connection.execute("RESET threads")
        connection.execute(f"DROP TABLE {_ORDERED}")
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
