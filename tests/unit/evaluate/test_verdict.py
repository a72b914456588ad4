"""What blesses a model, what does not, and the words for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kfp_suite.components.evaluate.bootstrap import Estimate, Resampling, measure
from kfp_suite.components.evaluate.champion import Champion
from kfp_suite.components.evaluate.metrics import RegressionScores
from kfp_suite.components.evaluate.parameters import (
    Comparison,
    SliceLimit,
    Threshold,
    parse_comparison,
    parse_thresholds,
)
from kfp_suite.components.evaluate.verdict import Unchecked, check_threshold, compare, decide
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.stores.champions import ChampionReference

CHAMPION = Champion(ChampionReference("/store/late/3", 3))


@pytest.mark.parametrize(
    ("threshold", "estimate", "passed", "reason"),
    [
        (Threshold(min=0.7), Estimate(0.7), True, "roc_auc 0.7 is at least 0.7"),
        (Threshold(min=0.7), Estimate(0.69999), False, "roc_auc 0.69999 is below 0.7"),
        (
            Threshold(min=0.7),
            Estimate(0.71, 0.69, 0.73),
            True,
            "roc_auc 0.71 (0.69 – 0.73) is at least 0.7",
        ),
        (
            Threshold(min=0.7, decide_by="interval"),
            Estimate(0.71, 0.69, 0.73),
            False,
            "roc_auc 0.71 (0.69 – 0.73): the interval is below 0.7",
        ),
        (
            Threshold(min=0.7, max=0.9),
            Estimate(0.8),
            True,
            "roc_auc 0.8 is at least 0.7 and at most 0.9",
        ),
        (Threshold(min=0.7, max=0.9), Estimate(0.95), False, "roc_auc 0.95 is above 0.9"),
        (
            Threshold(min=0.7),
            Estimate(None, reason="the rows are all of one class"),
            False,
            "roc_auc is undefined: the rows are all of one class",
        ),
    ],
)
def test_thresholds_are_inclusive(
    threshold: Threshold, estimate: Estimate, passed: bool, reason: str
) -> None:
    check = check_threshold("roc_auc", threshold, estimate)
    assert (check.passed, check.reason) == (passed, reason)


def test_slices_have_limits_of_their_own() -> None:
    threshold = Threshold(min=0.9, slices=SliceLimit(min=0.6, columns=("origin",)))
    check = check_threshold("roc_auc", threshold, Estimate(0.65), "origin = JFK")
    assert (check.passed, check.reason) == (True, "origin = JFK: roc_auc 0.65 is at least 0.6")
    assert threshold.limits_slices_of(("origin",))
    assert not threshold.limits_slices_of(("origin", "carrier"))
    assert not Threshold(min=0.9).limits_slices_of(("origin",))


def duel(challenger_error: float, champion_error: float, comparison: Comparison) -> Any:
    generator = np.random.default_rng(0)
    actual = generator.normal(size=400)
    models = []
    for error in (challenger_error, champion_error):
        noise = generator.normal(size=400)
        noise *= error / np.sqrt(np.mean(noise**2))
        models.append(RegressionScores(actual, actual + noise))
    resampling = Resampling(200)
    return compare(comparison, "regression", measure(models, resampling, "all"), resampling)


@pytest.mark.parametrize(
    ("challenger", "champion", "comparison", "passed"),
    [
        (1.0, 1.0, {}, True),  # as good, up to chance
        (1.02, 1.0, {}, False),  # by chance or not: champions do not get worse
        (1.02, 1.0, {"max_regression": 0.03}, True),
        (1.02, 1.0, {"decide_by": "interval"}, True),  # worse, but by no more than chance
        (1.5, 1.0, {}, False),
        (1.5, 1.0, {"max_regression": 1.0}, True),
        (1.0, 1.5, {"min_improvement": 0.1}, True),
        (1.0, 1.02, {"min_improvement": 0.01}, True),
        (1.0, 1.0, {"min_improvement": 0.0001}, False),
        (1.0, 1.02, {"min_improvement": 0.01, "decide_by": "interval"}, False),  # not shown
        (1.0, 1.5, {"min_improvement": 0.9}, False),
    ],
)
def test_the_champion_is_beaten_or_nearly(
    challenger: float, champion: float, comparison: dict[str, Any], passed: bool
) -> None:
    found = duel(challenger, champion, Comparison(metric="rmse", **comparison))
    assert found.passed is passed, found.reason


def test_the_default_lets_no_champion_get_worse_and_takes_a_better_one() -> None:
    """Two models, one a little worse on few rows: neither order ends with the worse one."""
    worse = duel(1.02, 1.0, Comparison(metric="rmse"))
    better = duel(1.0, 1.02, Comparison(metric="rmse", min_improvement=0.0001))
    assert (worse.passed, better.passed) == (False, True)
    assert worse.reason.endswith("is seen; to allow it, set comparison.max_regression")


def test_slices_with_limits_that_none_could_be_held_to_refuse() -> None:
    met = check_threshold("f1", Threshold(min=0.5, slices=SliceLimit(min=0.6)), Estimate(0.8), "a")
    none_left = "no slice could be checked: 20 with fewer than 100 rows left out; give coarser"
    blessed, reasons = decide([], None, None, Comparison(), Unchecked(20, 100))
    assert not blessed
    assert reasons[0].startswith(none_left)
    assert decide([met], None, None, Comparison(), Unchecked(3, 100)) == (
        True,
        ["every slice is within its limits (1 checked; 3 with fewer than 100 rows left out)"],
    )


def test_what_is_asked_is_parsed_without_a_task() -> None:
    assert parse_thresholds({"rmse": {"max": 1}, "f1": {"min": 0}})
    assert parse_comparison({"metric": "r2"}).metric == "r2"
    assert parse_comparison({}).metric == ""
    with pytest.raises(ParameterError, match="unknown metric 'f1_makro'; did you mean 'f1_macro'"):
        parse_thresholds({"f1_makro": {"min": 0.5}})
    with pytest.raises(ParameterError, match="neither better high nor better low"):
        parse_comparison({"metric": "bias"})


def test_a_lower_error_is_an_improvement() -> None:
    difference = duel(1.0, 1.5, Comparison(metric="rmse")).difference
    assert difference.value > 0.3
    assert 0 < difference.low < difference.value < difference.high


def test_a_refusal_names_what_refused_and_a_blessing_what_was_met() -> None:
    good = check_threshold("roc_auc", Threshold(min=0.7), Estimate(0.8))
    bad = check_threshold("f1", Threshold(min=0.7), Estimate(0.6))
    assert decide([good, bad], None, None, Comparison()) == (False, ["f1 0.6 is below 0.7"])
    assert decide([good], None, None, Comparison()) == (True, ["roc_auc 0.8 is at least 0.7"])
    nothing = (True, ["no threshold is set and there is no champion"])
    assert decide([], None, None, Comparison()) == nothing


def test_the_champion_itself_is_blessed() -> None:
    same = Champion(CHAMPION.reference, same=True)
    expected = (True, ["this model is the champion (version 3)"])
    assert decide([], same, None, Comparison()) == expected


def test_a_champion_that_cannot_be_scored_decides_as_configured() -> None:
    broken = Champion(CHAMPION.reference, reason="its task is binary, not regression")
    assert decide([], broken, None, Comparison()) == (
        False,
        [
            "the champion (version 3) cannot be compared: its task is binary, not regression; "
            "to bless all the same, set on_incomparable: bless in comparison"
        ],
    )
    assert decide([], broken, None, Comparison(on_incomparable="bless")) == (
        True,
        ["the champion (version 3) cannot be compared: its task is binary, not regression"],
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"roc_acu": {"min": 0.7}},
            "thresholds: unknown metric 'roc_acu' of a binary model; did you mean 'roc_auc'?",
        ),
        (
            {"roc_auc": {"mim": 0.7}},
            "thresholds: roc_auc: unknown key 'mim'; did you mean 'min'?",
        ),
        ({"roc_auc": {}}, "thresholds: roc_auc: no limit; expected min, max or slices"),
        (
            {"roc_auc": {"min": 0.9, "max": 0.7}},
            "thresholds: roc_auc: min is above max; got min 0.9, max 0.7",
        ),
        (
            {"roc_auc": {"slices": {"columns": ["origin"]}}},
            "thresholds: roc_auc: slices: no limit; expected min or max",
        ),
        (
            {"roc_auc": {"min": float("nan")}},
            "thresholds: roc_auc: 'min' is not allowed; got nan; expected input should be a "
            "finite number",
        ),
        ([0.7], "thresholds: is not allowed; got [0.7]; expected a mapping"),
    ],
)
def test_bad_thresholds_are_refused(value: object, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_thresholds(value, "binary")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"metric": "rsme"},
            "comparison: metric: unknown metric 'rsme' of a regression model; did you mean 'rmse'?",
        ),
        (
            {"metric": "bias"},
            "comparison: metric: 'bias' is neither better high nor better low; "
            "compare by another, such as rmse",
        ),
        (
            {"max_regression": -1.0},
            "comparison: 'max_regression' is not allowed; got -1.0; "
            "expected a number of at least 0",
        ),
        (
            {"max_regression": 1.0, "min_improvement": 1.0},
            "comparison: 'min_improvement' and 'max_regression' exclude each other; "
            "leave one of them out",
        ),
        (
            {"decide_by": "luck"},
            "comparison: 'decide_by' is not allowed; got luck; "
            "expected input should be 'value' or 'interval'",
        ),
    ],
)
def test_bad_comparisons_are_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_comparison(value, "regression")
    assert str(caught.value) == message


def test_the_metric_of_a_comparison_defaults_to_the_tasks() -> None:
    assert parse_comparison({}, "binary").metric == "roc_auc"
    assert parse_comparison({}, "multiclass").metric == "f1_macro"
    assert parse_comparison({"metric": "mae"}, "regression").metric == "mae"
