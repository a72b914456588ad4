"""The sequential test keeps its word under continuous looks, and finds what is there."""

from __future__ import annotations

import numpy as np
import pytest

from kfp_suite.components.rollout.judging import Limits, judge, slow_from
from kfp_suite.components.rollout.measuring import Growth, Observed, Series, parse_metrics
from kfp_suite.components.rollout.sequential import (
    Counts,
    confidence,
    evidence_of_harm,
    evidence_of_safety,
)

_ALPHA = 0.05
_RUNS, _LOOKS, _A_LOOK = 300, 40, 25


def streams(rate: float, candidate: float, seed: int) -> np.ndarray:
    """Bad ones so far, of both versions: shape (runs, looks, 2)."""
    drawn = np.random.default_rng(seed).binomial(
        _A_LOOK, [rate, candidate], size=(_RUNS, _LOOKS, 2)
    )
    return drawn.cumsum(axis=1)


def alarms(bad: np.ndarray, margin: float) -> float:
    """The share of runs in which any look would have called the candidate worse."""
    fired = 0
    for run in bad:
        fired += any(
            confidence(
                evidence_of_harm(
                    Counts(int(one), (look + 1) * _A_LOOK),
                    Counts(int(two), (look + 1) * _A_LOOK),
                    margin,
                )
            )
            >= 1 - _ALPHA
            for look, (one, two) in enumerate(run)
        )
    return fired / _RUNS


@pytest.mark.parametrize(("rate", "margin"), [(0.01, 0.01), (0.05, 0.02), (0.3, 0.05)])
def test_a_candidate_at_the_margin_is_called_worse_no_more_than_it_may(
    rate: float, margin: float
) -> None:
    """The worst case of the hypothesis: exactly as bad as it is allowed to be."""
    assert alarms(streams(rate, rate + margin, seed=1), margin) <= _ALPHA


def test_a_candidate_that_is_worse_is_found() -> None:
    assert alarms(streams(0.01, 0.15, seed=2), margin=0.01) > 0.95


def test_evidence_of_safety_keeps_its_word_too() -> None:
    """A candidate just beyond the margin is called good no more than it may."""
    fired = 0
    for run in streams(0.02, 0.071, seed=3):
        fired += any(
            confidence(
                evidence_of_safety(
                    Counts(int(one), (look + 1) * _A_LOOK),
                    Counts(int(two), (look + 1) * _A_LOOK),
                    0.05,
                )
            )
            >= 1 - _ALPHA
            for look, (one, two) in enumerate(run)
        )
    assert fired / _RUNS <= _ALPHA


def test_nothing_seen_says_nothing() -> None:
    assert evidence_of_harm(Counts(), Counts(), 0.01) == pytest.approx(1)
    nothing = judge(Observed(), Observed(), Limits(), 0.1)
    assert nothing.verdict == "unknown"
    assert slow_from(Observed(), Limits()) == 0.0


def test_the_more_is_compared_the_surer_an_alarm_must_be() -> None:
    """Three criteria share one chance of a false alarm."""
    fine = Counts(0, 400)
    slow = {0.1: fine}
    found = judge(
        Observed(fine, slow, fine),
        Observed(Counts(400, 400), slow, fine),
        Limits(confidence=0.97),
        0.1,
    )
    assert found.verdict == "worse"
    assert found.why.startswith("worse by errors: 100.00% of 400 against 0.00% of 400")
    assert [c.name for c in found.criteria] == [
        "errors",
        "slower than 100 ms",
        "wrong predictions",
    ]


def page(errors: int, requests: int, version: int) -> str:
    labels = f'model_name="wings",model_version="{version}"'
    return (
        "# TYPE kfp_suite_requests_total counter\n"
        f'kfp_suite_requests_total{{{labels},code="200"}} {requests - errors}\n'
        f'kfp_suite_requests_total{{{labels},code="500"}} {errors}\n'
    )


def test_a_counter_that_fell_was_started_anew() -> None:
    pages = iter([page(3, 100, 1), page(3, 120, 1), page(1, 10, 1), page(2, 30, 1)])
    growth = Growth(lambda: parse_metrics(next(pages), "wings", "a"))
    assert growth.look()["1"].errors == Counts(0, 20)
    assert growth.look()["1"].errors == Counts(1, 30)
    assert growth.look()["1"].errors == Counts(2, 50)


def test_servers_are_told_apart_and_summed() -> None:
    rounds = iter([(0, 0), (10, 20), (15, 20)])

    def scrape() -> dict[Series, float]:
        one, two = next(rounds)
        return {
            **parse_metrics(page(0, one, 2), "wings", "a"),
            **parse_metrics(page(0, two, 2), "wings", "b"),
            **parse_metrics(page(0, 99, 7), "feet", "c"),
        }

    growth = Growth(scrape)
    assert growth.look()["2"].errors.total == 30
    assert growth.look()["2"].errors.total == 35
