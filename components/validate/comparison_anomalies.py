"""Anomalies of comparisons: distances beyond a threshold, and distances that were not measured.

A distance is an anomaly only beyond a threshold that was set (a jump of the missing values
also without one, as a warning). A distance that could not be measured is an error if a
threshold applies to it, else a warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from kfp_suite.components.validate.anomaly import Anomaly
from kfp_suite.components.validate.comparisons import MISSING_JUMP, Comparison
from kfp_suite.components.validate.distances import Metric
from kfp_suite.components.validate.thresholds import Thresholds
from kfp_suite.components.validate.value_texts import format_rows

_METRIC_NAMES: dict[Metric, str] = {
    "l_infinity": "L-infinity distance",
    "jensen_shannon": "Jensen-Shannon divergence",
    "missing": "difference between the shares of missing values",
}
_TYPES: dict[Metric, str] = {
    "l_infinity": "COMPARATOR_L_INFTY_HIGH",
    "jensen_shannon": "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
    "missing": "FEATURE_TYPE_LOW_FRACTION_PRESENT",
}
_MEASUREMENTS: dict[Metric, int] = {
    "l_infinity": anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY,
    "jensen_shannon": anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE,
}


def comparison_anomalies(comparisons: Iterable[Comparison]) -> list[Anomaly]:
    """The distances beyond their threshold, and the comparisons that failed."""
    found = []
    for c in comparisons:
        split = "train" if c.kind == "drift" else c.other
        if c.obstacle is not None:
            found.append(
                Anomaly(
                    c.column,
                    c.obstacle.kind,
                    c.obstacle.description,
                    c.obstacle.got,
                    c.obstacle.expected,
                    split,
                    "error" if c.obstacle.limited else "warning",
                )
            )
        elif c.exceeds or c.jumps:
            assert c.value is not None
            against = "the baseline" if c.kind == "drift" else c.other
            hint = f" (most for '{c.farthest}')" if c.farthest else ""
            measured = f"{c.value:.4g}"
            found.append(
                Anomaly(
                    c.column,
                    _TYPES[c.metric],
                    f"The {_METRIC_NAMES[c.metric]} between train and {against} is above its "
                    f"threshold{hint}.",
                    f"{measured} ({c.detail})" if c.detail else measured,
                    f"at most {MISSING_JUMP if c.threshold is None else c.threshold:g}",
                    split,
                    "error" if c.exceeds else "warning",
                )
            )
    return found


def unmeasured_limits(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    baseline: statistics_pb2.DatasetFeatureStatistics | None,
    skew: Thresholds,
    drift: Thresholds,
) -> list[Anomaly]:
    """Limits of which nothing at all was measured: no other split, no rows, no baseline."""
    found = []
    _, *others = statistics.datasets
    if skew.any and not others:
        found.append(
            _make_unmeasured_anomaly(
                "skew", "there is no other split", "only train", "another split"
            )
        )
    for other in others:
        if skew.any and not other.num_examples:
            got = f"no rows in {other.name}"
            found.append(
                _make_unmeasured_anomaly("skew", f"{other.name} is empty", got, "rows", other.name)
            )
    if drift.any and baseline is None:
        found.append(
            _make_unmeasured_anomaly(
                "drift",
                "there is no baseline",
                "no baseline_statistics",
                "the statistics of an earlier dataset",
                severity="warning",
            )
        )
    elif drift.any and baseline is not None and not baseline.num_examples:
        found.append(_make_unmeasured_anomaly("drift", "the baseline is empty", "0 rows", "rows"))
    return found


def row_count_anomalies(
    schema: schema_pb2.Schema,
    train: statistics_pb2.DatasetFeatureStatistics,
    baseline: statistics_pb2.DatasetFeatureStatistics | None,
) -> list[Anomaly]:
    """A train split with too few or too many rows for the schema's drift comparator."""
    constraints = schema.dataset_constraints
    if baseline is None or not baseline.num_examples:
        return []
    if not constraints.HasField("num_examples_drift_comparator"):
        return []
    comparator = constraints.num_examples_drift_comparator
    ratio = train.num_examples / baseline.num_examples
    found = []
    for name, word, wrong, bound in (
        ("min_fraction_threshold", "least", ratio < comparator.min_fraction_threshold, "LOW"),
        ("max_fraction_threshold", "most", ratio > comparator.max_fraction_threshold, "HIGH"),
    ):
        if comparator.HasField(name) and wrong:
            found.append(
                Anomaly(
                    "",
                    f"COMPARATOR_{bound}_NUM_EXAMPLES",
                    "The number of rows of train is not what the baseline leads to expect.",
                    f"{format_rows(train.num_examples)}, {ratio:.4g} of the baseline's",
                    f"at {word} {getattr(comparator, name):g} of "
                    f"{format_rows(baseline.num_examples)}",
                    "train",
                    "error",
                )
            )
    return found


def add_distances(proto: anomalies_pb2.Anomalies, comparisons: list[Comparison]) -> None:
    """Put the distances into `drift_skew_info`, by column; it has no place for missing shares."""
    by_column: dict[str, anomalies_pb2.DriftSkewInfo] = {}
    for c in comparisons:
        if c.value is None or c.metric not in _MEASUREMENTS:
            continue
        if c.column not in by_column:
            by_column[c.column] = proto.drift_skew_info.add()
            by_column[c.column].path.step.append(c.column)
        info = by_column[c.column]
        measurements = info.drift_measurements if c.kind == "drift" else info.skew_measurements
        measurement = measurements.add(type=_MEASUREMENTS[c.metric], value=c.value)
        if c.threshold is not None:
            measurement.threshold = c.threshold


def _make_unmeasured_anomaly(
    limits: str,
    why: str,
    got: str,
    expected: str,
    split: str = "train",
    severity: Literal["error", "warning"] = "error",
) -> Anomaly:
    return Anomaly(
        "",
        "COMPARATOR_CONTROL_DATA_MISSING",
        f"Nothing was measured for the limits of {limits}: {why}.",
        got,
        expected,
        split,
        severity,
    )
