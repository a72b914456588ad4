"""Skew between the splits, and drift against an earlier dataset.

Train is compared with each other split (skew) and with the train split of earlier
statistics (drift). Distances are always reported. What cannot be measured is kept, with
the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from kfp_suite.components.validate.distances import (
    Distance,
    Metric,
    distance,
    frequencies,
    jensen_shannon_of_values,
)
from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.protos import column_type_of, feature_name, types_differ
from kfp_suite.components.validate.thresholds import Thresholds
from kfp_suite.components.validate.value_texts import format_share
from kfp_suite.contracts.errors import did_you_mean

MISSING_JUMP = 0.1
"""A larger difference between the shares of missing values is a warning without a limit."""
_MAX_CANDIDATES = 100  # new columns that a gone one may have been renamed to


@dataclass(frozen=True)
class Obstacle:
    """Why a column could not be compared.

    Attributes:
        kind: A name of `AnomalyInfo.Type`.
        description: A sentence.
        got: What the data has.
        expected: What a comparison needs.
        limited: A limit applies to the column, so it is an error; else a warning.
    """

    kind: str
    description: str
    got: str
    expected: str
    limited: bool


@dataclass(frozen=True)
class Comparison:
    """A column in two sets of statistics.

    Attributes:
        kind: `skew` (train against `other`) or `drift` (train against the baseline's).
        other: The other split, or `baseline`.
        value: None if it could not be measured.
        threshold: None if there is no limit.
        farthest: The value whose share of the rows differs most (`l_infinity`).
        detail: The two shares, as text (`missing`).
        obstacle: Why there is no value; also None if neither side has any values.
        jumps: It is a warning without a threshold too.
    """

    column: str
    kind: Literal["skew", "drift"]
    other: str
    metric: Metric
    value: float | None
    threshold: float | None
    farthest: str = ""
    detail: str = ""
    obstacle: Obstacle | None = None
    jumps: bool = False

    @property
    def exceeds(self) -> bool:
        """The distance is beyond its threshold."""
        return self.value is not None and self.threshold is not None and self.value > self.threshold


def compare(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    baseline: statistics_pb2.DatasetFeatureStatistics | None,
    schema: schema_pb2.Schema,
    skew: Thresholds,
    drift: Thresholds,
    partials: Mapping[str, SplitPartial] | None = None,
) -> list[Comparison]:
    """Every column of train against the other splits and against the baseline.

    Args:
        statistics: Train first, then the other splits.
        baseline: The train statistics of an earlier dataset; None: no drift.
        schema: Whose comparators hold thresholds too.
        skew: Thresholds between the splits.
        drift: Thresholds against the baseline.
        partials: Our own counts by split, which make the distances of numbers exact.
    """
    train, *others = statistics.datasets
    features = {feature.name: feature for feature in schema.feature}
    found: list[Comparison] = []
    for other in others:
        counted = partials[other.name] if partials else None
        pair = _Pair(train, other, "skew", other.name, skew, features, counted)
        found += pair.compare()
    if baseline is not None:
        counted = partials[train.name] if partials else None
        found += _Pair(baseline, train, "drift", "baseline", drift, features, counted).compare()
    return found


@dataclass(frozen=True)
class _Pair:
    """Two sets of statistics to compare.

    Attributes:
        reference: Train in a skew, the baseline in a drift.
        current: The other split in a skew, train in a drift.
        counted: Our own counts of `current`.
    """

    reference: statistics_pb2.DatasetFeatureStatistics
    current: statistics_pb2.DatasetFeatureStatistics
    kind: Literal["skew", "drift"]
    name: str
    thresholds: Thresholds
    schema: Mapping[str, schema_pb2.Feature]
    counted: SplitPartial | None

    def compare(self) -> Iterator[Comparison]:
        """The comparisons of every column that one of the two has."""
        if not self.reference.num_examples or not self.current.num_examples:
            return  # nothing to compare in any column: see unmeasured_limits
        before = {feature_name(feature): feature for feature in self.reference.features}
        now = {feature_name(feature): feature for feature in self.current.features}
        new = [name for name in now if name not in before][:_MAX_CANDIDATES]
        for column in dict.fromkeys([*now, *before]):
            if column not in now:
                near = did_you_mean(column, new)
                yield self._obstacle(
                    column,
                    before[column],
                    "COMPARATOR_TREATMENT_DATA_MISSING",
                    f"The column '{column}' of {self._reference_name} is not in "
                    f"{self._current_name}{f' ({near})' if near.startswith('did') else ''}.",
                    "no such column",
                    f"a column of type {column_type_of(before[column])}",
                )
            elif column not in before:
                yield self._obstacle(
                    column,
                    now[column],
                    "COMPARATOR_CONTROL_DATA_MISSING",
                    f"The column '{column}' is new: {self._reference_name} does not have it.",
                    f"a column of type {column_type_of(now[column])}",
                    "no such column",
                )
            elif types_differ(before[column], now[column]):
                yield self._obstacle(
                    column,
                    now[column],
                    "UNEXPECTED_DATA_TYPE",
                    f"The type of '{column}' is another than in {self._reference_name}.",
                    _describe_type(now[column]),
                    _describe_type(before[column]),
                )
            else:
                yield from self._column(column, before[column], now[column])

    def _column(
        self,
        column: str,
        before: statistics_pb2.FeatureNameStatistics,
        now: statistics_pb2.FeatureNameStatistics,
    ) -> Iterator[Comparison]:
        had, has = _count_present(before), _count_present(now)
        if not had or not has:
            yield from self._compare_empty(column, before, now, had, has)
            return
        counted = self.counted.columns[column] if self.counted else None
        found = distance(before, now, counted)
        yield from self._compare_distance(column, before, now, found)
        yield self._missing(column, before, now)

    def _compare_distance(
        self,
        column: str,
        before: statistics_pb2.FeatureNameStatistics,
        now: statistics_pb2.FeatureNameStatistics,
        found: Distance | None,
    ) -> Iterator[Comparison]:
        if found is None or found.value is None:
            yield self._obstacle(
                column,
                now,
                "COMPARATOR_CONTROL_DATA_MISSING",
                f"'{column}' cannot be compared with {self._reference_name}.",
                _describe(now),
                _describe(before),
            )
            return
        limit = self.thresholds.of(column, found.metric)
        comparator = self._comparator(column)
        if comparator is not None and column not in self.thresholds.columns:
            if comparator.HasField("infinity_norm"):
                if found.metric == "l_infinity":
                    limit = comparator.infinity_norm.threshold
                else:
                    yield self._report_unsupported(
                        column, now, "infinity_norm", "a categorical column"
                    )
            if comparator.HasField("jensen_shannon_divergence"):
                threshold = comparator.jensen_shannon_divergence.threshold
                if found.metric == "jensen_shannon":
                    limit = threshold
                else:
                    value = jensen_shannon_of_values(frequencies(before), frequencies(now))
                    yield Comparison(
                        column, self.kind, self.name, "jensen_shannon", value, threshold
                    )
            if comparator.HasField("normalized_abs_difference"):
                yield self._report_unsupported(
                    column, now, "normalized_abs_difference", "another comparator"
                )
        yield Comparison(
            column, self.kind, self.name, found.metric, found.value, limit, found.farthest
        )

    def _compare_empty(
        self,
        column: str,
        before: statistics_pb2.FeatureNameStatistics,
        now: statistics_pb2.FeatureNameStatistics,
        had: float,
        has: float,
    ) -> Iterator[Comparison]:
        metric = _metric_of(now if has else before)
        limit = self.thresholds.of(column, metric)
        if not had and not has:
            explicit = self.thresholds.columns.get(column) is not None
            if explicit or self._comparator(column) is not None:
                yield self._obstacle(
                    column,
                    now,
                    "COMPARATOR_TREATMENT_DATA_MISSING",
                    f"'{column}' has no value, neither in {self._current_name} nor in "
                    f"{self._reference_name}: its limit could not be checked.",
                    "all missing",
                    "values",
                )
            else:
                yield Comparison(column, self.kind, self.name, metric, None, limit)
            return
        empty, full = (
            (self._current_name, self._reference_name)
            if had
            else (self._reference_name, self._current_name)
        )
        yield self._obstacle(
            column,
            now if has else before,
            "COMPARATOR_TREATMENT_DATA_MISSING" if had else "COMPARATOR_CONTROL_DATA_MISSING",
            f"Every value of '{column}' is missing in {empty}, but not in {full}.",
            f"all missing in {empty}",
            "values",
        )

    def _missing(
        self,
        column: str,
        before: statistics_pb2.FeatureNameStatistics,
        now: statistics_pb2.FeatureNameStatistics,
    ) -> Comparison:
        was = 1 - _count_present(before) / self.reference.num_examples
        is_now = 1 - _count_present(now) / self.current.num_examples
        limit = self.thresholds.of(column, "missing")
        value = min(max(abs(is_now - was), 0.0), 1.0)
        jumps = limit is None and value > MISSING_JUMP and not self.thresholds.exempts(column)
        return Comparison(
            column,
            self.kind,
            self.name,
            "missing",
            value,
            limit,
            detail=f"{format_share(is_now, 1)} missing in {self._current_name}, "
            f"{format_share(was, 1)} in {self._reference_name}",
            jumps=jumps,
        )

    def _obstacle(
        self,
        column: str,
        feature: statistics_pb2.FeatureNameStatistics,
        anomaly: str,
        description: str,
        got: str,
        expected: str,
    ) -> Comparison:
        metric = _metric_of(feature)
        limit = self.thresholds.of(column, metric)
        limited = (
            limit is not None
            or self.thresholds.of(column, "missing") is not None
            or (self._comparator(column) is not None and not self.thresholds.exempts(column))
        )
        if limited:
            expected = f"{expected} (to exempt the column: {self.kind}.columns.{column}: null)"
        obstacle = Obstacle(anomaly, description, got, expected, limited)
        return Comparison(
            column,
            self.kind,
            self.name,
            metric,
            None,
            limit,
            obstacle=None if self.thresholds.exempts(column) else obstacle,
        )

    def _report_unsupported(
        self,
        column: str,
        feature: statistics_pb2.FeatureNameStatistics,
        comparator: str,
        expected: str,
    ) -> Comparison:
        return self._obstacle(
            column,
            feature,
            "COMPARATOR_CONTROL_DATA_MISSING",
            f"The schema's {self.kind}_comparator of '{column}' could not be checked: "
            f"{comparator} is not measured for it.",
            _describe(feature),
            expected,
        )

    def _comparator(self, column: str) -> schema_pb2.FeatureComparator | None:
        feature = self.schema.get(column)
        if feature is None or not feature.HasField(f"{self.kind}_comparator"):
            return None
        return feature.skew_comparator if self.kind == "skew" else feature.drift_comparator

    @property
    def _reference_name(self) -> str:
        return "the baseline" if self.kind == "drift" else "train"

    @property
    def _current_name(self) -> str:
        return "train" if self.kind == "drift" else self.name


def _count_present(feature: statistics_pb2.FeatureNameStatistics) -> float:
    """The rows with a value; NaN is none."""
    if feature.HasField("string_stats"):
        return float(feature.string_stats.common_stats.num_non_missing)
    nans = max((h.num_nan for h in feature.num_stats.histograms), default=0)
    return float(feature.num_stats.common_stats.num_non_missing - nans)


def _metric_of(feature: statistics_pb2.FeatureNameStatistics) -> Metric:
    return "l_infinity" if feature.HasField("string_stats") else "jensen_shannon"


def _describe(feature: statistics_pb2.FeatureNameStatistics) -> str:
    """A column's type, and whether its values or its size are described."""
    by = "values" if feature.HasField("string_stats") else "size"
    return f"{column_type_of(feature)} described by {by}"


def _describe_type(feature: statistics_pb2.FeatureNameStatistics) -> str:
    kind = column_type_of(feature)
    return kind if _count_present(feature) else f"{kind}, all missing"
