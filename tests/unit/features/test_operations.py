"""What each operation makes of a few rows, against scikit-learn, NumPy or by hand."""

from __future__ import annotations

import base64
import datetime
import io
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from tests.unit.features.tables import fitted, matrix

NUMBERS = [3.0, -1.5, 0.25, 8.0, 8.0, 2.5, 100.0]
TEXTS = ["red", "green", "red", "blue", "green", "red", "blue"]
SENTENCES = ["The cat sat", "the dog", "a cat and a dog", "sat sat sat", "dog cat", "mouse", "the"]
TABLE = pa.table(
    {
        "x": pa.array(NUMBERS),
        "y": pa.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        "holes": pa.array([1.0, None, 3.0, None, 5.0, 5.0, 11.0]),
        "color": pa.array(TEXTS),
        "maybe": pa.array(["a", None, "b", "a", None, "a", "b"]),
        "count": pa.array([1, 2, 3, 4, 5, 6, 7]),
        "flag": pa.array([True, False, True, True, False, False, True]),
        "at": pa.array([datetime.datetime(2024, 2, 28, 6 * (i % 4)) for i in range(7)])
        .cast(pa.timestamp("us")),
        "on": pa.array([datetime.date(2024, 2, 26) + datetime.timedelta(i) for i in range(7)]),
        "said": pa.array(SENTENCES),
    }
)  # fmt: skip


def column(name: str) -> Any:
    return np.array(TABLE[name].to_pylist(), np.float64).reshape(-1, 1)


def only(entry: dict[str, Any]) -> list[float]:
    (values,) = matrix([entry], TABLE).values()
    return values


@pytest.mark.parametrize(
    ("to", "scaler"),
    [("standard", StandardScaler()), ("min_max", MinMaxScaler()), ("robust", RobustScaler())],
)
def test_scale(to: str, scaler: Any) -> None:
    found = only({"column": "x", "op": "scale", "to": to})
    assert found == pytest.approx(scaler.fit_transform(column("x")).ravel(), rel=1e-6)


@pytest.mark.parametrize(
    ("given", "fill"),
    [
        ({"with": "mean"}, 5.0),
        ({"with": "median"}, 5.0),
        ({"with": "most_frequent"}, 5.0),
        ({"with": "constant", "value": -1}, -1.0),
    ],
)
def test_impute_numbers(given: dict[str, Any], fill: float) -> None:
    assert only({"column": "holes", "op": "impute", **given}) == [1, fill, 3, fill, 5, 5, 11]


def test_impute_says_what_was_missing() -> None:
    found = matrix([{"column": "holes", "op": "impute", "with": "mean", "indicator": True}], TABLE)
    assert list(found.values())[1] == [0, 1, 0, 1, 0, 0, 0]


def test_impute_texts() -> None:
    steps = [{"op": "impute", "with": "most_frequent"}, "one_hot"]
    found = matrix([{"column": "maybe", "steps": steps}], TABLE)
    assert list(found.values()) == [[1, 1, 0, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0, 1]]


def test_clip() -> None:
    assert only({"column": "x", "op": "clip", "min": 0, "max": 8}) == [3, 0, 0.25, 8, 8, 2.5, 8]
    low, high = np.quantile(NUMBERS, [0.1, 0.9])
    found = only({"column": "x", "op": "clip", "quantiles": [0.1, 0.9]})
    assert found == pytest.approx(np.clip(NUMBERS, low, high), rel=1e-6)


@pytest.mark.parametrize(
    ("op", "function"), [("log", math.log), ("log1p", math.log1p), ("sqrt", math.sqrt)]
)
def test_functions(op: str, function: Any) -> None:
    assert only({"column": "y", "op": op}) == pytest.approx([function(v) for v in range(1, 8)])


def test_bucketize() -> None:
    assert only({"column": "x", "op": "bucketize", "boundaries": [0, 3, 8]}) == [
        2,
        0,
        1,
        3,
        3,
        1,
        3,
    ]
    found = only({"column": "y", "op": "bucketize", "quantiles": 4})
    assert found == np.digitize(range(1, 8), np.quantile(range(1, 8), [0.25, 0.5, 0.75])).tolist()
    flags = matrix(
        [{"column": "x", "op": "bucketize", "boundaries": [3], "output": "one_hot"}], TABLE
    )
    assert list(flags.values()) == [[0, 1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0, 1]]


def test_one_hot() -> None:
    found = matrix([{"column": "color", "op": "one_hot"}], TABLE)
    encoder = OneHotEncoder(sparse_output=False).fit(np.array(TEXTS).reshape(-1, 1))
    expected = encoder.transform(np.array(TEXTS).reshape(-1, 1))
    assert sorted(map(tuple, found.values())) == sorted(map(tuple, expected.T))


def test_one_hot_has_a_slot_for_what_train_did_not_hold() -> None:
    transform = fitted([{"column": "color", "op": "one_hot", "oov": 1, "min_count": 2}], TABLE)
    other = transform.transform(pa.table({"color": ["violet", "red"]}))
    assert other.sum(axis=1).tolist() == [1, 1]
    assert len(transform.output_names) == 4
    without = fitted([{"column": "color", "op": "one_hot"}], TABLE)
    assert without.transform(pa.table({"color": ["violet"]})).tolist() == [[0, 0, 0]]


def test_max_categories_keeps_the_most_frequent() -> None:
    names = fitted([{"column": "color", "op": "one_hot", "max_categories": 1}], TABLE).output_names
    assert len(names) == 1
    assert "red" in names[0]


def test_ordinal() -> None:
    vocabulary = ["red", "green", "blue"]
    entry = {"column": "color", "op": "ordinal", "vocabulary": vocabulary}
    assert only(entry) == [vocabulary.index(text) for text in TEXTS]


def test_hash_is_the_same_on_every_machine() -> None:
    found = only({"column": "color", "op": "hash", "buckets": 1000, "output": "index"})
    assert all(0 <= value < 1000 for value in found)
    assert len({*zip(TEXTS, found, strict=True)}) == 3
    # As `b2sum -l 64` gives them: a change here changes every model made with them.
    assert dict(zip(TEXTS, found, strict=True)) == {"red": 261, "green": 268, "blue": 346}


def test_cross_tells_pairs_apart() -> None:
    entry = {"columns": ["color", "flag"], "op": "cross", "buckets": 4096, "output": "index"}
    pairs = [*zip(TEXTS, TABLE["flag"].to_pylist(), strict=True)]
    found = only(entry)
    assert len({*zip(pairs, found, strict=True)}) == len(set(pairs)) == len(set(found))


def test_polynomial() -> None:
    entry = {"columns": ["x", "y"], "op": "polynomial", "degree": 3}
    expected = PolynomialFeatures(3, include_bias=False).fit_transform(
        np.hstack([column("x"), column("y")])
    )
    found = np.array(list(matrix([entry], TABLE).values()))
    order, other = np.lexsort(found.T), np.lexsort(expected.astype(np.float32))
    assert found[order] == pytest.approx(expected.T[other], rel=1e-6)


def test_cyclic_is_a_place_on_a_circle() -> None:
    found = matrix([{"column": "at", "op": "cyclic", "parts": ["hour"]}], TABLE)
    sine, cosine = found.values()
    hours = [6 * (i % 4) for i in range(7)]
    assert sine == pytest.approx([math.sin(2 * math.pi * h / 24) for h in hours], abs=1e-7)
    assert cosine == pytest.approx([math.cos(2 * math.pi * h / 24) for h in hours], abs=1e-7)


def test_date_parts() -> None:
    parts = ["year", "month", "day", "weekday", "day_of_year"]
    found = matrix([{"column": "on", "op": "date_parts", "parts": parts}], TABLE)
    days = TABLE["on"].to_pylist()
    by_hand = [
        [d.year for d in days],
        [d.month for d in days],
        [d.day for d in days],
        [d.weekday() for d in days],
        [d.timetuple().tm_yday for d in days],
    ]
    assert [np.diff(v).tolist() for v in found.values()] == [np.diff(v).tolist() for v in by_hand]
    assert list(found.values())[:3] == by_hand[:3]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [("degF", "degC", lambda v: (v - 32) / 1.8), ("mi", "km", lambda v: v * 1.609344)],
)
def test_convert_units(source: str, target: str, expected: Any) -> None:
    found = only({"column": "x", "op": "convert_units", "from": source, "to": target})
    assert found == pytest.approx([expected(v) for v in NUMBERS], rel=1e-6)


@pytest.mark.parametrize(
    ("weight", "vectorizer"),
    [
        ("count", CountVectorizer(token_pattern=r"\w+")),
        ("binary", CountVectorizer(token_pattern=r"\w+", binary=True)),
        ("tfidf", TfidfVectorizer(token_pattern=r"\w+")),
    ],
)
@pytest.mark.parametrize("n", [(1, 1), (1, 2)])
def test_ngrams(weight: str, vectorizer: Any, n: tuple[int, int]) -> None:
    found = matrix([{"column": "said", "op": "ngrams", "weight": weight, "n": list(n)}], TABLE)
    expected = vectorizer.set_params(ngram_range=n).fit_transform(SENTENCES).toarray()
    assert sorted(map(tuple, found.values())) == [
        pytest.approx(row, rel=1e-6) for row in sorted(map(tuple, expected.T.astype(np.float32)))
    ]


def test_a_number_or_a_flag_is_itself() -> None:
    assert matrix(["count", "flag"], TABLE) == {
        "count": [1, 2, 3, 4, 5, 6, 7],
        "flag": [1, 0, 1, 1, 0, 0, 1],
    }


def test_missing_values_pass_where_asked_for() -> None:
    found = only({"column": "holes", "keep_missing": True})
    assert [math.isnan(v) for v in found] == [False, True, False, True, False, False, False]


def test_dates_and_times_beyond_those_of_python_are_features_too() -> None:
    far = pa.table(
        {
            "on": pa.array([6_000_000, 1, 2, 3], pa.int32()).cast(pa.date32()),
            "at": pa.array([10**18, 1, 2, 3]).cast(pa.timestamp("us")),
        }
    )
    found = fitted([{"column": "on", "op": "one_hot"}], far)
    assert f"on={np.datetime64(6_000_000, 'D')}" in found.output_names
    assert found.transform(far.slice(0, 1)).sum() == 1
    assert np.isfinite(fitted("auto", far).transform(far)).all()


def test_tokens_number_the_words() -> None:
    found = matrix([{"column": "said", "op": "tokens", "length": 3, "min_count": 2}], TABLE)
    assert list(found) == ["said[0]", "said[1]", "said[2]"]
    # In most texts: the (3), cat and dog (3 each, in their order), sat, a.
    vocabulary = (
        fitted([{"column": "said", "op": "tokens", "length": 3, "min_count": 2}], TABLE)
        .learned()[0][0]
        .state["vocabulary"]
    )
    rows = list(zip(*found.values(), strict=True))
    assert [["<pad>", "<unknown>", *vocabulary][int(i)] for i in rows[0]] == ["the", "cat", "sat"]
    assert rows[5] == (1.0, 0.0, 0.0)  # mouse is seen once


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGB", 1), ("L", 3)])
def test_image_is_resized_as_pillow_does(mode: str, channels: int) -> None:
    from tests.tensorflow.pictures import picture

    text = picture(mode, (30, 20))
    entry = {"column": "p", "op": "image", "height": 5, "width": 10, "channels": channels}
    found = matrix([entry], pa.table({"p": [text]}))
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        resized = image.resize((10, 5), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized.convert("L" if channels == 1 else "RGB"), np.float64).ravel() / 255
    # Pillow rounds to whole levels on the way.
    np.testing.assert_allclose([value for (value,) in found.values()], pixels, atol=2.5 / 255)
