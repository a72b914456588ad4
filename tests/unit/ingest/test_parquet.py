"""Parquet: exact values or a refusal, whoever wrote the files."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.ingest.conftest import Reading


def _write(reading: Reading, name: str, table: pa.Table) -> str:
    path = Path(reading.file(name, b""))
    pq.write_table(table, path)
    return str(path)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([2**63 - 1], pa.uint64()), 2**63 - 1),
        (pa.array([Decimal(12345678901234567)], pa.decimal128(38, 0)), 12345678901234567),
        (pa.array([Decimal("1.25")], pa.decimal128(38, 2)), 1.25),
        (pa.array([1_000], pa.timestamp("ns")), datetime.datetime(1970, 1, 1, 0, 0, 0, 1)),
        (pa.array([0], pa.timestamp("ns", "Asia/Tokyo")), datetime.datetime(1970, 1, 1)),
        (pa.array([0.5], pa.float32()), 0.5),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array([None], pa.null()), None),
    ],
)
def test_a_value_is_exact(array: pa.Array, value: object, reading: Reading) -> None:
    assert reading.column(_write(reading, "a.parquet", pa.table({"v": array}))) == [value]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([2**63], pa.uint64()), "9223372036854775808"),
        (pa.array([Decimal(10**20)], pa.decimal128(38, 0)), "100000000000000000000"),
        (pa.array([Decimal("12345678901234567.89")], pa.decimal128(38, 2)), "12345678901234567.89"),
        (pa.array([999], pa.timestamp("ns")), "1970-01-01 00:00:00.000000999"),
        (pa.array([10**7], pa.date32()), "29349-01-26"),
    ],
)
def test_a_value_that_would_be_changed_is_refused(
    array: pa.Array, text: str, reading: Reading
) -> None:
    path = _write(reading, "a.parquet", pa.table({"v": array}))
    error = reading.error(path)
    assert error.startswith("IN/a.parquet: row 1: column 'v': a value that a dataset cannot hold")
    assert error.endswith("give the column's type: sources.t.types.v: string")
    assert text in error
    assert reading.column({"uri": path, "types": {"v": "string"}}) == [text]


def test_a_declared_type_is_exact_or_the_row_is_bad(reading: Reading) -> None:
    path = _write(reading, "a.parquet", pa.table({"v": [1.0, 1.5, None, -0.0]}))
    source = {"uri": path, "types": {"v": "int64"}}
    assert "IN/a.parquet:2: 'v' is not of type int64" in reading.error(source)
    assert "parquet has no null_values" in reading.error({"uri": path, "null_values": ["x"]})
    assert "no column 'w'" in reading.error({"uri": path, "types": {"w": "int64"}})
    assert reading.column(source, on_bad_rows="quarantine", max_bad_fraction=0.5) == [1, None, 0]


def test_files_of_several_libraries_are_one_table(reading: Reading) -> None:
    folder = reading.folder / "in"
    folder.mkdir()
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}).to_parquet(folder / "1.parquet")
    pl.DataFrame({"b": ["y"], "a": [3]}).write_parquet(folder / "2.parquet")
    pl.DataFrame({"a": [4], "b": ["z"]}, {"a": pl.Int16, "b": pl.Categorical}).write_parquet(
        folder / "3.parquet"
    )
    pd.DataFrame({"a": [5], "b": [None]}).to_parquet(folder / "4.parquet")
    required = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.string())])
    pq.write_table(pa.table({"a": [6], "b": ["w"]}, required), folder / "5.parquet")
    assert reading.rows(str(folder)) == [
        {"a": a, "b": b} for a, b in zip(range(1, 7), ["x", None, "y", "z", None, "w"], strict=True)
    ]


def test_files_that_differ_in_what_matters_are_refused(reading: Reading) -> None:
    _write(reading, "1.parquet", pa.table({"a": [1]}))
    folder = str(reading.folder / "in")
    _write(reading, "2.parquet", pa.table({"a": ["x"]}))
    assert "column 'a' has another type than in the files before" in reading.error(folder)
    _write(reading, "2.parquet", pa.table({"b": [1]}))
    assert "IN/2.parquet: other columns than the first file" in reading.error(folder)


def test_an_index_of_pandas_is_no_column(reading: Reading) -> None:
    path = reading.file("a.parquet", b"")
    pd.DataFrame({"a": [1, 2, 3]}).query("a > 1").to_parquet(path)
    assert reading.rows(path) == [{"a": 2}, {"a": 3}]


def test_names_that_would_be_changed_are_refused(reading: Reading) -> None:
    both = pa.table([[1], [2]], names=["Dose", "dose"])
    assert "differ in capitals alone" in reading.error(_write(reading, "a.parquet", both))


def test_decimals_of_more_digits_than_duckdb_has_are_refused(reading: Reading) -> None:
    ids = pa.array([Decimal(10**49 + 1), Decimal(10**49 + 2)], pa.decimal256(50, 0))
    error = reading.error(_write(reading, "a.parquet", pa.table({"v": ids})))
    assert error == (
        "sources.t: IN/a.parquet: column 'v': decimals that DuckDB would round; got "
        "decimal256(50, 0); expected at most 38 digits; write it as text"
    )
    few = pa.array([Decimal(7)], pa.decimal256(38, 0))
    assert reading.column(_write(reading, "b.parquet", pa.table({"v": few}))) == [7]


def test_times_of_the_old_type_are_exact_or_refused(reading: Reading) -> None:
    """DuckDB reads INT96, as Spark and Impala wrote it, in microseconds."""
    path = Path(reading.file("a.parquet", b""))
    finer = pa.table({"at": pa.array([1_000, 2_001, 3_000], pa.timestamp("ns"))})
    pq.write_table(finer, path, use_deprecated_int96_timestamps=True)
    error = reading.error(str(path))
    assert "IN/a.parquet: row 2: column 'at': a time with nanoseconds" in error
    assert "1 ns beyond the microsecond" in error

    nested = pa.table({"a": pa.array([[1_000]], pa.list_(pa.timestamp("ns")))})
    pq.write_table(nested, path, use_deprecated_int96_timestamps=True)
    assert "old type INT96 within another value" in reading.error(str(path))

    times = [datetime.datetime(2024, 5, 6, 7, 8, 9, 123456), None, datetime.datetime(3000, 1, 1)]
    whole = pa.table({"at": pa.array(times, pa.timestamp("us"))})
    pq.write_table(whole, path, use_deprecated_int96_timestamps=True)
    assert reading.column(str(path)) == times
