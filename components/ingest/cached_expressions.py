"""SQL expressions over columns in Arrow, each worked out once for a value that comes often.

The columns of tables repeat themselves: a code, a day, a count. To look a value up costs a
fraction of what it costs to match and convert its text, or to hash it.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.contracts.sql import quote_name

_TABLE = '"columns in memory"'
_MAX_CACHED_VALUES = 32_768
_MAX_CACHED_BYTES = 4 << 20
# DuckDB reads one of them with one thread.
_SLICE_ROWS = 16_384


class CachedExpression:
    """A SQL expression over one column; memory is bounded.

    The result for a value depends on nothing but the value; null is a value, too.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, expression: str, name: str, first: str = ""
    ) -> None:
        """Prepare.

        Args:
            connection: Where the expression runs; no result of it may be open.
            expression: The SQL expression.
            name: The name of the column in it.
            first: A SQL expression that takes the column's place; empty for the column itself.
        """
        self._connection, self._expression, self._name = connection, expression, name
        self._first = first
        self._is_cached = True
        self._values: pa.Array | None = None
        self._results: pa.Array | None = None

    def evaluate(self, column: pa.Array) -> pa.Array:
        """The result for each value of `column`.

        Raises:
            duckdb.Error: the expression fails.
        """
        if not self._is_cached:
            return self._evaluate(column)
        values, results = self._values, self._results
        if values is None or results is None:
            values = column.slice(0, 0)
            results = self._evaluate(values)
        places = pc.index_in(column, value_set=values)
        if places.null_count:
            new = pc.unique(column.filter(places.is_null()))
            self._is_cached = len(new) <= max(len(column) // 2, _MAX_CACHED_VALUES)
            if not self._is_cached:
                self._values = self._results = None
                return self._evaluate(column)
            values = pa.concat_arrays([values, new])
            results = pa.concat_arrays([results, self._evaluate(new)])
            places = pc.index_in(column, value_set=values)
        if len(values) <= _MAX_CACHED_VALUES and values.nbytes <= _MAX_CACHED_BYTES:
            self._values, self._results = values, results
        return results.take(places)

    def _evaluate(self, column: pa.Array) -> pa.Array:
        return evaluate(self._connection, self._expression, {self._name: column}, self._first)


def evaluate(
    connection: duckdb.DuckDBPyConnection,
    expression: str,
    columns: Mapping[str, pa.Array],
    first: str = "",
) -> pa.Array:
    """The result of a SQL expression for each row of `columns`.

    Args:
        connection: Where the expression runs; no result of it may be open.
        expression: The SQL expression.
        columns: The columns by the names that they have in it.
        first: A SQL expression that takes the place of the only column; empty for none.

    Raises:
        duckdb.Error: the expression fails.
    """
    table = pa.table(dict(columns))
    slices = table.to_batches(max_chunksize=_SLICE_ROWS)
    connection.register(_TABLE.strip('"'), pa.Table.from_batches(slices, schema=table.schema))
    relation = _TABLE
    if first:
        (name,) = columns
        relation = f"(SELECT {first} AS {quote_name(name)} FROM {_TABLE})"
    found = connection.sql(f"SELECT {expression} FROM {relation}").to_arrow_table().column(0)
    return found.combine_chunks() if found.num_chunks != 1 else found.chunk(0)
