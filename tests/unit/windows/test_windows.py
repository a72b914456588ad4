"""Ranges of dates are cut without gap or overlap, and filled in where they are named."""

from __future__ import annotations

import json
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_suite.components.windows.executor import WindowsParameters, windows
from kfp_suite.contracts.errors import ParameterError

SQL = "SELECT {'a': 1} AS s FROM rows WHERE day >= '${start}' AND day < '${end}' -- ${other}"


def cut(output: Path, **more: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"sources": {"rows": "rows.csv"}, "sql": SQL}
    return windows(WindowsParameters(**(given | more)), output)


def test_months_start_where_they_are_asked_to(tmp_path: Path) -> None:
    found = cut(tmp_path / "w", start="2025-12-15", end="2026-02-10")
    assert [(one["start"], one["end"]) for one in found] == [
        ("2025-12-15", "2026-01-01"),
        ("2026-01-01", "2026-02-01"),
        ("2026-02-01", "2026-02-10"),
    ]
    assert json.loads((tmp_path / "w" / "windows.json").read_text()) == found


def test_dates_are_filled_into_sources_and_sql_and_nothing_else_is(tmp_path: Path) -> None:
    sources = {"rows": {"uri": "gs://b/${start}.csv", "null_values": ["${end}", 3]}, "all": "x"}
    found = cut(tmp_path / "w", sources=sources, start="2026-01-01", end="2026-01-08", every="week")
    assert found == [
        {
            "start": "2026-01-01",
            "end": "2026-01-08",
            "sources": {
                "rows": {"uri": "gs://b/2026-01-01.csv", "null_values": ["2026-01-08", 3]},
                "all": "x",
            },
            "sql": "SELECT {'a': 1} AS s FROM rows "
            "WHERE day >= '2026-01-01' AND day < '2026-01-08' -- ${other}",
        }
    ]


@given(
    start=st.dates(date(1990, 1, 1), date(2030, 1, 1)),
    days=st.integers(1, 900),
    every=st.sampled_from(["day", "week", "month"]),
)
def test_windows_follow_each_other(
    tmp_path_factory: pytest.TempPathFactory, start: date, days: int, every: str
) -> None:
    end = date.fromordinal(start.toordinal() + days)
    output = tmp_path_factory.mktemp("windows") / "w"
    found = cut(output, start=str(start), end=str(end), every=every)
    assert found[0]["start"] == str(start)
    assert found[-1]["end"] == str(end)
    assert all(a["end"] == b["start"] for a, b in pairwise(found))
    assert all(one["start"] < one["end"] for one in found)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"start": "yesterday"}, "start: not a date; got yesterday; expected YYYY-MM-DD"),
        ({"start": "2026-03-01"}, "the range is empty"),
        ({"every": "hour"}, "every: not allowed; got hour; expected day, week or month"),
        ({"sql": "SELECT 1"}, "nothing depends on the window"),
        ({"start": "2020-01-01", "every": "day"}, "more than 1,000 windows"),
    ],
)
def test_bad_ranges_are_one_line(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    given = {"start": "2026-01-01", "end": "2026-03-01"} | more
    with pytest.raises(ParameterError) as refused:
        cut(tmp_path / "w", **given)
    assert message in str(refused.value)
    assert not (tmp_path / "w").exists()
