"""When a model is blessed: absolute thresholds, and the champion on the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kfp_suite.components.evaluate.bootstrap import Estimate, Measured, Resampling, round_figure
from kfp_suite.components.evaluate.champion import Champion
from kfp_suite.components.evaluate.metrics import METRICS
from kfp_suite.components.evaluate.parameters import Comparison, Threshold
from kfp_suite.components.evaluate.slices import SliceColumns
from kfp_suite.contracts.model import Task
from kfp_suite.reports.formatting import interval, number

_UNCHECKED_FIX = (
    "give coarser slices or more rows to evaluate on, lower min_slice_rows, or take the limits "
    "of slices out of thresholds"
)


@dataclass(frozen=True)
class Check:
    """One limit held against one value."""

    metric: str
    slice: str | None
    min: float | None
    max: float | None
    decide_by: str
    value: float | None
    low: float | None
    high: float | None
    passed: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The mapping evaluation.json holds."""
        rounds = {name: round_figure(getattr(self, name)) for name in ("value", "low", "high")}
        return asdict(self) | rounds


@dataclass(frozen=True)
class Unchecked:
    """Slices that have limits and fewer rows than are measured."""

    slices: int
    min_rows: int

    @classmethod
    def count(
        cls,
        thresholds: Mapping[str, Threshold],
        slices: Iterable[tuple[SliceColumns, int]],
        min_rows: int,
    ) -> Unchecked:
        """Count the slices with limits and too few rows.

        Args:
            thresholds: The limits, by metric.
            slices: The columns and the number of rows of each slice.
            min_rows: The number of rows from which a slice is measured.
        """
        limits = thresholds.values()
        return cls(
            sum(
                rows < min_rows and any(limit.limits_slices_of(columns) for limit in limits)
                for columns, rows in slices
            ),
            min_rows,
        )

    def __bool__(self) -> bool:
        return self.slices > 0

    def __str__(self) -> str:
        return f"{number(self.slices)} with fewer than {number(self.min_rows)} rows left out"


@dataclass(frozen=True)
class Duel:
    """Champion and challenger by one metric; `difference` is how much better the challenger
    is, whichever way better lies."""

    metric: str
    value: float | None
    champion: float | None
    difference: Estimate
    passed: bool
    reason: str

    def to_json(self, comparison: Comparison) -> dict[str, Any]:
        """The mapping evaluation.json holds."""
        return {
            "metric": self.metric,
            "value": round_figure(self.value),
            "champion": round_figure(self.champion),
            "difference": self.difference.to_json(),
            "min_improvement": comparison.min_improvement,
            "max_regression": comparison.max_regression,
            "decide_by": comparison.decide_by,
            "passed": self.passed,
        }


def check_threshold(
    metric: str, threshold: Threshold, estimate: Estimate, slice_name: str | None = None
) -> Check:
    """Hold `threshold` (or, for a slice, its slice limits) against an estimate."""
    limits = threshold if slice_name is None else threshold.slices
    assert limits is not None
    by_interval = threshold.decide_by == "interval" and estimate.low is not None
    lowest = estimate.low if by_interval else estimate.value
    highest = estimate.high if by_interval else estimate.value
    shown = f"{slice_name}: {metric}" if slice_name else metric
    if lowest is None or highest is None:
        passed, reason = False, f"{shown} is undefined: {estimate.reason}"
    else:
        found = []
        if limits.min is not None:
            found.append((lowest >= limits.min, "at least", "below", limits.min))
        if limits.max is not None:
            found.append((highest <= limits.max, "at most", "above", limits.max))
        passed = all(fits for fits, *_ in found)
        words = " and ".join(
            f"{kept if passed else broken} {number(limit)}"
            for fits, kept, broken, limit in found
            if fits == passed
        )
        digits = _telling_digits(estimate.value, [limit for *_, limit in found])
        subject = ": the interval is" if by_interval else " is"
        reason = f"{shown} {_shown(estimate, digits)}{subject} {words}"
    return Check(
        metric,
        slice_name,
        limits.min,
        limits.max,
        threshold.decide_by,
        estimate.value,
        estimate.low,
        estimate.high,
        passed,
        reason,
    )


def compare(
    comparison: Comparison, task: Task, models: Sequence[Measured], resampling: Resampling
) -> Duel:
    """The challenger (first) against the champion (second), measured under the same draws."""
    challenger, champion = models
    metric = comparison.metric
    missing = Estimate(None, reason="not measured")
    own = challenger.estimates.get(metric, missing)
    other = champion.estimates.get(metric, missing)
    if own.value is None or other.value is None:
        reason = f"{metric} cannot be compared: {own.reason or other.reason}"
        return Duel(metric, own.value, other.value, Estimate(None, reason=reason), False, reason)
    sign = 1.0 if METRICS[task][metric] == "higher" else -1.0
    draws = sign * (challenger.draws[metric] - champion.draws[metric])
    low, high = resampling.interval(draws) if len(draws) else (None, None)
    difference = Estimate(sign * (own.value - other.value), low, high)
    return Duel(metric, own.value, other.value, difference, *_judge(comparison, difference))


def decide(
    checks: Sequence[Check],
    champion: Champion | None,
    duel: Duel | None,
    comparison: Comparison,
    unchecked: Unchecked | None = None,
) -> tuple[bool, list[str]]:
    """The verdict and its reasons: of a refusal the failed checks, of a blessing the passed ones.

    Args:
        checks: Every limit that was held against a value.
        champion: The champion, if there is one.
        duel: The comparison with it, if it could be scored.
        comparison: The requirements of the comparison.
        unchecked: The slices that have limits and too few rows.
    """
    judged = [(check.passed, check.reason) for check in checks if check.slice is None]
    in_slices = [check for check in checks if check.slice is not None]
    judged += [(False, check.reason) for check in in_slices if not check.passed]
    left_out = f"; {unchecked}" if unchecked else ""
    if in_slices and all(check.passed for check in in_slices):
        kept = f"every slice is within its limits ({len(in_slices)} checked{left_out})"
        judged.append((True, kept))
    if unchecked and not in_slices:
        judged.append((False, f"no slice could be checked: {unchecked}; {_UNCHECKED_FIX}"))
    if champion is not None:
        judged.append(_against(champion, duel, comparison))
    if not judged:
        return True, ["no threshold is set and there is no champion"]
    blessed = all(passed for passed, _ in judged)
    return blessed, [reason for passed, reason in judged if passed == blessed]


def _against(champion: Champion, duel: Duel | None, comparison: Comparison) -> tuple[bool, str]:
    name = f"champion (version {champion.reference.version})"
    if champion.same:
        return True, f"this model is the {name}"
    if duel is not None:
        if duel.difference.value is None:
            return False, duel.reason
        pair = f"{number(duel.value)} against {number(duel.champion)} of the {name}"
        return duel.passed, f"{duel.metric} {pair}: {duel.reason}"
    reason = f"the {name} cannot be compared: {champion.reason}"
    if comparison.on_incomparable == "bless":
        return True, reason
    return False, f"{reason}; to bless all the same, set on_incomparable: bless in comparison"


def _judge(comparison: Comparison, difference: Estimate) -> tuple[bool, str]:
    value, low, high = difference.value, difference.low, difference.high
    assert value is not None
    by_value = comparison.decide_by == "value" or low is None or high is None
    gain = f"{'better' if value > 0 else 'worse'} by {number(abs(value))}"
    gain = gain if value else "no difference"
    if low is not None:
        gain += f" (interval of the improvement: {interval(low, high)})"
    if comparison.min_improvement > 0:
        asked = comparison.min_improvement
        reached = value if by_value or low is None else low
        passed = bool(reached >= asked)
        return passed, f"{gain}; an improvement of {number(asked)} {_proof(passed, by_value)}" + (
            "" if passed else "; to ask for less, set comparison.min_improvement"
        )
    allowed = comparison.max_regression
    reached = value if by_value or high is None else high
    # A difference of exactly the allowance, written in decimals, is allowed.
    passed = bool(reached >= -allowed or np.isclose(reached, -allowed, rtol=1e-9, atol=1e-15))
    limit = f"a regression of more than {number(allowed)}" if allowed else "a regression"
    return passed, f"{gain}; {limit} {_proof(not passed, by_value)}" + (
        "" if passed else "; to allow it, set comparison.max_regression"
    )


def _proof(found: bool, by_value: bool) -> str:
    if by_value:
        return "is seen" if found else "is not seen"
    return "is shown" if found else "is not shown"


def _shown(estimate: Estimate, digits: int) -> str:
    value = number(estimate.value, digits)
    return value if estimate.low is None else f"{value} ({interval(estimate.low, estimate.high)})"


def _telling_digits(value: float | None, limits: Sequence[float]) -> int:
    """Enough digits to tell `value` from limits it does not equal: 0.69998 is not 0.7."""
    return next(
        (
            digits
            for digits in range(4, 16)
            if all(value == x or number(value, digits) != number(x, digits) for x in limits)
        ),
        16,
    )
