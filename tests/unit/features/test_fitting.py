"""What is learned: the same for any cut, order and threads; a row is what it is in a batch."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.features.order_statistics import Quantiles
from tests.unit.features.tables import fitted

FEATURES: list[Any] = [
    {"column": "x", "steps": [{"op": "impute", "with": "mean", "indicator": True}, "scale"]},
    {"column": "x", "name": "bucket", "steps": [{"op": "impute", "with": "median"},
                                                {"op": "bucketize", "quantiles": 4}]},
    {"column": "text", "op": "one_hot", "oov": 1, "missing": "indicator"},
    {"column": "text", "name": "hashed", "op": "hash", "buckets": 16, "missing": "bucket"},
    {"column": "text", "name": "words", "op": "ngrams", "n": [1, 2], "weight": "tfidf",
     "missing": "empty"},
    {"column": "when", "op": "cyclic", "parts": ["hour", "month"], "missing": "zeros"},
    {"columns": ["text", "flag"], "op": "cross", "buckets": 32, "missing": "bucket"},
]  # fmt: skip

moments = st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2100, 1, 1))
records = st.fixed_dictionaries(
    {
        "x": st.none() | st.floats(-1e6, 1e6, width=32),
        "text": st.none() | st.text(alphabet="ab é", max_size=8),
        "when": st.none() | moments,
        "flag": st.none() | st.booleans(),
    }
)
SCHEMA = pa.schema(
    [("x", pa.float64()), ("text", pa.string()), ("when", pa.timestamp("us")), ("flag", pa.bool_())]
)
tables = st.lists(records, min_size=2, max_size=40).map(
    lambda rows: pa.Table.from_pylist(
        [{"x": 1.0, "text": "a b", "when": datetime.datetime(2024, 1, 1), "flag": True}, *rows],
        SCHEMA,
    )
)


@settings(max_examples=40)
@given(table=tables, order=st.randoms(use_true_random=False), shards=st.integers(1, 5))
def test_order_and_shards_change_nothing(table: pa.Table, order: Any, shards: int) -> None:
    positions = list(range(table.num_rows))
    order.shuffle(positions)
    first = fitted(FEATURES, table)
    again = fitted(FEATURES, table.take(positions), shards)
    assert again.digest == first.digest


@settings(max_examples=40)
@given(table=tables)
def test_a_row_is_what_it_is_among_others(table: pa.Table) -> None:
    transform = fitted(FEATURES, table)
    whole = transform.transform(table)
    alone = [transform.transform(table.slice(i, 1)) for i in range(table.num_rows)]
    assert np.array_equal(whole, np.concatenate(alone))


def test_threads_change_no_bit() -> None:
    generator = np.random.default_rng(0)
    rows = 200_000
    table = pa.table({"x": generator.normal(size=rows), "y": generator.integers(0, 50, rows)})
    transform = fitted([{"column": "x", "op": "scale"}, {"column": "y", "op": "one_hot"}], table)
    whole = transform.transform(table)
    parts = [transform.transform(table.slice(i, 9_999)) for i in range(0, rows, 9_999)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.dtype == np.float32


@settings(max_examples=30)
@given(table=tables)
def test_what_is_saved_is_what_is_loaded(table: pa.Table, tmp_path_factory: Any) -> None:
    folder: Path = tmp_path_factory.mktemp("transform")
    transform = fitted(FEATURES, table)
    transform.save(folder)
    loaded = FittedTransform.load(folder)
    assert loaded.digest == transform.digest
    assert loaded.output_names == transform.output_names
    assert np.array_equal(loaded.transform(table), transform.transform(table))


@pytest.mark.parametrize("limit", [4, 1_000])
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=200),
    asked=st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_quantiles_are_exact_in_bounded_memory(
    values: list[float], asked: list[float], limit: int
) -> None:
    quantiles = Quantiles(asked, limit)
    for _ in range(8):
        for start in range(0, len(values), 7):
            quantiles.update(np.array(values[start : start + 7]))
        if quantiles.finish_pass():
            break
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.quantile(np.array(values), asked)
    rounding = 1e-15 * max(map(abs, values))  # of the interpolation between two values
    assert quantiles.values == pytest.approx(expected.tolist(), 1e-12, rounding, nan_ok=True)


def test_auto_makes_features_of_every_column_but_the_label() -> None:
    table = pa.table({"x": [1.0, None, 3.0], "c": ["a", "b", None], "y": [True, False, True]})
    transform = fitted("auto", table, label="y")
    assert {field.name for field in transform.inputs} == {"x", "c"}
    assert all(field.nullable for field in transform.inputs)


TABLE = pa.table(
    {"size": [1.0, 2.0], "color": ["a", "b"], "hole": [None, 1.0], "late": [True, False]}
)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([{"column": "siez"}], "features[0]: unknown column 'siez'; did you mean 'size'?"),
        ([{"column": "size", "op": "scael"}], "did you mean 'scale'?"),
        ([{"column": "size", "op": "scale", "too": "min_max"}], "did you mean 'to'?"),
        (["late"], "column 'late' is the label; leave it out of the features"),
        ([{"column": "color", "op": "scale"}], "op 'scale' does not fit 'color'"),
        (["color"], "op 'identity' does not fit 'color'; got a column of type string"),
        (
            [{"column": "color", "steps": [{"op": "impute", "with": "most_frequent"}]}],
            "'color' is not a number in the end, but a category; add a step such as one_hot",
        ),
        (["size", {"column": "size"}], "features[0] and features[1]: output 'size' is made twice"),
        (["hole"], "the train split holds a missing value, which the features do not handle"),
        ([], "no features"),
    ],
)  # fmt: skip
def test_a_bad_spec_is_one_line(features: Any, message: str) -> None:
    with pytest.raises(KfpSuiteError) as caught:
        fitted(features, TABLE, label="late")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("features", "row", "message"),
    [
        (["size"], {"size": [float("inf")]}, "column 'size'"),
        (["size"], {"size": [None]}, "column 'size'"),
        (["size"], {"siez": [1.0]}, "size"),
        (["size"], {"size": ["1"]}, "column 'size'"),
        ([{"column": "size", "op": "log"}], {"size": [-1.0]},
         "column 'size': a value is outside the domain of 'log'; got -1.0"),
    ],
)  # fmt: skip
def test_a_row_it_cannot_use_names_the_column(features: Any, row: Any, message: str) -> None:
    transform = fitted(features, TABLE)
    with pytest.raises(KfpSuiteError) as caught:
        transform.transform(pa.table(row))
    assert message in str(caught.value)
