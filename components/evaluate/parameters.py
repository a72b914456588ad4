"""The requirements of a model: thresholds and the comparison, parsed without any data.

If the task is not known yet, a metric of any task will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, FiniteFloat

from kfp_suite.components.evaluate.metrics import METRICS, PRIMARY
from kfp_suite.components.evaluate.slices import SliceColumns
from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.model import Task
from kfp_suite.contracts.parameters import parse


@dataclass(frozen=True)
class SliceLimit:
    """Limits that every slice must keep; only of `columns`, if given."""

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
    """The requirements of a challenger against the champion, on the same rows.

    With `min_improvement` 0 the challenger may not be worse by more than `max_regression`;
    above 0 it must be better by at least that. Both are in units of `metric`.

    Args:
        metric: The metric compared; by default roc_auc, f1_macro or rmse.
        min_improvement: At least 0.
        max_regression: At least 0.
        decide_by: `value` compares the difference itself. `interval` rests on the paired
            bootstrap: a regression counts if the whole interval of the difference shows it, an
            improvement likewise; so, on few rows, champions may get worse a little at a time.
        on_incomparable: The verdict if the champion cannot be scored on these data:
            `reject` or `bless`.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    metric: str = ""
    min_improvement: FiniteFloat = 0.0
    max_regression: FiniteFloat = 0.0
    decide_by: Literal["value", "interval"] = "value"
    on_incomparable: Literal["reject", "bless"] = "reject"


def parse_thresholds(value: object, task: Task | None = None) -> dict[str, Threshold]:
    """The thresholds of `{metric: {min: x, max: y, ...}}`.

    Args:
        value: What the user gave.
        task: The model's; None if it is not known yet.

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


def parse_comparison(value: object, task: Task | None = None) -> Comparison:
    """The comparison of a mapping, its metric filled in if the task is known.

    Args:
        value: What the user gave.
        task: The model's; None if it is not known yet.

    Raises:
        ParameterError: an unknown metric or key, or a limit below 0.
    """
    comparison = parse(Comparison, value, "comparison")
    metric = comparison.metric or (PRIMARY[task] if task else "")
    if metric:
        _check_metric(metric, task, "comparison: metric")
        if _list_metrics(task)[metric] == "none":
            raise ParameterError(
                f"'{metric}' is neither better high nor better low",
                where="comparison: metric",
                fix=f"compare by another, such as {PRIMARY[task or 'binary']}",
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


def check_slice_limits(
    thresholds: Mapping[str, Threshold], wanted: tuple[SliceColumns, ...]
) -> None:
    """Check that the slices which have limits are among those that are asked for.

    Raises:
        ParameterError: they are not.
    """
    known = {name for columns in wanted for name in columns}
    for metric, threshold in thresholds.items():
        if threshold.slices is not None and not wanted:
            raise ParameterError(
                "limits of slices, and no slices",
                where=f"thresholds: {metric}: slices",
                fix="name their columns in the parameter slices",
            )
        for name in threshold.slices.columns if threshold.slices else ():
            if name not in known:
                raise ParameterError(
                    f"'{name}' is not among the slices",
                    where=f"thresholds: {metric}: slices",
                    fix=did_you_mean(name, known),
                )


def _list_metrics(task: Task | None) -> Mapping[str, str]:
    """The metrics of a task, or of all, with which way is better."""
    tasks = METRICS if task is None else {task: METRICS[task]}
    return {name: better for metrics in tasks.values() for name, better in metrics.items()}


def _check_metric(metric: str, task: Task | None, where: str) -> None:
    known = _list_metrics(task)
    if metric not in known:
        raise ParameterError(
            f"unknown metric '{metric}'" + (f" of a {task} model" if task else ""),
            where=where,
            fix=did_you_mean(metric, known),
        )


def _check_order(low: float | None, high: float | None, where: str) -> None:
    if low is not None and high is not None and low > high:
        raise ParameterError("min is above max", where=where, got=f"min {low}, max {high}")
