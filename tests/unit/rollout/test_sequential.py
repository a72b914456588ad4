"""The sequential test keeps its word under continuous looks, and finds what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kfp_suite.components.rollout.judging import Limits, judge, slow_from
from kfp_suite.components.rollout.measuring import Observed
from kfp_suite.components.rollout.sequential import (
    Counts,
    confidence,
    evidence_of_harm,
    evidence_of_safety,
)
from kfp_suite.contracts.errors import ParameterError

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
    """All criteria share one chance of a false alarm."""
    fine = Counts(0, 400)
    slow = {0.1: fine}
    found = judge(
        Observed(fine, fine, slow, fine),
        Observed(Counts(400, 400), fine, slow, fine),
        Limits(confidence=0.97),
        0.1,
    )
    assert found.verdict == "worse"
    assert found.why.startswith("worse by errors: 100.00% of 400 against 0.00% of 400")
    assert [c.name for c in found.criteria] == [
        "errors",
        "refused requests",
        "slower than 100 ms",
        "wrong predictions",
    ]


@pytest.mark.parametrize(
    ("rate", "margin", "needed"),
    [
        (0, 0.01, 452),
        (0, 0.02, 218),
        (0, 0.05, 82),
        (0.005, 0.01, 2256),
        (0.05, 0.05, 684),
        (0.1, 0.05, 1184),
    ],
)
def test_a_verdict_takes_as_many_answers_as_the_documentation_says(
    rate: float, margin: float, needed: int
) -> None:
    """At a share of 10 percent, of versions that are equally good."""

    def good(n: int) -> bool:
        before, after = Counts(round(rate * 9 * n), 9 * n), Counts(round(rate * n), n)
        return confidence(evidence_of_safety(before, after, margin)) >= 0.95

    assert next(n for n in range(1, 3000) if good(n)) == needed


def test_a_candidate_that_refuses_what_the_other_takes_is_worse() -> None:
    fine, all_of_them = Counts(0, 400), Counts(60, 60)
    before = Observed(fine, fine, {0.1: fine})
    after = Observed(Counts(0, 60), all_of_them, {0.1: Counts(0, 60)})
    found = judge(before, after, Limits(), 0.1)
    assert found.why.startswith("worse by refused requests: 100.00% of 60 against 0.00% of 400")
    # Bad requests come to both.
    same = Observed(fine, Counts(200, 400), {0.1: fine})
    assert judge(same, same, Limits(), 0.1).verdict == "unknown"


def test_as_much_more_may_be_refused_as_may_fail_unless_it_is_said() -> None:
    fine = Counts(0, 100)
    seen = Observed(fine, fine, {0.1: fine})
    assert judge(seen, seen, Limits(), 0.1).verdict == "unknown"
    assert judge(seen, seen, Limits(error_margin=0.05), 0.1).verdict == "good"
    narrow = judge(seen, seen, Limits(error_margin=0.05, refusal_margin=0.01), 0.1)
    assert narrow.why.startswith("not decided: refused requests")
    with pytest.raises(ParameterError, match="refusal_margin 0 or more"):
        Limits(refusal_margin=1.5)


def test_none_is_good_before_it_is_known_what_is_slow() -> None:
    fine = Counts(0, 5000)
    early = Observed(fine, fine, {0.1: Counts(0, 199), math.inf: Counts(0, 199)})
    assert slow_from(early, Limits()) == 0.0
    assert slow_from(early, Limits(latency_seconds=0.2)) == 0.2
    found = judge(early, Observed(fine, fine), Limits(), 0.0)
    assert found.verdict == "unknown"
    assert "slow answers (fewer than 200 of the version before to tell)" in found.why
    late = Observed(fine, fine, {0.1: Counts(0, 200), math.inf: Counts(0, 200)})
    assert slow_from(late, Limits()) == 0.1


def test_answers_beyond_the_largest_bucket_are_still_compared() -> None:
    """More than 1 % of the stable version's answers take longer than any bucket."""

    def seen(slow: int) -> Observed:
        return Observed(
            Counts(0, 1000),
            Counts(0, 1000),
            {5.0: Counts(slow + 9, 1000), 10.0: Counts(slow, 1000), math.inf: Counts(0, 1000)},
        )

    assert slow_from(seen(30), Limits()) == 10.0
    found = judge(seen(30), seen(600), Limits(), 10.0)
    assert found.verdict == "worse"
    assert "worse by slower than 10000 ms: 60.00% of 1,000 against 3.00%" in found.why
    beyond = judge(seen(30), seen(600), Limits(latency_seconds=60), 60.0)
    assert beyond.why.startswith("worse by slower than 10000 ms")
