"""An expression over a column gives what SQL gives, however often a value comes."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from kfp_suite.components.ingest.cached_expressions import CachedExpression

DAY = datetime.date(2024, 2, 29)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "a", "", "b"]),
        pa.array([None, None], pa.string()),
        pa.array([], pa.string()),
        pa.array([1.5, float("nan"), None, 1.5, 0.0]),
        pa.array([DAY, None, DAY]),
        pa.array([datetime.datetime(2024, 1, 1, 2), None], pa.timestamp("us")),
        pa.array([True, None, False, True]),
        pa.array([2**63 - 1, -(2**63), None]),
    ],
)
def test_nulls_and_all_types_are_values(
    column: pa.Array, connection: duckdb.DuckDBPyConnection
) -> None:
    sql = "coalesce('v' || \"a b\"::VARCHAR, 'n')"
    connection.register("given", pa.table({"a b": column}))
    expected = [row[0] for row in connection.execute(f"SELECT {sql} FROM given").fetchall()]
    cached = CachedExpression(connection, sql, "a b")
    for _ in range(2):
        assert cached.evaluate(column).to_pylist() == expected
        assert cached.evaluate(column.slice(1)).to_pylist() == expected[1:]


def test_values_that_come_once_and_again_keep_their_places(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    cached = CachedExpression(connection, "CAST(c AS BIGINT) + 1", "c")
    few: list[int | None] = [i % 7 for i in range(1_000)]
    often, once = [*range(50_000)] * 2, [*range(40_000, 200_000)]
    for batch in (few, often, few, once, few, [-1, None]):
        texts = pa.array([None if i is None else str(i) for i in batch])
        expected = [None if i is None else i + 1 for i in batch]
        assert cached.evaluate(texts).to_pylist() == expected


def test_an_error_is_duckdbs(connection: duckdb.DuckDBPyConnection) -> None:
    cached = CachedExpression(connection, "CASE WHEN c = 'x' THEN error('no') END", "c")
    assert cached.evaluate(pa.array(["a"])).to_pylist() == [None]
    with pytest.raises(duckdb.InvalidInputException, match="no"):
        cached.evaluate(pa.array(["a", "x"]))
