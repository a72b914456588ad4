"""Where data is not what its schema says.

Kinds are those of TensorFlow Metadata's `AnomalyInfo.Type`. An error makes the dataset
invalid; a warning does not. What contradicts a constraint that was only inferred from the
train split is a warning: splits by time differ legitimately.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from kfp_suite.components.contracts.columns import Column, ColumnType
from kfp_suite.components.contracts.errors import did_you_mean
from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import ColumnPartial, SplitPartial
from kfp_suite.components.validate.schema import (
    DatasetSchema,
    column_type,
)
from kfp_suite.components.validate.schema_checks import Domains, unchecked_constraints
from kfp_suite.components.validate.text import StringColumn

Severity = Literal["error", "warning"]

_SHOWN_VALUES = 5
_MOST_HINTS = 20  # columns that are gone, for each of which a near name is looked for
_UNUSED_STAGES = {
    schema_pb2.PLANNED,
    schema_pb2.ALPHA,
    schema_pb2.DEPRECATED,
    schema_pb2.DEBUG_ONLY,
    schema_pb2.DISABLED,
}


@dataclass(frozen=True)
class Anomaly:
    """One way in which data is not as expected.

    Attributes:
        feature: The column; empty for the dataset as a whole.
        kind: A name of `AnomalyInfo.Type`.
        description: A sentence for people.
        got: What the data has.
        expected: What the schema wants.
        split: The split at fault; empty for all of them.
    """

    feature: str
    kind: str
    description: str
    got: str
    expected: str
    split: str
    severity: Severity

    def sentence(self) -> str:
        """What, got and expected in one line, the column first."""
        what = f"{self.description.rstrip('.')}; got {self.got}, expected {self.expected}"
        return f"{self.feature}: {what}" if self.feature else what

    def to_json(self) -> dict[str, Any]:
        """The anomaly as it stands in `validation.json`."""
        return asdict(self)


def find_anomalies(
    schema: DatasetSchema, columns: tuple[Column, ...], splits: Mapping[str, SplitPartial]
) -> list[Anomaly]:
    """What contradicts the schema, by split, in the schema's order of columns."""
    found = [
        *_row_counts(schema, splits),
        *_unchecked(schema),
        *_unexpected_columns(schema, columns),
    ]
    kinds = {column.name: column.type for column in columns}
    domains = Domains(schema.proto)
    gone = [feature.name for feature in schema.proto.feature if feature.name not in kinds]
    candidates = list(kinds) if len(gone) <= _MOST_HINTS else []
    for feature in schema.proto.feature:
        if feature.deprecated or feature.lifecycle_stage in _UNUSED_STAGES:
            continue
        severity: Severity = "error" if feature.name in schema.declared else "warning"
        if feature.name not in kinds:
            found += _missing_column(feature, candidates, severity)
        elif mismatch := _type_mismatch(feature, kinds[feature.name], severity):
            found.append(mismatch)
        else:
            for split, partial in splits.items():
                column = partial.columns[feature.name]
                if column.rows:
                    check = _Check(domains, feature, kinds[feature.name], split, severity)
                    found += check.run(column)
    return found


def label_anomalies(
    label: str, kind: ColumnType, splits: Mapping[str, SplitPartial]
) -> list[Anomaly]:
    """What makes a column useless as a label: no values, or one value only.

    In train these are errors; a single value in another split, and missing labels, are
    warnings.
    """
    found = []
    for split, partial in splits.items():
        column = partial.columns[label]
        if not column.rows:
            continue
        present = column.rows - column.missing
        if not present:
            found.append(
                Anomaly(
                    label,
                    "FEATURE_TYPE_NOT_PRESENT",
                    f"The label has no value in any row of {split}.",
                    f"{row_text(column.rows)}, all missing",
                    "a label in each row",
                    split,
                    "error",
                )
            )
            continue
        if column.missing:
            found.append(
                Anomaly(
                    label,
                    "FEATURE_TYPE_LOW_FRACTION_PRESENT",
                    f"The label is missing in {row_text(column.missing)} of {split}.",
                    f"{column.missing:,} of {row_text(column.rows)} missing",
                    "a label in each row",
                    split,
                    "warning",
                )
            )
        if column.distinct() == 1:
            found.append(
                Anomaly(
                    label,
                    "FEATURE_TYPE_LOW_UNIQUE",
                    f"The label is constant in {split}: there is nothing to learn.",
                    f"only {_only_value(column, kind)}",
                    "two or more values",
                    split,
                    "error" if split == "train" else "warning",
                )
            )
    return found


def shown(value: float | str | None, kind: ColumnType) -> str:
    """A value of a column for people: dates and times as such, text in quotes."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:60]}…'"
    if kind == "bool" and value in (0, 1):
        return "true" if value else "false"
    if kind in ("date", "timestamp") and math.isfinite(value):
        count = int(value)
        moment = np.datetime64(count, "D" if kind == "date" else "us")
        return str(moment).removesuffix(".000000").replace("T", " ")
    if kind in ("int64", "bool") and math.isfinite(value) and float(value).is_integer():
        return str(int(value))
    return f"{value:.10g}"


def row_text(rows: int) -> str:
    """How many rows: `1 row`, `26,971 rows`."""
    return "1 row" if rows == 1 else f"{rows:,} rows"


def share(part: float, whole: float) -> str:
    """A fraction as a percentage that is neither 0% nor 100% unless it is exactly that."""
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return "under 0.01%"
    if 99.99 < percent < 100:
        return "over 99.99%"
    return f"{percent:.4g}%"


def anomalies_proto(schema: schema_pb2.Schema, anomalies: list[Anomaly]) -> anomalies_pb2.Anomalies:
    """The anomalies as TFDV writes them, without the distances."""
    proto = anomalies_pb2.Anomalies(
        baseline=schema, anomaly_name_format=anomalies_pb2.Anomalies.SERIALIZED_PATH
    )
    for anomaly in anomalies:
        if anomaly.feature:
            info = proto.anomaly_info[anomaly.feature]
            info.path.step[:] = [anomaly.feature]
        else:
            info = proto.dataset_anomaly_info
        info.severity = max(
            info.severity,
            anomalies_pb2.AnomalyInfo.ERROR
            if anomaly.severity == "error"
            else anomalies_pb2.AnomalyInfo.WARNING,
        )
        info.reason.add(
            type=anomalies_pb2.AnomalyInfo.Type.Value(anomaly.kind),
            short_description=_SHORT.get(anomaly.kind, "Anomaly"),
            description=f"{anomaly.sentence()}.",
        )
    for info in [*proto.anomaly_info.values(), proto.dataset_anomaly_info]:
        if info.reason:
            short = {reason.short_description for reason in info.reason}
            info.short_description = short.pop() if len(short) == 1 else "Multiple errors"
            info.description = " ".join(reason.description for reason in info.reason)
    return proto


def _row_counts(schema: DatasetSchema, splits: Mapping[str, SplitPartial]) -> Iterator[Anomaly]:
    for split, partial in splits.items():
        rows = partial.rows
        least = schema.min_rows.get(split)
        if least is not None and rows < least:
            yield Anomaly(
                "",
                "DATASET_LOW_NUM_EXAMPLES",
                f"The split {split} has too few rows.",
                row_text(rows),
                f"at least {row_text(least)}",
                split,
                "error",
            )
        elif not rows:
            yield Anomaly(
                "",
                "DATASET_LOW_NUM_EXAMPLES",
                f"The split {split} has no rows.",
                "0 rows",
                "at least 1 row",
                split,
                "error" if split == "train" else "warning",
            )
    most = schema.proto.dataset_constraints.max_examples_count
    if most and "train" in splits and splits["train"].rows > most:
        yield Anomaly(
            "",
            "DATASET_HIGH_NUM_EXAMPLES",
            "The split train has too many rows.",
            row_text(splits["train"].rows),
            f"at most {row_text(most)}",
            "train",
            "error",
        )


def _unchecked(schema: DatasetSchema) -> Iterator[Anomaly]:
    for column, constraints in unchecked_constraints(schema.proto).items():
        yield Anomaly(
            column,
            "STATS_NOT_AVAILABLE",
            "The schema asks for something that is not checked.",
            ", ".join(constraints),
            "constraints of presence, type, range, values and distances",
            "",
            "warning",
        )


def _unexpected_columns(schema: DatasetSchema, columns: tuple[Column, ...]) -> Iterator[Anomaly]:
    expected = (
        schema.declared
        if schema.unexpected != "allow"
        else frozenset(feature.name for feature in schema.proto.feature)
    )
    for column in columns:
        if column.name not in expected:
            yield Anomaly(
                column.name,
                "SCHEMA_NEW_COLUMN",
                f"New column '{column.name}' (in the data but not in the schema).",
                f"a column of type {column.type}",
                "no such column",
                "",
                "error" if schema.unexpected == "error" else "warning",
            )


def _missing_column(
    feature: schema_pb2.Feature, candidates: list[str], severity: Severity
) -> Iterator[Anomaly]:
    if feature.presence.min_count > 0 or feature.presence.min_fraction > 0:
        near = did_you_mean(feature.name, candidates) if candidates else ""
        hint = f" ({near})" if near.startswith("did") else ""
        yield Anomaly(
            feature.name,
            "SCHEMA_MISSING_COLUMN",
            f"The column '{feature.name}' is not in the data{hint}.",
            "no such column",
            f"a column of type {column_type(feature)}" if column_type(feature) else "the column",
            "",
            severity,
        )


def _type_mismatch(
    feature: schema_pb2.Feature, kind: ColumnType, severity: Severity
) -> Anomaly | None:
    wanted = column_type(feature)
    if wanted is None or wanted == kind:
        return None
    if wanted == "bool" and kind == "int64":
        return None  # TFDV's booleans are integers in 0..1: checked as a range
    return Anomaly(
        feature.name,
        "UNEXPECTED_DATA_TYPE",
        f"Expected data of type {wanted} but got {kind}.",
        kind,
        wanted,
        "",
        severity,
    )


@dataclass(frozen=True)
class _Check:
    """The constraints of one feature against one split."""

    domains: Domains
    feature: schema_pb2.Feature
    kind: ColumnType
    split: str
    severity: Severity

    def run(self, column: ColumnPartial) -> Iterator[Anomaly]:
        yield from self._presence(column)
        if isinstance(column, StringColumn):
            yield from self._strings(column)
        else:
            yield from self._not_finite(column)
            yield from self._range(column)
        yield from self._distinct(column)

    def _anomaly(
        self, kind: str, what: str, got: str, expected: str, severity: Severity | None = None
    ) -> Anomaly:
        return Anomaly(
            self.feature.name,
            kind,
            f"{what} in {self.split}.",
            got,
            expected,
            self.split,
            severity or self.severity,
        )

    def _presence(self, column: ColumnPartial) -> Iterator[Anomaly]:
        presence = self.feature.presence
        present = column.rows - column.missing
        if not present:
            if presence.min_count > 0 or presence.min_fraction > 0:
                yield self._anomaly(
                    "FEATURE_TYPE_NOT_PRESENT",
                    "No row has a value",
                    f"{row_text(column.rows)}, all missing",
                    "values",
                )
            return
        if present < presence.min_count:
            yield self._anomaly(
                "FEATURE_TYPE_LOW_NUMBER_PRESENT",
                "Too few rows have a value",
                f"{row_text(present)} with a value",
                f"at least {presence.min_count}",
            )
        if present / column.rows < presence.min_fraction:
            yield self._anomaly(
                "FEATURE_TYPE_LOW_FRACTION_PRESENT",
                f"{share(column.missing, column.rows)} of the rows have no value",
                f"{column.missing:,} of {row_text(column.rows)} missing",
                "no value missing"
                if presence.min_fraction == 1
                else f"a value in at least {share(presence.min_fraction, 1)} of the rows",
            )

    def _strings(self, column: StringColumn) -> Iterator[Anomaly]:
        domain = self.domains.values(self.feature)
        if domain is None or not column.present:
            return
        kind = "ENUM_TYPE_UNEXPECTED_STRING_VALUES"
        if not column.exact:
            rows = column.present - sum(column.counts_of(sorted(domain)))
            if rows > (1 - self._mass()) * column.present:
                yield self._anomaly(
                    kind,
                    f"About {share(rows, column.present)} of the values are not in the domain",
                    f"about {column.distinct()} different values",
                    self._mass_text(f"one of {_listed(domain)}"),
                )
            return
        outside = {value: n for value, n in column.counts.items() if value not in domain}
        rows = sum(outside.values())
        if outside and rows > (1 - self._mass()) * column.present:
            values = sorted(outside, key=lambda value: (-outside[value], value))
            yield self._anomaly(
                kind,
                f"{share(rows, column.present)} of the values are not in the domain",
                f"{_listed(values)} in {row_text(rows)}",
                self._mass_text(f"one of {_listed(domain)}"),
            )

    def _not_finite(self, column: NumericColumn) -> Iterator[Anomaly]:
        domain = self.feature.float_domain
        infinite = column.negative_infinities + column.positive_infinities
        if infinite and domain.disallow_inf:
            yield self._anomaly(
                "FLOAT_TYPE_HAS_INF",
                "There are infinite values",
                f"{infinite:,} of {row_text(column.rows)} infinite",
                "finite values",
                "error",  # no estimator takes them
            )
        if column.nans and domain.disallow_nan:
            yield self._anomaly(
                "FLOAT_TYPE_HAS_NAN",
                "There are NaN values",
                f"{column.nans:,} of {row_text(column.rows)} NaN",
                "no NaN",
            )

    def _range(self, column: NumericColumn) -> Iterator[Anomaly]:
        low, high = self._bounds()
        if column.minimum is None or column.maximum is None:
            return
        name = "FLOAT" if self.kind == "float64" else "INT"
        kinds = ("BOOL_TYPE_SMALL_INT", "BOOL_TYPE_BIG_INT")
        if not self.feature.HasField("bool_domain"):
            kinds = (f"{name}_TYPE_SMALL_{name}", f"{name}_TYPE_BIG_{name}")
        # The proto keeps bounds of doubles as single precision: compare them as such.
        single = self.kind == "float64"
        rounded: Callable[[Any], Any] = np.float32 if single else lambda value: value
        lows, highs = (
            np.asarray(bound, np.float32 if single else None)
            for bound in (
                column.bounds() if not column.exact else (column.values(), column.values())
            )
        )
        allowed = (1 - self._mass()) * column.finite
        expected = self._mass_text(self._range_text(low, high))
        if low is not None and rounded(column.minimum) < low:
            rows = int(column.counts[highs < low].sum()) or 1
            if rows > allowed:
                yield self._anomaly(
                    kinds[0],
                    f"{share(rows, column.finite)} of the values are below the domain",
                    f"min {shown(column.minimum, self.kind)}, {row_text(rows)} below",
                    expected,
                )
        if high is not None and rounded(column.maximum) > high:
            rows = int(column.counts[lows > high].sum()) or 1
            if rows > allowed:
                yield self._anomaly(
                    kinds[1],
                    f"{share(rows, column.finite)} of the values are above the domain",
                    f"max {shown(column.maximum, self.kind)}, {row_text(rows)} above",
                    expected,
                )

    def _bounds(self) -> tuple[int | float | None, int | float | None]:
        if self.feature.HasField("bool_domain"):
            return 0, 1
        domain = self.domains.range(self.feature)
        low, high = (
            getattr(domain, end) if domain.HasField(end) else None for end in ("min", "max")
        )
        return low, high

    def _range_text(self, low: float | None, high: float | None) -> str:
        if self.kind == "float64":  # the digits that single precision holds
            low, high = (None if bound is None else float(f"{bound:.7g}") for bound in (low, high))
        if low is None:
            return f"at most {shown(high, self.kind)}"
        if high is None:
            return f"at least {shown(low, self.kind)}"
        return f"{shown(low, self.kind)} to {shown(high, self.kind)}"

    def _mass(self) -> float:
        if self.feature.HasField("distribution_constraints"):
            return float(self.feature.distribution_constraints.min_domain_mass)
        return 1.0

    def _mass_text(self, text: str) -> str:
        mass = self._mass()
        return text if mass == 1 else f"{text}, in at least {share(mass, 1)} of the values"

    def _distinct(self, column: ColumnPartial) -> Iterator[Anomaly]:
        limits = self.feature.unique_constraints
        if not self.feature.HasField("unique_constraints"):
            return
        distinct = column.distinct()
        if limits.HasField("max") and distinct > limits.max:
            yield self._anomaly(
                "FEATURE_TYPE_HIGH_UNIQUE",
                "There are too many different values",
                f"{distinct} different values",
                f"at most {limits.max}",
            )
        if limits.HasField("min") and distinct < limits.min:
            yield self._anomaly(
                "FEATURE_TYPE_LOW_UNIQUE",
                "There are too few different values",
                f"{distinct} different values",
                f"at least {limits.min}",
            )


def _listed(values: frozenset[str] | list[str]) -> str:
    ordered = sorted(values) if isinstance(values, frozenset) else values
    first = ", ".join(shown(value, "string") for value in ordered[:_SHOWN_VALUES])
    more = len(ordered) - _SHOWN_VALUES
    return f"{first} and {more} more" if more > 0 else first


def _only_value(column: ColumnPartial, kind: ColumnType) -> str:
    if isinstance(column, StringColumn):
        return shown(next(iter(column.counts)), "string")
    return shown(column.minimum, kind)


_SHORT = {
    "BOOL_TYPE_BIG_INT": "Invalid value for bool",
    "BOOL_TYPE_SMALL_INT": "Invalid value for bool",
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": "High approximate Jensen-Shannon divergence",
    "COMPARATOR_L_INFTY_HIGH": "High Linfty distance",
    "COMPARATOR_CONTROL_DATA_MISSING": "No baseline data",
    "CUSTOM_VALIDATION": "Values occur more than once",
    "COMPARATOR_HIGH_NUM_EXAMPLES": "High num examples in dataset",
    "COMPARATOR_LOW_NUM_EXAMPLES": "Low num examples in dataset",
    "COMPARATOR_TREATMENT_DATA_MISSING": "Column dropped",
    "DATASET_HIGH_NUM_EXAMPLES": "High num examples in dataset",
    "DATASET_LOW_NUM_EXAMPLES": "Low num examples in dataset",
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "Unexpected string values",
    "FEATURE_TYPE_HIGH_UNIQUE": "High number of unique values",
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": "Column dropped",
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": "Column dropped",
    "FEATURE_TYPE_LOW_UNIQUE": "Low number of unique values",
    "FEATURE_TYPE_NOT_PRESENT": "Column dropped",
    "FLOAT_TYPE_BIG_FLOAT": "Out-of-range values",
    "FLOAT_TYPE_HAS_INF": "Invalid values",
    "FLOAT_TYPE_HAS_NAN": "Invalid values",
    "FLOAT_TYPE_SMALL_FLOAT": "Out-of-range values",
    "INT_TYPE_BIG_INT": "Out-of-range values",
    "INT_TYPE_SMALL_INT": "Out-of-range values",
    "SCHEMA_MISSING_COLUMN": "Column dropped",
    "SCHEMA_NEW_COLUMN": "New column",
    "UNEXPECTED_DATA_TYPE": "Unexpected data type",
}
