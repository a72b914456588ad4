"""Intervals that cover, that repeat, and that pair models."""

from __future__ import annotations

import numpy as np
import pytest

from kfp_suite.components.evaluate.bootstrap import Resampling, measure
from kfp_suite.components.evaluate.metrics import BinaryScores, RegressionScores


def scores(seed: int = 0, rows: int = 500) -> BinaryScores:
    generator = np.random.default_rng(seed)
    probability = generator.random(rows)
    return BinaryScores(generator.random(rows) < probability, probability > 0.5, probability)


def test_each_resample_draws_as_many_rows() -> None:
    weights = np.concatenate(list(Resampling(50).weights(300, "all")))
    assert weights.shape == (50, 300)
    assert (weights.sum(axis=1) == 300).all()


def test_draws_depend_on_seed_and_name_alone() -> None:
    def drawn(seed: int, name: str) -> np.ndarray:
        return np.concatenate(list(Resampling(5, seed=seed).weights(100, name)))

    assert (drawn(1, "origin = JFK") == drawn(1, "origin = JFK")).all()
    assert (drawn(1, "origin = JFK") != drawn(1, "origin = LGA")).any()
    assert (drawn(1, "all") != drawn(2, "all")).any()


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    generator = np.random.default_rng(3)
    actual = generator.normal(size=2000)
    found = measure([RegressionScores(actual, np.zeros(2000))], Resampling(1000), "all")[0]
    bias = found.estimates["bias"]
    half = 1.96 * actual.std() / np.sqrt(2000)
    assert bias.value is not None and bias.low is not None and bias.high is not None
    assert bias.low == pytest.approx(bias.value - half, abs=half * 0.15)
    assert bias.high == pytest.approx(bias.value + half, abs=half * 0.15)


def test_models_see_the_same_draws() -> None:
    s = scores()
    first, second = measure([s, s], Resampling(20), "all")
    for name, draws in first.draws.items():
        assert (draws == second.draws[name]).all(), name


def test_no_resamples_give_no_intervals() -> None:
    estimate = measure([scores()], Resampling(0), "all")[0].estimates["roc_auc"]
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_an_undefined_metric_has_a_reason_and_no_nan() -> None:
    s = BinaryScores(np.ones(10, bool), np.ones(10, bool), np.linspace(0.5, 1, 10))
    estimate = measure([s], Resampling(20), "all")[0].estimates["roc_auc"]
    assert estimate.to_json() == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "the rows are all of one class",
    }


def test_a_metric_defined_in_few_resamples_has_no_interval() -> None:
    actual = np.zeros(2, bool)
    actual[0] = True
    s = BinaryScores(actual, actual, np.array([0.9, 0.1]))
    low, high = Resampling().interval(np.array([1.0, np.nan, np.nan]))
    assert (low, high) == (None, None)
    assert measure([s], Resampling(0), "all")[0].estimates["roc_auc"].value == 1.0


def test_a_higher_confidence_is_a_wider_interval() -> None:
    narrow, wide = (
        measure([scores()], Resampling(300, confidence), "all")[0].estimates["roc_auc"]
        for confidence in (0.8, 0.99)
    )
    assert wide.low is not None and narrow.low is not None
    assert wide.high is not None and narrow.high is not None
    assert wide.low < narrow.low < narrow.high < wide.high
