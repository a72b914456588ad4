"""Distances between the values of a column in two sets of statistics, from 0 (equal) to 1.

Both measures compare shares of rows, in bins that the two sides have in common. TensorFlow
Data Validation takes ten bins over each side's own range and spreads a bin's rows evenly
over it, so that one far value in one of two random halves reads as a drift; and it counts
NaN and infinities of the two sides as different. Here the bins are those between the
deciles of the reference, with bins of their own for what is below, above or not finite.

Sources: Jensen-Shannon divergence, J. Lin, IEEE Trans. Inf. Theory 37, 1991; L-infinity
distance as in `tensorflow_data_validation/anomalies/metrics.cc` of
https://github.com/tensorflow/data-validation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import statistics_pb2 as pb

from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import ColumnPartial

Floats = NDArray[np.float64]
Metric = Literal["l_infinity", "jensen_shannon", "missing"]

MIN_CATEGORY_ROWS = 5
"""A value in fewer rows of the reference has no bin of its own in a divergence of categories."""


@dataclass(frozen=True)
class Distance:
    """The distance of one column in two sets of statistics, from 0 (the same) to 1.

    Attributes:
        metric: `l_infinity` of categorical columns, `jensen_shannon` of numeric ones.
        value: None if one of the two has no values.
        farthest: The value whose share of the rows differs most (`l_infinity`).
    """

    metric: Metric
    value: float | None
    farthest: str = ""


@dataclass(frozen=True)
class Frequencies:
    """The rows of the most frequent values of a categorical column.

    Attributes:
        counts: By value; of at most 1,000 values.
        rows: All rows with a value, also those of values that are not listed.
    """

    counts: Mapping[str, float]
    rows: float

    @property
    def most_unlisted(self) -> float:
        """The most rows that a value which is not listed can have."""
        unlisted = self.rows - sum(self.counts.values())
        return max(min(unlisted, min(self.counts.values(), default=0.0)), 0.0)

    def share(self, value: str, near: float) -> float:
        """The share of rows with `value`; if that is unknown, the possible share closest to
        `near`."""
        if value in self.counts:
            return self.counts[value] / self.rows
        return min(near, self.most_unlisted / self.rows)


@dataclass(frozen=True)
class Quantiles:
    """How the rows of a numeric column lie.

    Attributes:
        edges: Finite values, ascending; the first is the least, the last the greatest.
        rows: The rows with a finite value up to and including each edge.
        not_finite: The rows that are NaN, negative infinity and infinity.
    """

    edges: Floats
    rows: Floats
    not_finite: tuple[float, float, float]

    @property
    def finite(self) -> float:
        """The rows with a finite value."""
        return float(self.rows[-1]) if len(self.rows) else 0.0


def distance(
    reference: pb.FeatureNameStatistics,
    other: pb.FeatureNameStatistics,
    counted: ColumnPartial | None = None,
) -> Distance | None:
    """The distance between a column's statistics; None if their kinds differ.

    Args:
        reference: The statistics whose deciles are the bins of a numeric column.
        other: The statistics to compare.
        counted: Our own counts of `other`, from which the rows of any bin are known; without
            them rows are taken as evenly spread between the quantiles of `other`.
    """
    if reference.HasField("string_stats") and other.HasField("string_stats"):
        a, b = frequencies(reference), frequencies(other)
        if not a.rows or not b.rows:
            return Distance("l_infinity", None)
        farthest, value = l_infinity(a, b)
        return Distance("l_infinity", value, farthest)
    if reference.HasField("num_stats") and other.HasField("num_stats"):
        column = counted if isinstance(counted, NumericColumn) else quantiles(other)
        return Distance("jensen_shannon", jensen_shannon(quantiles(reference), column))
    return None


def l_infinity(a: Frequencies, b: Frequencies) -> tuple[str, float]:
    """The largest difference between the shares of rows that a value has, and that value.

    `max over v of |a[v] / rows(a) - b[v] / rows(b)|`, over the values that either side
    lists. A value that one side does not list can have as many rows there as its rarest
    listed value; the smallest difference that may be is taken. Of equal differences the
    last value in order is named, as TensorFlow Data Validation does.
    """
    largest: tuple[str, float] = ("", 0.0)
    for value in sorted({*a.counts, *b.counts}, key=lambda text: text.encode()):
        in_a = a.share(value, near=b.counts.get(value, 0.0) / b.rows)
        in_b = b.share(value, near=in_a)
        if abs(in_a - in_b) >= largest[1]:
            largest = (value, abs(in_a - in_b))
    return largest


def jensen_shannon_of_values(reference: Frequencies, other: Frequencies) -> float | None:
    """The Jensen-Shannon divergence of categories; None if one side has no values.

    A bin for each value in at least `MIN_CATEGORY_ROWS` rows of the reference, and one for
    all others: two random halves of texts that occur once are not a drift.
    """
    if not reference.rows or not other.rows:
        return None
    common = {v: n for v, n in reference.counts.items() if n >= MIN_CATEGORY_ROWS}
    p = [count / reference.rows for count in common.values()]
    q = [other.share(value, near=at) for value, at in zip(common, p, strict=True)]
    return _divergence(
        np.array([*p, max(1 - math.fsum(p), 0.0)]), np.array([*q, max(1 - math.fsum(q), 0.0)])
    )


def jensen_shannon(reference: Quantiles, other: Quantiles | NumericColumn) -> float | None:
    """The Jensen-Shannon divergence of numbers; None if one side has no values.

    `JSD(P||Q) = (D(P||M) + D(Q||M)) / 2` with `M = (P + Q) / 2` and logarithms to base 2,
    where P and Q are the shares of rows in these bins: between neighbouring deciles of the
    reference (a decile's value belongs to the bin below it), below the least and above the
    greatest value of the reference, NaN, negative infinity and infinity.
    """
    p = np.concatenate([_rows_in_own_bins(reference), reference.not_finite])
    if isinstance(other, NumericColumn):
        not_finite = (other.nans, other.negative_infinities, other.positive_infinities)
        q = np.concatenate([_counted_rows(reference, other), not_finite])
    else:
        q = np.concatenate([_spread_rows(reference, other), other.not_finite])
    return _divergence(p, q)


def frequencies(feature: pb.FeatureNameStatistics) -> Frequencies:
    """The most frequent values of a categorical column."""
    stats = feature.string_stats
    counts = {b.label: b.sample_count for b in stats.rank_histogram.buckets}
    listed = sum(counts.values())
    return Frequencies(counts, max(float(stats.common_stats.num_non_missing), listed))


def quantiles(feature: pb.FeatureNameStatistics) -> Quantiles:
    """The quantiles of a numeric column, from its histograms (no edges if it has none)."""
    found = {histogram.type: histogram for histogram in feature.num_stats.histograms}
    equal_width = found.get(pb.Histogram.STANDARD, pb.Histogram())
    histogram = found.get(pb.Histogram.QUANTILES, equal_width)
    nans = float(histogram.num_nan)
    negative = sum(
        b.sample_count for b in equal_width.buckets if math.isinf(b.low_value) and b.low_value < 0
    )
    positive = sum(
        b.sample_count for b in equal_width.buckets if math.isinf(b.high_value) and b.high_value > 0
    )
    up_to: dict[float, float] = {}
    rows = 0.0
    for bucket in histogram.buckets:
        rows += bucket.sample_count
        if math.isfinite(bucket.high_value):
            up_to[bucket.high_value] = rows - negative
    finite = rows - negative - positive
    ends = [
        edge
        for b in [*equal_width.buckets, *histogram.buckets]
        for edge in (b.low_value, b.high_value)
        if math.isfinite(edge)
    ]
    if ends and finite > 0:
        up_to.setdefault(min(ends), 0.0)
        up_to[max(ends)] = finite
    edges = sorted(up_to)
    return Quantiles(
        np.array(edges, np.float64),
        np.array([up_to[edge] for edge in edges], np.float64),
        (nans, negative, positive),
    )


def _rows_in_own_bins(reference: Quantiles) -> Floats:
    """The rows of the reference: below (none), in each bin, above (none)."""
    return np.concatenate([[0.0], np.diff(_inner(reference, reference.rows), prepend=0.0), [0.0]])


def _counted_rows(bins: Quantiles, column: NumericColumn) -> Floats:
    """The rows of a column in the bins of the reference, as counted.

    Where an edge lies inside one of the column's own, very narrow bins, as many of its rows
    are taken to be below the edge as bring the column closest to the reference.
    """
    if not len(bins.edges):
        return np.array([0.0, float(column.finite)])
    expected = bins.rows / bins.finite * column.finite
    below, _ = column.rows_up_to(np.nextafter(bins.edges[:1], -np.inf))
    inner = _inner(bins, np.clip(expected, *column.rows_up_to(bins.edges)))
    return np.diff(np.concatenate([below, inner, [column.finite]]), prepend=0.0)


def _spread_rows(bins: Quantiles, other: Quantiles) -> Floats:
    """The rows of `other` in the bins of the reference, estimated from its quantiles.

    Between two quantiles rows are spread evenly; what may be on either side of the least or
    the greatest value of the reference counts as inside.
    """
    if not len(bins.edges) or not len(other.edges):
        return np.concatenate([np.zeros(len(_inner(bins, bins.rows)) + 1), [other.finite]])
    known = np.concatenate([[0.0], other.rows])
    below = known[np.searchsorted(other.edges, bins.edges[0], side="left")]
    at = np.searchsorted(other.edges, bins.edges[-1], side="left")
    inside = other.rows[min(at, len(other.rows) - 1)]
    inner = np.interp(bins.edges, other.edges, other.rows, left=0.0)
    inner[-1] = inside
    inner = np.clip(_inner(bins, inner), below, inside)
    return np.diff(np.concatenate([[below], inner, [other.finite]]), prepend=0.0)


def _inner(bins: Quantiles, up_to: Floats) -> Floats:
    """The rows up to each upper edge of the bins: the least value is a bin of its own only if
    the reference has the number of its rows."""
    return up_to[1:] if len(bins.rows) and not bins.rows[0] else up_to


def _divergence(p: Floats, q: Floats) -> float | None:
    if p.sum() == 0 or q.sum() == 0:
        return None
    p, q = p / p.sum(), q / q.sum()
    m = (p + q) / 2
    value = (_relative_entropy(p, m) + _relative_entropy(q, m)) / 2
    return float(min(max(value, 0.0), 1.0))


def _relative_entropy(p: Floats, m: Floats) -> float:
    some = (p > 0) & (m > 0)
    return math.fsum(p[some] * np.log2(p[some] / m[some]))
