"""Slices cut every row once, the same way each time."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.components.evaluate.slices import MAX_VALUES, cut, parse_slices
from kfp_suite.contracts.errors import ParameterError


def names(table: pa.Table, *columns: str) -> dict[str, list[int]]:
    return {s.name: s.rows.tolist() for s in cut(table, (columns,))}


def test_text_is_sliced_by_value() -> None:
    table = pa.table({"origin": ["JFK", "LGA", None, "JFK"]})
    assert names(table, "origin") == {
        "origin = JFK": [0, 3],
        "origin = LGA": [1],
        "origin missing": [2],
    }


def test_rare_values_share_a_slice() -> None:
    values = [f"v{i:02d}" for i in range(MAX_VALUES + 5)] + [f"v{i:02d}" for i in range(20)]
    found = names(pa.table({"dest": values}), "dest")
    assert len(found) == MAX_VALUES + 1
    assert len(found["dest: other values"]) == 5


def test_many_numbers_are_cut_at_observed_quartiles() -> None:
    table = pa.table({"distance": list(range(100, 200))})
    found = names(table, "distance")
    assert {name: len(rows) for name, rows in found.items()} == {
        "distance ≤ 124": 25,
        "124 < distance ≤ 149": 25,
        "149 < distance ≤ 174": 25,
        "distance > 174": 25,
    }


def test_numbers_that_pile_up_still_make_two_slices() -> None:
    table = pa.table({"delay": [0.5 * i for i in range(14)] + [99.0] * 1000})
    assert {name: len(rows) for name, rows in names(table, "delay").items()} == {
        "delay ≤ 6.5": 14,
        "delay > 6.5": 1000,
    }


def test_few_numbers_and_booleans_are_sliced_by_value() -> None:
    table = pa.table({"engines": [2, 1, 2, None], "jet": [True, False, True, True]})
    assert names(table, "engines") == {
        "engines = 1": [1],
        "engines = 2": [0, 2],
        "engines missing": [3],
    }
    assert names(table, "jet") == {"jet = false": [1], "jet = true": [0, 2, 3]}


def test_dates_are_sliced_by_month_and_nan_is_missing() -> None:
    table = pa.table(
        {
            "day": [
                datetime.date(2013, 1, 5),
                datetime.date(2013, 1, 9),
                datetime.date(2013, 2, 1),
            ],
            "wind": [1.0, float("nan"), 1.0],
        }
    )
    assert names(table, "day") == {"day = 2013-01": [0, 1], "day = 2013-02": [2]}
    assert names(table, "wind") == {"wind = 1": [0, 2], "wind missing": [1]}


def test_several_columns_are_combined() -> None:
    table = pa.table({"origin": ["JFK", "LGA", "JFK"], "jet": [True, True, False]})
    assert names(table, "origin", "jet") == {
        "origin = JFK, jet = false": [2],
        "origin = JFK, jet = true": [0],
        "origin = LGA, jet = true": [1],
    }


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(allow_infinity=True)),
            st.sampled_from(["a", "b", "", None]),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_every_row_is_in_one_slice(rows: list[tuple[float | None, str | None]]) -> None:
    table = pa.table(
        {
            "number": pa.array([r[0] for r in rows], pa.float64()),
            "text": pa.array([r[1] for r in rows], pa.string()),
        }
    )
    for columns in (("number",), ("text",)):
        found = np.concatenate([s.rows for s in cut(table, (columns,))])
        assert sorted(found.tolist()) == list(range(len(rows)))


@pytest.mark.parametrize("value", [[7], [[]], [["a", "a"]], [["a", "b", "c", "d"]], [""]])
def test_what_is_not_a_slice_is_refused(value: list[object]) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_slices(value)
    assert str(caught.value) == (
        f"slices: a slice is not allowed; got {value[0] or repr(value[0]).strip(chr(39))}; "
        "expected a column's name, or a list of up to 3 different names"
    )


def test_slices_must_be_a_list() -> None:
    with pytest.raises(ParameterError) as caught:
        parse_slices("origin")
    assert str(caught.value) == "slices: is not allowed; got origin; expected a list"
