"""Metrics equal scikit-learn's, with and without weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from kfp_suite.components.evaluate.metrics import (
    BinaryScores,
    MulticlassScores,
    RegressionScores,
    Scored,
)

ROWS = 400


def weightings(rows: int, seed: int = 7) -> np.ndarray:
    """Plain, and two resamples in which some rows have no weight."""
    counts = np.random.default_rng(seed).integers(0, 4, (2, rows))
    return np.vstack([np.ones(rows), counts]).astype(float)


def binary(seed: int = 0, rows: int = ROWS, decimals: int = 2) -> BinaryScores:
    generator = np.random.default_rng(seed)
    probability = generator.random(rows).round(decimals)  # ties
    actual = generator.random(rows) < probability * 0.7
    return BinaryScores(actual, probability >= 0.4, probability)


def multiclass(seed: int = 0, rows: int = ROWS, classes: int = 6) -> MulticlassScores:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(classes), rows)
    actual = np.array([generator.choice(classes, p=p) for p in probabilities])
    return MulticlassScores(actual, probabilities.argmax(axis=1), probabilities, classes)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_binary_metrics_are_scikit_learns(row: int) -> None:
    s, weights = binary(), weightings(ROWS)
    w = weights[row]
    y, p, q = s.actual, s.predicted, s.probability
    expected = {
        "roc_auc": sk.roc_auc_score(y, q, sample_weight=w),
        "average_precision": sk.average_precision_score(y, q, sample_weight=w),
        "log_loss": sk.log_loss(y, q, sample_weight=w),
        "brier": sk.brier_score_loss(y, q, sample_weight=w),
        "accuracy": sk.accuracy_score(y, p, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p, sample_weight=w),
        "precision": sk.precision_score(y, p, sample_weight=w),
        "recall": sk.recall_score(y, p, sample_weight=w),
        "f1": sk.f1_score(y, p, sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, p, sample_weight=w),
        "prevalence": np.average(y, weights=w),
        "predicted_positive_rate": np.average(p, weights=w),
    }
    got = {name: values[row] for name, values in s.measure(weights).items()}
    del got["calibration_error"]
    assert got == pytest.approx(expected, rel=1e-9)


def test_calibration_error_is_the_weighted_gap_of_each_bin() -> None:
    s = binary(decimals=6)
    assert s.probability is not None
    bins = np.minimum((s.probability * 15).astype(int), 14)
    gaps = [
        (bins == b).mean() * abs(s.probability[bins == b].mean() - s.actual[bins == b].mean())
        for b in range(15)
        if (bins == b).any()
    ]
    got = s.measure(np.ones((1, ROWS)))["calibration_error"]
    assert got == pytest.approx([sum(gaps)])


@pytest.mark.parametrize("row", [0, 1, 2])
def test_multiclass_metrics_are_scikit_learns(row: int) -> None:
    s, weights = multiclass(), weightings(ROWS)
    w = weights[row]
    y, p, q = s.actual, s.predicted, s.probabilities
    expected: dict[str, Any] = {
        "accuracy": sk.accuracy_score(y, p, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p, sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, p, sample_weight=w),
        "log_loss": sk.log_loss(y, q, sample_weight=w, labels=range(6)),
        "roc_auc_ovr": np.mean(
            [sk.roc_auc_score(y == k, q[:, k], sample_weight=w) for k in range(6)]
            if q is not None
            else []
        ),
    }
    for average in ("macro", "weighted"):
        kwargs: dict[str, Any] = {"average": average, "sample_weight": w, "zero_division": 0}
        expected[f"f1_{average}"] = sk.f1_score(y, p, **kwargs)
        expected[f"precision_{average}"] = sk.precision_score(y, p, **kwargs)
        expected[f"recall_{average}"] = sk.recall_score(y, p, **kwargs)
    for k in (2, 3, 5):
        expected[f"top_{k}_accuracy"] = sk.top_k_accuracy_score(
            y, q, k=k, sample_weight=w, labels=range(6)
        )
    got = {name: values[row] for name, values in s.measure(weights).items()}
    assert 0 <= got.pop("calibration_error") <= 1
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rows", [ROWS, ROWS + 1])
def test_regression_metrics_are_scikit_learns(rows: int) -> None:
    generator = np.random.default_rng(1)
    actual = 1e6 + generator.normal(size=rows)
    s = RegressionScores(actual, actual + generator.normal(0.1, 0.5, rows))
    weights = weightings(rows)
    got = s.measure(weights)
    for i, w in enumerate(weights):
        y, p = s.actual, s.predicted
        repeated = np.repeat(np.abs(y - p), w.astype(int))
        expected = {
            "rmse": sk.root_mean_squared_error(y, p, sample_weight=w),
            "mae": sk.mean_absolute_error(y, p, sample_weight=w),
            "median_ae": np.median(repeated),
            "r2": sk.r2_score(y, p, sample_weight=w),
            "mape": sk.mean_absolute_percentage_error(y, p, sample_weight=w),
            "bias": np.average(p - y, weights=w),
        }
        assert {name: values[i] for name, values in got.items()} == pytest.approx(
            expected, rel=1e-6
        )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=40
    )
)
def test_weights_count_rows(rows: list[tuple[bool, int, int]]) -> None:
    """A weight of n is the row n times: so a bootstrap resample needs no copy of the rows."""
    actual = np.array([r[0] for r in rows])
    probability = np.array([r[1] / 5 for r in rows])
    counts = np.array([r[2] for r in rows])
    if not counts.any():
        return
    scores = BinaryScores(actual, probability > 0.5, probability)
    repeated = scores.take(np.repeat(np.arange(len(rows)), counts))
    weighted = scores.measure(counts[None, :].astype(float))
    plain = repeated.measure(np.ones((1, repeated.rows)))
    for name, value in weighted.items():
        assert value[0] == pytest.approx(plain[name][0], nan_ok=True, abs=1e-12), name


@pytest.mark.parametrize("positive", [True, False])
def test_one_class_leaves_ranking_undefined(positive: bool) -> None:
    s = BinaryScores(np.full(5, positive), np.full(5, positive), np.linspace(0, 1, 5))
    got = s.measure(np.ones((1, 5)))
    assert np.isnan(got["roc_auc"][0])
    assert np.isnan(got["mcc"][0])
    assert got["accuracy"] == [1.0]
    assert s.why_undefined("roc_auc") == "the rows are all of one class"


def test_a_model_without_probabilities_has_no_ranking_metrics() -> None:
    s = binary()
    plain = BinaryScores(s.actual, s.predicted, None)
    assert "roc_auc" not in plain.measure(np.ones((1, ROWS)))
    assert plain.why_undefined("roc_auc") == "the model gives no probabilities"


def test_a_class_unseen_in_training_counts_as_wrong() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    s = MulticlassScores(np.array([0, 1, 2]), np.array([0, 1, 0]), probabilities, 2)
    got = s.measure(np.ones((1, 3)))
    assert got["accuracy"][0] == pytest.approx(2 / 3)
    assert got["balanced_accuracy"][0] == pytest.approx(2 / 3)
    assert s.confusion().tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_mape_needs_labels_that_are_not_zero() -> None:
    s = RegressionScores(np.array([0.0, 1.0]), np.array([0.5, 1.0]))
    assert np.isnan(s.measure(np.ones((1, 2)))["mape"][0])
    assert s.why_undefined("mape") == "the label is 0 in some rows"


def test_r2_of_a_constant_label_is_undefined() -> None:
    s = RegressionScores(np.full(4, 0.1), np.array([0.1, 0.2, 0.3, 0.4]))
    assert np.isnan(s.measure(np.ones((1, 4)))["r2"][0])
    assert s.why_undefined("r2") == "the label is the same in all rows"


@pytest.mark.parametrize("scores", [binary(), multiclass()])
def test_taking_rows_keeps_their_order(scores: Scored) -> None:
    rows = np.arange(0, ROWS, 3)
    picked = np.zeros((1, ROWS))
    picked[0, rows] = 1
    taken = scores.take(rows).measure(np.ones((1, len(rows))))
    for name, value in scores.measure(picked).items():
        assert taken[name] == pytest.approx(value), name
