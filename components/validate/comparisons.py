"""Skew between the splits, and drift against an earlier dataset.

Train is compared with each other split (skew) and with the train split of earlier
statistics (drift). Distances are always reported; they are anomalies only beyond a
threshold that was set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from pydantic import ConfigDict
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from kfp_suite.components.contracts.errors import (
    ContractError,
    MissingError,
    ParameterError,
    did_you_mean,
    store_error,
)
from kfp_suite.components.validate.anomalies import Anomaly
from kfp_suite.components.validate.distances import (
    Metric,
    distance,
    jensen_shannon_counts,
    rank_counts,
)

STATISTICS_FILE = "statistics.pb"

_METRIC_NAMES: dict[Metric, str] = {
    "l_infinity": "L-infinity distance",
    "jensen_shannon": "Jensen-Shannon divergence",
}
_TYPES: dict[Metric, tuple[str, int]] = {
    "l_infinity": (
        "COMPARATOR_L_INFTY_HIGH",
        anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY,
    ),
    "jensen_shannon": (
        "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
        anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE,
    ),
}


@dataclass(frozen=True)
class Thresholds:
    """The largest distances allowed, from 0 to 1; None: reported only.

    Attributes:
        l_infinity: For strings and integer codes.
        jensen_shannon: For numbers, booleans, dates and timestamps.
        columns: For single columns, whichever metric they have; null for none.
    """

    l_infinity: float | None = None
    jensen_shannon: float | None = None
    columns: dict[str, float | None] = field(default_factory=dict)
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def of(self, column: str, metric: Metric) -> float | None:
        """The threshold of a column."""
        if column in self.columns:
            return self.columns[column]
        return self.l_infinity if metric == "l_infinity" else self.jensen_shannon

    def check(self, known: Iterable[str], where: str) -> None:
        """Refuse thresholds outside 0 to 1 and of unknown columns (ParameterError)."""
        known = list(known)
        limits = {"l_infinity": self.l_infinity, "jensen_shannon": self.jensen_shannon}
        for name, limit in {**limits, **self.columns}.items():
            if limit is not None and not 0 <= limit <= 1:
                raise ParameterError(
                    f"the threshold '{name}' is out of range",
                    where=where,
                    got=limit,
                    expected="0 to 1",
                )
        for name in self.columns:
            if name not in known:
                raise ParameterError(
                    f"a threshold for an unknown column '{name}'",
                    where=where,
                    fix=did_you_mean(name, known),
                )


@dataclass(frozen=True)
class Comparison:
    """A column in two sets of statistics.

    Attributes:
        kind: `skew` (train against `other`) or `drift` (train against the baseline's).
        other: The other split, or `baseline`.
        value: None where one side has no values.
        farthest: The value whose frequency differs most (`l_infinity`).
    """

    column: str
    kind: Literal["skew", "drift"]
    other: str
    metric: Metric
    value: float | None
    threshold: float | None
    farthest: str = ""

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
) -> list[Comparison]:
    """Every column of train against the other splits and against the baseline."""
    train, *others = statistics.datasets
    features = {feature.name: feature for feature in schema.feature}
    found = []
    for other in others:
        found += list(_compare(train, other, "skew", other.name, skew, features))
    if baseline is not None:
        found += list(_compare(train, baseline, "drift", "baseline", drift, features))
    return found


def comparison_anomalies(
    comparisons: list[Comparison], drift: Thresholds, baseline_given: bool
) -> list[Anomaly]:
    """The distances beyond their threshold, and thresholds with nothing to compare."""
    found = []
    for c in comparisons:
        if c.exceeds:
            assert c.value is not None
            against = "the baseline" if c.kind == "drift" else c.other
            hint = f" (most for '{c.farthest}')" if c.farthest else ""
            found.append(
                Anomaly(
                    c.column,
                    _TYPES[c.metric][0],
                    f"The {_METRIC_NAMES[c.metric]} between train and {against} is above its "
                    f"threshold{hint}.",
                    f"{c.value:.4g}",
                    f"at most {c.threshold:g}",
                    "train" if c.kind == "drift" else c.other,
                    "error",
                )
            )
    if baseline_given:
        compared = {c.column for c in comparisons if c.kind == "drift"}
        for column, limit in drift.columns.items():
            if limit is not None and column not in compared:
                found.append(
                    Anomaly(
                        column,
                        "COMPARATOR_CONTROL_DATA_MISSING",
                        "There is nothing to compare with in the baseline statistics.",
                        "no such column",
                        "a column of the same kind",
                        "train",
                        "error",
                    )
                )
    return found


def add_distances(proto: anomalies_pb2.Anomalies, comparisons: list[Comparison]) -> None:
    """Put the distances into `drift_skew_info`, by column."""
    by_column: dict[str, anomalies_pb2.DriftSkewInfo] = {}
    for c in comparisons:
        if c.value is None:
            continue
        if c.column not in by_column:
            by_column[c.column] = proto.drift_skew_info.add()
            by_column[c.column].path.step.append(c.column)
        info = by_column[c.column]
        measurements = info.drift_measurements if c.kind == "drift" else info.skew_measurements
        measurement = measurements.add(type=_TYPES[c.metric][1], value=c.value)
        if c.threshold is not None:
            measurement.threshold = c.threshold


def read_baseline(
    location: str, where: str = "baseline_statistics"
) -> statistics_pb2.DatasetFeatureStatistics:
    """The train statistics of an earlier dataset.

    Args:
        location: A statistics artifact (a folder), a binary
            `DatasetFeatureStatisticsList` or its text form (`.pbtxt`). Of several datasets
            the one named `train` counts, else the first.

    Raises:
        MissingError: there is no such file, or no statistics in the folder.
        ContractError: it is not a proto of statistics, or an empty one.
    """
    path = Path(location.removeprefix("file://"))
    if path.is_dir():
        names = (STATISTICS_FILE, "Split-train/FeatureStats.pb", "FeatureStats.pb")
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise MissingError(
                "no statistics in the folder",
                where=f"{where}: {path}",
                expected=" or ".join(names),
                fix="give the statistics artifact of an earlier validate step",
            )
        path = found
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    try:
        content = path.read_bytes()
        if path.suffix == ".pbtxt":
            text_format.Parse(content.decode("utf-8"), proto)
        else:
            proto.ParseFromString(content)
    except OSError as error:
        raise store_error(error, f"{where}: {path}") from error
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise ContractError(
            "not a TensorFlow Metadata DatasetFeatureStatisticsList",
            where=f"{where}: {path}",
            fix="give the statistics artifact of an earlier validate step",
        ) from error
    if not proto.datasets:
        raise ContractError("the statistics hold no dataset", where=f"{where}: {path}")
    return next((d for d in proto.datasets if d.name == "train"), proto.datasets[0])


def _compare(
    train: statistics_pb2.DatasetFeatureStatistics,
    other: statistics_pb2.DatasetFeatureStatistics,
    kind: Literal["skew", "drift"],
    name: str,
    thresholds: Thresholds,
    schema: Mapping[str, schema_pb2.Feature],
) -> Iterable[Comparison]:
    theirs = {_feature_name(feature): feature for feature in other.features}
    for feature in train.features:
        column = _feature_name(feature)
        if column not in theirs:
            continue
        found = distance(feature, theirs[column])
        if found is None:
            continue
        limit = thresholds.of(column, found.metric)
        comparator = _comparator(schema.get(column), kind)
        if comparator is not None and column not in thresholds.columns:
            if found.metric == "l_infinity" and comparator.HasField("infinity_norm"):
                limit = comparator.infinity_norm.threshold
            elif comparator.HasField("jensen_shannon_divergence"):
                threshold = comparator.jensen_shannon_divergence.threshold
                if found.metric == "jensen_shannon":
                    limit = threshold
                else:
                    value = jensen_shannon_counts(rank_counts(feature), rank_counts(theirs[column]))
                    yield Comparison(column, kind, name, "jensen_shannon", value, threshold)
        yield Comparison(column, kind, name, found.metric, found.value, limit, found.farthest)


def _comparator(
    feature: schema_pb2.Feature | None, kind: Literal["skew", "drift"]
) -> schema_pb2.FeatureComparator | None:
    if feature is None or not feature.HasField(f"{kind}_comparator"):
        return None
    return feature.skew_comparator if kind == "skew" else feature.drift_comparator


def _feature_name(feature: statistics_pb2.FeatureNameStatistics) -> str:
    """TFDV writes the path; older files the name."""
    return ".".join(feature.path.step) or str(feature.name)
