"""The constraints of one column of a schema, checked against one split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2

from kfp_suite.components.validate.anomaly import Anomaly, Severity
from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import ColumnPartial
from kfp_suite.components.validate.schema_checks import Domains
from kfp_suite.components.validate.text import StringColumn
from kfp_suite.components.validate.value_texts import format_rows, format_share, format_value
from kfp_suite.contracts.columns import ColumnType

_SHOWN_VALUES = 5


@dataclass(frozen=True)
class ColumnCheck:
    """The constraints of one feature against one split."""

    domains: Domains
    feature: schema_pb2.Feature
    kind: ColumnType
    split: str
    severity: Severity

    def run(self, column: ColumnPartial) -> Iterator[Anomaly]:
        """The contradictions of the constraints.

        Args:
            column: The statistics of the column in the split, of at least one row.
        """
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
                    f"{format_rows(column.rows)}, all missing",
                    "values",
                )
            return
        if present < presence.min_count:
            yield self._anomaly(
                "FEATURE_TYPE_LOW_NUMBER_PRESENT",
                "Too few rows have a value",
                f"{format_rows(present)} with a value",
                f"at least {presence.min_count}",
            )
        if present / column.rows < presence.min_fraction:
            yield self._anomaly(
                "FEATURE_TYPE_LOW_FRACTION_PRESENT",
                f"{format_share(column.missing, column.rows)} of the rows have no value",
                f"{column.missing:,} of {format_rows(column.rows)} missing",
                "no value missing"
                if presence.min_fraction == 1
                else f"a value in at least {format_share(presence.min_fraction, 1)} of the rows",
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
                    f"About {format_share(rows, column.present)} of the values are not in the "
                    "domain",
                    f"about {column.distinct()} different values",
                    self._mass_text(f"one of {_list_values(domain)}"),
                )
            return
        outside = {value: n for value, n in column.counts.items() if value not in domain}
        rows = sum(outside.values())
        if outside and rows > (1 - self._mass()) * column.present:
            values = sorted(outside, key=lambda value: (-outside[value], value))
            yield self._anomaly(
                kind,
                f"{format_share(rows, column.present)} of the values are not in the domain",
                f"{_list_values(values)} in {format_rows(rows)}",
                self._mass_text(f"one of {_list_values(domain)}"),
            )

    def _not_finite(self, column: NumericColumn) -> Iterator[Anomaly]:
        domain = self.feature.float_domain
        infinite = column.negative_infinities + column.positive_infinities
        if infinite and domain.disallow_inf:
            yield self._anomaly(
                "FLOAT_TYPE_HAS_INF",
                "There are infinite values",
                f"{infinite:,} of {format_rows(column.rows)} infinite",
                "finite values",
                "error",  # no estimator takes them
            )
        if column.nans and domain.disallow_nan:
            yield self._anomaly(
                "FLOAT_TYPE_HAS_NAN",
                "There are NaN values",
                f"{column.nans:,} of {format_rows(column.rows)} NaN",
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
                    f"{format_share(rows, column.finite)} of the values are below the domain",
                    f"min {format_value(column.minimum, self.kind)}, {format_rows(rows)} below",
                    expected,
                )
        if high is not None and rounded(column.maximum) > high:
            rows = int(column.counts[lows > high].sum()) or 1
            if rows > allowed:
                yield self._anomaly(
                    kinds[1],
                    f"{format_share(rows, column.finite)} of the values are above the domain",
                    f"max {format_value(column.maximum, self.kind)}, {format_rows(rows)} above",
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
            return f"at most {format_value(high, self.kind)}"
        if high is None:
            return f"at least {format_value(low, self.kind)}"
        return f"{format_value(low, self.kind)} to {format_value(high, self.kind)}"

    def _mass(self) -> float:
        if self.feature.HasField("distribution_constraints"):
            return float(self.feature.distribution_constraints.min_domain_mass)
        return 1.0

    def _mass_text(self, text: str) -> str:
        mass = self._mass()
        return text if mass == 1 else f"{text}, in at least {format_share(mass, 1)} of the values"

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


def _list_values(values: frozenset[str] | list[str]) -> str:
    ordered = sorted(values) if isinstance(values, frozenset) else values
    first = ", ".join(format_value(value, "string") for value in ordered[:_SHOWN_VALUES])
    more = len(ordered) - _SHOWN_VALUES
    return f"{first} and {more} more" if more > 0 else first
