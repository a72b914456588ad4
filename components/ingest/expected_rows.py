"""Rows of text read once, with the types that the first of them have.

To read text once for its types and once for its values takes long. Mostly the first rows tell
the types, and nothing is wrong with any row. That is expected here, and checked while the rows
are read: reading ends with `UnexpectedRowsError` if it is not so. Whatever was read is thrown
away then, and `create_text_view` tells what is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.components.ingest.cached_expressions import CachedExpression
from kfp_suite.components.ingest.connections import connect_again
from kfp_suite.components.ingest.split_rows import read_batches
from kfp_suite.components.ingest.text_columns import (
    expected_types,
    fits,
    has_zone,
    value_or_error,
)
from kfp_suite.components.ingest.text_views import (
    TextSource,
    declared_types,
    typed_value,
    undeclared_columns,
)
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.sql import quote_name
from kfp_suite.contracts.tables import ARROW_TYPES
from kfp_suite.stores.sources import SourceSpec

_FIRST_ROWS = '"the first rows"'
_MAX_FIRST_ROWS = 2_000
# The kinds of error that the text of a row can cause, as DuckDB's messages begin.
_ERRORS_OF_ROWS = ("Invalid Input Error", "Conversion Error", "Out of Range Error")


class UnexpectedRowsError(Exception):
    """A row that cannot be read, or a value of another type than the first rows have."""


@dataclass(frozen=True)
class ExpectedRows:
    """Rows that can be read once.

    Attributes:
        schema: The columns.
        batches: The rows; raises UnexpectedRowsError.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@contextmanager
def tell_unexpected_rows() -> Iterator[None]:
    """Raise UnexpectedRowsError for DuckDB's errors about the text of rows."""
    try:
        yield
    except duckdb.Error as error:
        if str(error).startswith(_ERRORS_OF_ROWS):
            raise UnexpectedRowsError(str(error)) from error
        raise


@contextmanager
def read_rows_once(
    connection: duckdb.DuckDBPyConnection, source: TextSource, spec: SourceSpec
) -> Iterator[ExpectedRows]:
    """The rows of a source, for one reading within this context.

    Args:
        connection: What reads; it is busy until the last row is read.
        source: The files.
        spec: How to read them.

    Raises:
        DataError: a declared column is not there.
        UnexpectedRowsError: the first rows cannot be read.
    """
    with tell_unexpected_rows():
        types, values = _expected_values(connection, source, spec)
        repeated = _repeated_columns(connection, values)
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in types.items()])
    read = pa.schema(
        [
            (name, pa.string() if name in repeated else ARROW_TYPES[kind])
            for name, kind in types.items()
        ]
    )
    selected = ", ".join(
        quote_name(name)
        if name in repeated or name not in values
        else f"{values[name]} AS {quote_name(name)}"
        for name in types
    )
    with connect_again(connection) as cursor:
        cached = {
            name: CachedExpression(cursor, values[name], name, source.texts.get(name, ""))
            for name in repeated
        }

        def batches() -> Iterator[pa.RecordBatch]:
            query = f"SELECT {selected} FROM {_relation(source, repeated)}"
            with (
                tell_unexpected_rows(),
                closing(read_batches(connection, query, read)) as texts,
            ):
                for batch in texts:
                    columns = [
                        cached[name].evaluate(column) if name in cached else column
                        for name, column in zip(schema.names, batch.columns, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)

        yield ExpectedRows(schema, batches())


def _relation(source: TextSource, plain: Collection[str]) -> str:
    """The files as text, the columns `plain` with the texts that stand for null."""
    selected = ", ".join(
        f"{source.texts[name]} AS {quote_name(name)}"
        if name in source.texts and name not in plain
        else quote_name(name)
        for name in source.columns
    )
    return f"(SELECT {selected} FROM {source.plain or source.relation})"


def _expected_values(
    connection: duckdb.DuckDBPyConnection, source: TextSource, spec: SourceSpec
) -> tuple[dict[str, ColumnType], dict[str, str]]:
    """The type of each column, and the SQL that checks and converts its text if it has to."""
    declared = declared_types(source.name, spec, source.columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_FIRST_ROWS} AS "
        f"FROM {source.relation} LIMIT {_MAX_FIRST_ROWS}"
    )
    undeclared = undeclared_columns(source, declared)
    found, facts = expected_types(connection, _FIRST_ROWS, undeclared)
    types: dict[str, ColumnType] = {}
    values = {}
    for name in source.columns:
        text = quote_name(name)
        kind = declared.get(name) or found[name]
        rule = f"{text} IS NULL" if kind is None else fits(text, kind, spec.formats.get(name, ""))
        if kind == "timestamp" and name not in declared:
            rule += f" AND {has_zone(text)} = {bool(facts[name, 'zoned'])}"
        types[name] = kind or "string"
        if kind != "string":
            values[name] = value_or_error(text, typed_value(name, types[name], spec), rule)
    return types, values


def _repeated_columns(
    connection: duckdb.DuckDBPyConnection, values: Mapping[str, str]
) -> list[str]:
    """The columns of `values` that have each value twice or more in the first rows."""
    if not values:
        return []
    names = ", ".join(map(quote_name, values))
    table = connection.sql(f"SELECT {names} FROM {_FIRST_ROWS}").to_arrow_table()
    return [
        name
        for name in values
        if pc.count_distinct(table.column(name), mode="only_valid").as_py() * 2 <= table.num_rows
    ]
