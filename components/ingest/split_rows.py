"""Rows in batches, and the split of each row."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import duckdb
import pyarrow as pa

from kfp_suite.components.ingest.cached_expressions import CachedExpression, evaluate
from kfp_suite.components.ingest.splitting import SplitRule
from kfp_suite.contracts.tables import columns_of

_BATCH_ROWS = 131_072


def read_batches(
    connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema
) -> Generator[pa.RecordBatch]:
    """The rows of a query; the connection is busy until the last one is read, or `close`.

    Raises:
        duckdb.Error: the query fails.
    """
    with closing(connection.sql(query).to_arrow_reader(_BATCH_ROWS)) as reader:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except OSError as error:  # DuckDB's error, not that of a file
                raise duckdb.Error(str(error)) from error
            yield pa.RecordBatch.from_arrays(batch.columns, names=schema.names).cast(schema)


def split_rows(
    connection: duckdb.DuckDBPyConnection,
    rule: SplitRule,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
    """Each batch, with the index of the split of each of its rows; null for none.

    Args:
        connection: Where splits are worked out; no result of it may be open.
        rule: How rows are split.
        schema: That of the rows.
        batches: The rows.

    Raises:
        ParameterError: the rule does not suit the columns; before any row is read.
    """
    columns = columns_of(schema)
    expression = f"({rule.expression(columns)})::TINYINT"
    names = rule.key_columns(columns)
    if len(names) == 1:
        cached = CachedExpression(connection, expression, names[0])
        return ((batch, cached.evaluate(batch[names[0]])) for batch in batches)
    return (
        (batch, evaluate(connection, expression, {name: batch[name] for name in names}))
        for batch in batches
    )
