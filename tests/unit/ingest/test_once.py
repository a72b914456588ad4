"""CSV is read once if its first rows tell the types, and again only for what they did not tell."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow.parquet as pq
import pytest

from kfp_suite.components.ingest import executor
from kfp_suite.components.ingest.reading import add_view
from kfp_suite.contracts.errors import DataError, StoreError
from tests.unit.ingest.conftest import Reading

ROWS = 5_000


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were looked at as a whole before they were read."""
    found: list[str] = []

    def add(connection: Any, name: str, *rest: Any) -> Any:
        found.append(name)
        return add_view(connection, name, *rest)

    monkeypatch.setattr(executor, "add_view", add)
    return found


def lines(last: str, value: str = "7") -> str:
    return "c,id\n" + "".join(f"{value},{i}\n" for i in range(ROWS)) + f"{last},{ROWS}\n"


@pytest.mark.parametrize(
    ("value", "last", "kind", "is_once"),
    [
        ("7", "8", "int64", True),
        ("7", "", "int64", True),
        ("7", "007", "string", False),
        ("7", "7.5", "float64", False),
        ("2024-01-01", "2024-01-02", "date", True),
        ("2024-01-01", "2024-01-01T10:00:00", "timestamp", False),
        ("2024-01-01T10:00:00Z", "2024-01-01T11:00:00+01:00", "timestamp", True),
        ("true", "True", "bool", True),
        ("true", "yes", "string", False),
        ("", "1", "int64", False),
        ("a", "1", "string", True),
    ],
)
def test_a_late_value_of_another_type_decides_it(
    value: str, last: str, kind: str, is_once: bool, reading: Reading, readings: list[str]
) -> None:
    source = reading.file("a.csv", lines(last, value))
    assert reading.types(source)["c"] == kind
    assert readings == ([] if is_once else ["t"])


@pytest.mark.parametrize("last", ["8", "007", "7.5", ""])
@pytest.mark.parametrize("order", ["c, id", "row_number() OVER () AS n, c, id"])
def test_a_query_reads_as_often_and_sees_the_same_rows(
    last: str, order: str, reading: Reading, readings: list[str]
) -> None:
    source = reading.file("a.csv", lines(last))
    types = reading.types(source)
    readings.clear()
    rows = reading.rows(source, sql=f"SELECT {order} FROM t")
    assert readings == ([] if last in ("8", "") else ["t"])
    texts = [["7", str(i)] for i in range(ROWS)] + [[last, str(ROWS)]]
    parse = {"int64": int, "float64": float, "string": str}[types["c"]]
    expected = [(parse(c) if c else None, int(i)) for c, i in texts]
    assert sorted((row["id"], row["c"]) for row in rows) == [(i, c) for c, i in expected]


def test_rows_without_a_split_are_told_after_one_reading(
    reading: Reading, readings: list[str]
) -> None:
    source = reading.file("a.csv", lines("", "train"))
    with pytest.raises(DataError, match="1 rows belong to no split"):
        reading.dataset(source, split={"by": "column", "column": "c"})
    assert readings == []
    assert not list(reading.folder.glob("dataset-*"))


def test_a_split_by_a_type_that_only_later_rows_have(reading: Reading, readings: list[str]) -> None:
    source = reading.file("a.csv", lines("2024-01-31", ""))
    split = {"by": "time", "column": "c", "eval_from": "2024-01-01"}
    with pytest.raises(DataError, match="rows belong to no split"):
        reading.dataset(source, split=split)
    assert readings == ["t"]


def test_an_error_of_writing_is_told_at_once_and_leaves_nothing_open(
    reading: Reading, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_writers: set[int] = set()
    opened, closed = pq.ParquetWriter.__init__, pq.ParquetWriter.close

    def opening(self: pq.ParquetWriter, *arguments: Any, **named: Any) -> None:
        opened(self, *arguments, **named)
        open_writers.add(id(self))

    def closing(self: pq.ParquetWriter) -> None:
        closed(self)
        open_writers.discard(id(self))
        raise OSError(28, "No space left on device")

    def full(self: pq.ParquetWriter, table: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "__init__", opening)
    monkeypatch.setattr(pq.ParquetWriter, "close", closing)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    before = threading.active_count()
    source = reading.file("a.csv", lines("8"))
    with pytest.raises(StoreError, match="no space left"):
        reading.dataset(source, split={"by": "hash", "eval": 0.3, "test": 0.3})
    assert readings == []
    assert not open_writers
    assert threading.active_count() == before
