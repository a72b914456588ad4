"""Splits: each row is where its key, its time or its column says, whatever the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.ingest.splitting import parse_split
from kfp_suite.contracts.columns import Column, ColumnType
from kfp_suite.contracts.dataset import SPLITS
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.stores.sources import parse_sources, pin

HOURS = "t,i,x,d\n" + "".join(
    f"2024-03-31T{hour:02}:00:00Z,{hour},{hour}.5,2024-03-{hour + 1:02}\n" for hour in range(24)
)


def split_rows(folder: Path, content: str, split: dict[str, Any]) -> dict[str, list[Any]]:
    """The first column of each split's rows."""
    (folder / "a.csv").write_text(content)
    pinned = {n: pin(n, s) for n, s in parse_sources({"t": str(folder / "a.csv")}).items()}
    dataset = ingest(IngestParameters(split=split), pinned, folder / "d", folder / "p")
    return {name: dataset.table(name).column(1).to_pylist() for name in SPLITS}


@pytest.mark.parametrize(
    ("column", "eval_from", "test_from"),
    [
        ("t", "2024-03-31T10:00:00", "2024-03-31 20:00"),
        ("t", "2024-03-31T15:00:00+05:00", "2024-03-31T16:00:00-04:00"),
        ("t", "2024-03-31T15:30:00+05:30", "2024-03-31T20:00:00Z"),
        ("d", "2024-03-11", "2024-03-21"),
        ("i", 10, 20.0),
        ("i", "10", 20),
        ("x", 10, 20.5),
    ],
)
def test_a_bound_is_the_first_moment_of_its_split(
    column: str, eval_from: object, test_from: object, tmp_path: Path
) -> None:
    split = {"by": "time", "column": column, "eval_from": eval_from, "test_from": test_from}
    assert split_rows(tmp_path, HOURS, split) == {
        "train": list(range(10)),
        "eval": list(range(10, 20)),
        "test": list(range(20, 24)),
    }


@pytest.mark.parametrize(
    ("kind", "bound", "expected"),
    [
        ("date", 20240122, 'an ISO 8601 date in quotes, such as "2024-01-31"'),
        ("date", 20240122.0, "an ISO 8601 date in quotes"),
        ("date", "2024-01-22T10:00", "an ISO 8601 date in quotes"),
        ("date", "2024-01-22+02:00", "an ISO 8601 date in quotes"),
        ("timestamp", 1704067200, "an ISO 8601 date or time in quotes"),
        ("timestamp", "01/02/2024", "an ISO 8601 date or time in quotes"),
        ("timestamp", "2024-01-22T10:00 CET", "in UTC or with its offset"),
        ("timestamp", "2024-01-22T10:00:00.0000001", "an ISO 8601 date or time in quotes"),
        ("int64", 10.5, "a whole number"),
        ("int64", "2024-01-22", "a whole number"),
        ("float64", "soon", "a number"),
        ("float64", "NaN", "a finite number"),
    ],
)
def test_a_bound_that_is_none_names_its_parameter(
    kind: ColumnType, bound: object, expected: str
) -> None:
    rule = parse_split({"by": "time", "column": "c", "test_from": bound})
    with pytest.raises(ParameterError) as caught:
        rule.expression((Column("c", kind),))
    text = str(caught.value)
    assert text.startswith("split.test_from: not a bound")
    assert f"got {bound}" in text
    assert expected in text


def test_eval_comes_before_test() -> None:
    split = {"by": "time", "column": "c", "eval_from": "2024-02-01", "test_from": "2024-01-01"}
    with pytest.raises(ParameterError, match="eval_from before test_from"):
        parse_split(split).expression((Column("c", "date"),))


def test_rows_without_a_key_stay_together(tmp_path: Path) -> None:
    content = "k,i\n" + "".join(f"{'' if i % 3 else f'k{i}'},{i}\n" for i in range(90))
    split = {"by": "hash", "key": ["k"], "eval": 0.3, "test": 0.3}
    found = split_rows(tmp_path, content, split)
    without = {i for i in range(90) if i % 3}
    assert sum(bool(without & set(part)) for part in found.values()) == 1
    assert sorted(i for part in found.values() for i in part) == list(range(90))


def test_minus_zero_is_the_key_zero() -> None:
    rule = parse_split({"by": "hash", "key": ["v"], "eval": 0.45, "test": 0.45})
    split = rule.expression((Column("v", "float64"),))
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT count(DISTINCT {split.split(' >= ')[0]})) "
            "FROM (VALUES (0.0::DOUBLE), (-0.0::DOUBLE)) AS t(v)"
        ).fetchone()
    assert found == (1,)
