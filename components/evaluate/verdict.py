"""When a model is blessed: absolute thresholds, and the champion on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, FiniteFloat

from kfp_suite.components.contracts.errors import ParameterError, did_you_mean
from kfp_suite.components.contracts.model import Task
from kfp_suite.components.contracts.parameters import parse
from kfp_suite.components.evaluate.bootstrap import Estimate, Measured, Resampling, rounded
from kfp_suite.components.evaluate.champion import Champion
from kfp_suite.components.evaluate.metrics import METRICS, PRIMARY
from kfp_suite.components.reports.formatting import interval, number


@dataclass(frozen=True)
class SliceLimit:
    """Limits that every slice must keep; of `columns` only, where given."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Threshold:
    """Limits of one metric, both inclusive.

    Args:
        min: The least allowed value.
        max: The greatest allowed value.
        decide_by: `value` compares the metric itself; `interval` its confidence interval's
            worse end, so that the limit is kept with that confidence.
        slices: Limits for each slice of enough rows.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    decide_by: Literal["value", "interval"] = "value"
    slices: SliceLimit | None = None

    def limits_slices_of(self, columns: tuple[str, ...]) -> bool:
        """Whether slices by `columns` have limits."""
        if self.slices is None:
            return False
        return not self.slices.columns or set(columns) <= set(self.slices.columns)


@dataclass(frozen=True)
class Comparison:
    """What the champion asks of a challenger, on the same rows.

    With `min_improvement` 0 the challenger may not be worse by more than `max_regression`;
    above 0 it must be better by at least that. Both are in units of `metric`.

    Args:
        metric: The metric compared; by default roc_auc, f1_macro or rmse.
        min_improvement: At least 0.
        max_regression: At least 0.
        decide_by: `interval` rests on the paired bootstrap: a regression counts where the
            whole interval of the difference shows it, an improvement likewise. `value`
            compares the difference itself.
        on_incomparable: The verdict where the champion cannot be scored on these data:
            `reject` or `bless`.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    metric: str = ""
    min_improvement: FiniteFloat = 0.0
    max_regression: FiniteFloat = 0.0
    decide_by: Literal["value", "interval"] = "interval"
    on_incomparable: Literal["reject", "bless"] = "reject"


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
        rounds = {name: rounded(getattr(self, name)) for name in ("value", "low", "high")}
        return asdict(self) | rounds


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
            "value": rounded(self.value),
            "champion": rounded(self.champion),
            "difference": self.difference.to_json(),
            "min_improvement": comparison.min_improvement,
            "max_regression": comparison.max_regression,
            "decide_by": comparison.decide_by,
            "passed": self.passed,
        }


def parse_thresholds(value: object, task: Task) -> dict[str, Threshold]:
    """The thresholds of `{metric: {min: x, max: y, ...}}`.

    Raises:
        ParameterError: an unknown metric or key, no limit, or min above max.
    """
    if not isinstance(value, Mapping):
        raise ParameterError("is not allowed", where="thresholds", got=value, expected="a mapping")
    found = {}
    for metric, limits in value.items():
        where = f"thresholds: {metric}"
        _check_metric(str(metric), task, "thresholds")
        threshold = parse(Threshold, limits, where)
        if threshold.min is None and threshold.max is None and threshold.slices is None:
            raise ParameterError("no limit", where=where, expected="min, max or slices")
        _check_order(threshold.min, threshold.max, where)
        if threshold.slices is not None:
            _check_order(threshold.slices.min, threshold.slices.max, f"{where}: slices")
            if threshold.slices.min is None and threshold.slices.max is None:
                raise ParameterError("no limit", where=f"{where}: slices", expected="min or max")
        found[str(metric)] = threshold
    return found


def parse_comparison(value: object, task: Task) -> Comparison:
    """The comparison of a mapping, its metric filled in.

    Raises:
        ParameterError: an unknown metric or key, or a limit below 0.
    """
    comparison = parse(Comparison, value, "comparison")
    metric = comparison.metric or PRIMARY[task]
    _check_metric(metric, task, "comparison: metric")
    if METRICS[task][metric] == "none":
        raise ParameterError(
            f"'{metric}' is neither better high nor better low",
            where="comparison: metric",
            fix=f"compare by another, such as {PRIMARY[task]}",
        )
    for name in ("min_improvement", "max_regression"):
        if getattr(comparison, name) < 0:
            raise ParameterError(
                f"'{name}' is not allowed",
                where="comparison",
                got=getattr(comparison, name),
                expected="a number of at least 0",
            )
    if comparison.min_improvement and comparison.max_regression:
        raise ParameterError(
            "'min_improvement' and 'max_regression' exclude each other",
            where="comparison",
            fix="leave one of them out",
        )
    return Comparison(**(asdict(comparison) | {"metric": metric}))


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
    checks: Sequence[Check], champion: Champion | None, duel: Duel | None, comparison: Comparison
) -> tuple[bool, list[str]]:
    """The verdict and its reasons: of a refusal what refused, of a blessing what was met."""
    judged = [(check.passed, check.reason) for check in checks if check.slice is None]
    in_slices = [check for check in checks if check.slice is not None]
    judged += [(False, check.reason) for check in in_slices if not check.passed]
    if in_slices and all(check.passed for check in in_slices):
        judged.append((True, f"every slice is within its limits ({len(in_slices)} checked)"))
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
        return passed, f"{gain}; an improvement of {number(asked)} {_proof(passed, by_value)}"
    allowed = comparison.max_regression
    reached = value if by_value or high is None else high
    # A difference of exactly the allowance, written in decimals, is allowed.
    passed = bool(reached >= -allowed or np.isclose(reached, -allowed, rtol=1e-9, atol=1e-15))
    limit = f"a regression of more than {number(allowed)}" if allowed else "a regression"
    return passed, f"{gain}; {limit} {_proof(not passed, by_value)}"


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


def _check_metric(metric: str, task: Task, where: str) -> None:
    if metric not in METRICS[task]:
        raise ParameterError(
            f"unknown metric '{metric}' of a {task} model",
            where=where,
            fix=did_you_mean(metric, METRICS[task]),
        )


def _check_order(low: float | None, high: float | None, where: str) -> None:
    if low is not None and high is not None and low > high:
        raise ParameterError("min is above max", where=where, got=f"min {low}, max {high}")
