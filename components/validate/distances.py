"""How far two sets of statistics are apart, as TensorFlow Data Validation defines it.

Source: `tensorflow_data_validation/anomalies/metrics.cc` (`LInftyDistance`,
`JensenShannonDivergence`, `AlignHistograms`) of https://github.com/tensorflow/data-validation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import statistics_pb2 as pb

Floats = NDArray[np.float64]
Metric = Literal["l_infinity", "jensen_shannon"]


@dataclass(frozen=True)
class Distance:
    """The distance of one column in two splits, from 0 (the same) to 1.

    Attributes:
        metric: `l_infinity` of categorical columns, `jensen_shannon` of numeric ones.
        value: None where one of the two has no values.
        farthest: The value whose frequency differs most (`l_infinity`).
    """

    metric: Metric
    value: float | None
    farthest: str = ""


def distance(a: pb.FeatureNameStatistics, b: pb.FeatureNameStatistics) -> Distance | None:
    """The distance between a column's statistics; None where their kinds differ."""
    if a.HasField("string_stats") and b.HasField("string_stats"):
        counts_a, counts_b = rank_counts(a), rank_counts(b)
        if not counts_a or not counts_b:
            return Distance("l_infinity", None)
        farthest, value = l_infinity(counts_a, counts_b)
        return Distance("l_infinity", value, farthest)
    if a.HasField("num_stats") and b.HasField("num_stats"):
        return Distance(
            "jensen_shannon", jensen_shannon(standard_histogram(a), standard_histogram(b))
        )
    return None


def l_infinity(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[str, float]:
    """The largest difference between the relative frequencies of a value, and that value.

    `max over v of |a[v] / sum(a) - b[v] / sum(b)|`. Like TFDV, of equal differences the
    last value in order is named.
    """
    total_a, total_b = sum(a.values()), sum(b.values())
    largest: tuple[str, float] = ("", 0.0)
    for value in sorted({*a, *b}, key=lambda text: text.encode()):
        difference = abs(a.get(value, 0.0) / total_a - b.get(value, 0.0) / total_b)
        if difference >= largest[1]:
            largest = (value, difference)
    return largest


def jensen_shannon_counts(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    """The Jensen-Shannon divergence of two sets of counts by value; None if one is empty."""
    values = sorted({*a, *b})
    return _divergence(
        np.array([a.get(v, 0.0) for v in values]), np.array([b.get(v, 0.0) for v in values])
    )


def jensen_shannon(a: pb.Histogram, b: pb.Histogram) -> float | None:
    """The approximate Jensen-Shannon divergence of two histograms; None if one is empty.

    `JSD(P||Q) = (D(P||M) + D(Q||M)) / 2` with `M = (P + Q) / 2` and logarithms to base 2, so
    from 0 to 1. The buckets are first aligned: cut at the edges of both, the rows of a
    bucket spread evenly over it. A bucket that is one point, infinities and NaN do not mix
    with the rest: equal points are compared with each other; infinities and NaN of the two
    histograms count as different, as TFDV has it.
    """
    points_a, infinite_a, buckets_a = _parts(a)
    points_b, infinite_b, buckets_b = _parts(b)
    edges = np.unique(
        np.array([edge for low, high, _ in buckets_a + buckets_b for edge in (low, high)])
    )
    points = sorted({*points_a, *points_b})
    own = [infinite_a, infinite_b, float(a.num_nan), float(b.num_nan)]
    p = [*_spread(buckets_a, edges), *(points_a.get(x, 0.0) for x in points), own[0], 0, own[2], 0]
    q = [*_spread(buckets_b, edges), *(points_b.get(x, 0.0) for x in points), 0, own[1], 0, own[3]]
    return _divergence(np.array(p, np.float64), np.array(q, np.float64))


def rank_counts(feature: pb.FeatureNameStatistics) -> dict[str, float]:
    """The rows of each value of a categorical column (of the 1000 most frequent)."""
    return {b.label: b.sample_count for b in feature.string_stats.rank_histogram.buckets}


def standard_histogram(feature: pb.FeatureNameStatistics) -> pb.Histogram:
    """The histogram of buckets of equal width of a numeric column (empty if it has none)."""
    for histogram in feature.num_stats.histograms:
        if histogram.type == pb.Histogram.STANDARD:
            return histogram
    return pb.Histogram()


def _parts(
    histogram: pb.Histogram,
) -> tuple[dict[float, float], float, list[tuple[float, float, float]]]:
    """Rows by point, rows in infinite buckets, and the buckets with a width."""
    points: dict[float, float] = {}
    infinite, buckets = 0.0, []
    for bucket in histogram.buckets:
        low, high, count = bucket.low_value, bucket.high_value, bucket.sample_count
        if not (math.isfinite(low) and math.isfinite(high)):
            infinite += count
        elif low == high:
            points[low] = points.get(low, 0.0) + count
        else:
            buckets.append((low, high, count))
    return points, infinite, buckets


def _spread(buckets: list[tuple[float, float, float]], edges: Floats) -> list[float]:
    rows = np.zeros(max(len(edges) - 1, 0))
    for low, high, count in buckets:
        first, last = np.searchsorted(edges, [low, high])
        rows[first:last] += np.diff(edges[first : last + 1]) / (high - low) * count
    return list(rows)


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
