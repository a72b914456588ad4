"""The graph of a fitted transform gives what the transform gives, for every operation."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.features.hashing import stable_hash
from kfp_suite.features.operations import OPERATIONS
from tests.tensorflow.pictures import picture
from tests.unit.features.tables import fitted

tf = pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")


DAYS = [datetime.date(2019, 12, 28) + datetime.timedelta(91 * i) for i in range(7)]
TIMES = [
    datetime.datetime(1969, 12, 31, 23, 59, 59) + datetime.timedelta(hours=4001 * i)
    for i in range(7)
]
TABLE = pa.table(
    {
        "x": pa.array([3.0, 0.5, 0.25, 8.0, 8.0, 2.5, 100.0]),
        "y": pa.array([1.0, 2.0, 3.5, 4.0, -5.0, 6.0, 7.0]),
        "holes": pa.array([1.0, None, 3.0, float("nan"), 5.0, 5.0, 11.0]),
        "count": pa.array([1, None, 3, 4, 5, 6, 2**40]),
        "flag": pa.array([True, False, None, True, False, False, True]),
        "color": pa.array(["red", "gr\u00fcn", "red", "", "gr\u00fcn", "x" * 300, "\U0001f427"]),
        "maybe": pa.array(["a", None, "b", "a", None, "a", "b"]),
        "number": pa.array(["1", " 2.5 ", "1e3", "-4", "0", "7", "8"]),
        "at": pa.array(TIMES, pa.timestamp("us")),
        "sometimes": pa.array([*TIMES[:6], None], pa.timestamp("us")),
        "on": pa.array([*DAYS[:6], None], pa.date32()),
        "said": pa.array(
            ["The cat_1 sat.", "the  dog!", "\u00c9t\u00e9 au lait", "", None, "SAT sat sat", "the"]
        ),
        "image": pa.array(
            [
                picture("L", (8, 8)),
                picture("RGB", (31, 17), seed=1),
                picture("RGBA", (5, 40), seed=2),
                picture("LA", (12, 9), seed=3),
                picture("RGB", (16, 16), "BMP", seed=4),
                picture("L", (3, 3), seed=5),
                picture("RGB", (100, 80), seed=6),
            ]
        ),
    }
)  # fmt: skip

PARTS = ["year", "quarter", "month", "week", "day", "day_of_year", "weekday", "is_weekend",
         "hour", "minute", "second", "minute_of_day"]  # fmt: skip
CYCLES = ["quarter", "month", "week", "day", "day_of_year", "weekday", "hour", "minute_of_day"]

ENTRIES: list[dict[str, Any]] = [
    {"column": "x", "name": "z"},
    {"column": "holes", "keep_missing": True},
    {"column": "holes", "name": "a", "op": "impute", "with": "median", "indicator": True},
    {"column": "holes", "name": "b", "steps": [{"op": "impute", "with": "mean"}, {"op": "scale"}]},
    {"column": "count", "steps": [{"op": "impute", "with": "most_frequent"}, "log1p"]},
    {"column": "x", "name": "c", "op": "clip", "min": 0.3, "max": 9.0},
    {"column": "x", "name": "d", "op": "clip", "quantiles": [0.1, 0.9]},
    {"column": "x", "name": "e", "op": "scale", "to": "min_max"},
    {"column": "x", "name": "f", "op": "scale", "to": "robust"},
    {"column": "x", "name": "g", "op": "log"},
    {"column": "x", "name": "h", "op": "sqrt"},
    {"column": "x", "name": "i", "op": "bucketize", "quantiles": 4},
    {"column": "x", "name": "j", "op": "bucketize", "boundaries": [1.0, 8.0], "output": "one_hot"},
    {"columns": ["x", "y"], "op": "polynomial", "degree": 3},
    {"column": "x", "name": "k", "op": "convert_units", "from": "degC", "to": "degF"},
    {"column": "number", "steps": [{"op": "cast", "to": "number"}]},
    {"column": "count", "name": "l", "steps": [{"op": "cast", "to": "category"},
        {"op": "one_hot", "missing": "indicator"}]},
    {"column": "flag", "op": "one_hot", "missing": "zeros", "keep_missing": True},
    {"column": "on", "op": "one_hot", "missing": "indicator"},
    {"column": "color", "op": "one_hot", "max_categories": 1, "oov": 3},
    {"column": "maybe", "op": "ordinal", "min_count": 3, "missing": "index"},
    {"column": "maybe", "name": "m", "steps": [
        {"op": "impute", "with": "constant", "value": "none"}, {"op": "ordinal", "oov": 0}]},
    {"column": "color", "name": "n", "op": "hash", "buckets": 7},
    {"column": "maybe", "name": "o", "op": "hash", "buckets": 5, "output": "index",
        "missing": "bucket"},
    {"column": "maybe", "name": "p", "op": "hash", "buckets": 5, "missing": "zeros"},
    {"columns": ["color", "maybe"], "op": "cross", "buckets": 11, "missing": "bucket"},
    {"columns": ["color", "maybe"], "op": "cross", "buckets": 13, "missing": "zeros",
        "output": "index"},
    {"column": "at", "op": "date_parts", "parts": PARTS},
    {"column": "on", "op": "date_parts", "parts": ["year"], "keep_missing": True},
    {"column": "sometimes", "op": "cyclic", "parts": CYCLES, "missing": "zeros"},
    {"column": "y", "op": "cyclic", "period": 24.0, "start": -1.0},
    {"column": "said", "op": "ngrams", "n": [1, 2], "missing": "empty"},
    {"column": "said", "name": "q", "op": "ngrams", "weight": "tfidf", "missing": "empty"},
    {"column": "said", "name": "r", "op": "ngrams", "analyzer": "char", "n": [2, 3],
        "buckets": 16, "weight": "binary", "missing": "empty"},
    {"column": "said", "name": "s", "op": "tokens", "length": 4, "min_count": 2,
        "missing": "empty"},
    {"column": "image", "op": "image", "height": 8, "width": 8},
    {"column": "image", "name": "t", "op": "image", "height": 3, "width": 5, "channels": 3},
]  # fmt: skip


def both(entries: list[dict[str, Any]], table: pa.Table) -> tuple[Any, Any]:
    from kfp_suite.features.tensorflow_graph import TransformGraph, tensors_of

    transform = fitted(entries, table)
    graph = tf.function(TransformGraph(transform).__call__, autograph=False)
    return transform.transform(table), graph(tensors_of(table, transform.inputs)).numpy()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.get('op', 'steps')}")
def test_every_operation_gives_the_same(entry: dict[str, Any]) -> None:
    expected, got = both([entry], TABLE)
    np.testing.assert_array_max_ulp(np.nan_to_num(got), np.nan_to_num(expected), 2)
    assert (np.isnan(got) == np.isnan(expected)).all()


def test_together() -> None:
    expected, got = both(ENTRIES, TABLE)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_every_operation_is_tried() -> None:
    tried = {e["op"] for e in ENTRIES if "op" in e}
    tried |= {s if isinstance(s, str) else s["op"] for e in ENTRIES for s in e.get("steps", ())}
    assert tried | {"identity", "transformer"} == set(OPERATIONS)


def test_hash_is_the_same_for_any_text() -> None:
    from kfp_suite.features import graph_hash

    texts = [
        "",
        "a",
        *("\u00e9" * n for n in (63, 64, 65, 128, 500)),
        *("x" * n for n in range(120, 140)),
    ]
    got = graph_hash.stable_hash(tf.constant([text.encode() for text in texts])).numpy().tolist()
    assert got == [stable_hash(text) for text in texts]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ({"column": "x", "op": "log"}, -1.0),
        ({"column": "x"}, float("nan")),
        ({"column": "x", "op": "scale"}, float("inf")),
    ],
)
def test_a_value_it_cannot_use_is_refused(entry: dict[str, Any], value: float) -> None:
    from kfp_suite.features.tensorflow_graph import TransformGraph

    graph = TransformGraph(fitted([entry], TABLE))
    with pytest.raises(tf.errors.InvalidArgumentError, match="missing, infinite or outside"):
        graph({"x": tf.constant([1.0, value], tf.float64)})


def test_a_users_transformer_has_no_graph() -> None:
    from kfp_suite.features.tensorflow_graph import TransformGraph

    entry = {"columns": ["x"], "transformer": "sklearn.preprocessing.StandardScaler"}
    with pytest.raises(ParameterError, match="'transformer' has no TensorFlow graph"):
        TransformGraph(fitted([entry], TABLE))
