"""Statistics as TensorFlow Metadata protos, as TensorFlow Data Validation (TFDV) writes them.

Types: `int64` is INT, `float64` FLOAT, `string` STRING; `bool` is INT with the values 0 and
1, `date` INT in days and `timestamp` INT in microseconds since 1970 (which of them is in a
custom statistic). A null is missing; a
NaN is a value. Where TFDV approximates (quantiles, histograms, mean), these figures are
exact as long as a column has no more than 65,536 distinct values.

Unlike TFDV, mean and standard deviation are those of the finite values; infinities show in
`min`, `max` and in a bucket of their own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import statistics_pb2 as pb

from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.text import StringColumn
from kfp_suite.contracts.columns import Column

TOP_VALUES = 20
RANK_BUCKETS = 1000
HISTOGRAM_BUCKETS = 10
TYPE_STATISTIC = "kfp-suite:type"
"""The custom statistic that holds the type of a column which is INT to TensorFlow Metadata."""
QUANTILE_BUCKETS = 10

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def split_statistics(
    name: str, columns: tuple[Column, ...], partial: SplitPartial, categorical: frozenset[str]
) -> pb.DatasetFeatureStatistics:
    """The proto of one split.

    Args:
        name: The split.
        columns: Its columns, in order.
        partial: Their statistics.
        categorical: Integer columns that are described by their values, as TFDV does where
            the schema says `is_categorical`.
    """
    result = pb.DatasetFeatureStatistics(name=name, num_examples=partial.rows)
    for column in columns:
        feature = result.features.add()
        feature.path.step.append(column.name)
        found = partial.columns[column.name]
        if isinstance(found, StringColumn):
            feature.type = pb.FeatureNameStatistics.STRING
            top = found.top(RANK_BUCKETS, partial.sample.column(column.name))
            _string_stats(feature.string_stats, top, found.distinct())
            if found.present:
                feature.string_stats.avg_length = found.total_bytes / found.present
            common = feature.string_stats.common_stats
        else:
            feature.type = (
                pb.FeatureNameStatistics.INT if found.integral else pb.FeatureNameStatistics.FLOAT
            )
            if found.integral:
                feature.custom_stats.add(name=TYPE_STATISTIC, str=column.type)
            if column.name in categorical:
                _string_stats(feature.string_stats, _counted_values(found), found.distinct())
                common = feature.string_stats.common_stats
            else:
                _numeric_stats(feature.num_stats, found)
                common = feature.num_stats.common_stats
        _common_stats(common, found.rows - found.missing, found.missing)
    return result


def feature_name(feature: pb.FeatureNameStatistics) -> str:
    """The column's name: TFDV writes the path; older files the name."""
    return ".".join(feature.path.step) or str(feature.name)


def column_type_of(feature: pb.FeatureNameStatistics) -> str:
    """The column type in statistics, ours or TFDV's (`int64` for any INT of TFDV)."""
    return _recorded_type(feature) or {
        pb.FeatureNameStatistics.INT: "int64",
        pb.FeatureNameStatistics.FLOAT: "float64",
        pb.FeatureNameStatistics.STRING: "string",
    }.get(feature.type, pb.FeatureNameStatistics.Type.Name(feature.type).lower())


def types_differ(a: pb.FeatureNameStatistics, b: pb.FeatureNameStatistics) -> bool:
    """Whether two columns are of different types, according to their statistics."""
    if a.type != b.type:
        return True
    types = {_recorded_type(a), _recorded_type(b)}
    return len(types - {""}) > 1


def _recorded_type(feature: pb.FeatureNameStatistics) -> str:
    return next((str(s.str) for s in feature.custom_stats if s.name == TYPE_STATISTIC), "")


def equal_width_counts(column: NumericColumn, edges: Floats) -> Floats:
    """The finite values between consecutive `edges` (ascending, over their whole range).

    A bucket holds its lower edge, the last one its upper edge too. If values are only known by
    bins, a bin's rows are spread evenly over it.
    """
    if not len(column.keys):
        return np.zeros(len(edges) - 1)
    lows, highs = column.bounds()
    if column.exact:
        at = np.clip(np.searchsorted(edges, lows, side="right") - 1, 0, len(edges) - 2)
        return np.bincount(at, column.counts, len(edges) - 1).astype(np.float64)
    below = np.concatenate([[0.0], np.cumsum(column.counts)])
    at = np.searchsorted(lows, edges, side="left")  # bins that start below the edge
    last = np.maximum(at - 1, 0)
    widths = highs[last] - lows[last]
    inside = np.divide(
        edges - lows[last], widths, out=np.ones(len(edges)), where=(widths > 0) & (at > 0)
    )
    cumulative = below[last] + np.clip(inside, 0, 1) * column.counts[last]
    cumulative[at == 0] = 0
    cumulative[-1] = below[-1]
    counts: Floats = np.diff(cumulative)
    return counts


def _common_stats(common: pb.CommonStatistics, present: int, missing: int) -> None:
    common.num_non_missing = present
    common.num_missing = missing
    common.tot_num_values = present
    if not present:
        return
    common.min_num_values = common.max_num_values = 1
    common.avg_num_values = 1.0
    histogram = common.num_values_histogram
    histogram.type = pb.Histogram.QUANTILES
    for _ in range(QUANTILE_BUCKETS):
        histogram.buckets.add(
            low_value=1.0, high_value=1.0, sample_count=present / QUANTILE_BUCKETS
        )


def _string_stats(
    stats: pb.StringStatistics, counted: list[tuple[str, int]], distinct: int
) -> None:
    stats.unique = distinct
    for value, count in counted[:TOP_VALUES]:
        stats.top_values.add(value=value, frequency=count)
    for rank, (value, count) in enumerate(counted):
        stats.rank_histogram.buckets.add(
            low_rank=rank, high_rank=rank, label=value, sample_count=count
        )


def _counted_values(column: NumericColumn) -> list[tuple[str, int]]:
    pairs = zip(map(str, column.values().tolist()), column.counts.tolist(), strict=True)
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]), reverse=True)[:RANK_BUCKETS]


def _numeric_stats(stats: pb.NumericStatistics, column: NumericColumn) -> None:
    infinite = column.negative_infinities + column.positive_infinities
    if column.finite or infinite:
        stats.min = -math.inf if column.negative_infinities else _extreme(column.minimum, math.inf)
        stats.max = math.inf if column.positive_infinities else _extreme(column.maximum, -math.inf)
        stats.num_zeros = column.num_zeros()
    if column.finite:
        moments = column.moments()
        stats.mean = moments.mean(column.finite)
        stats.std_dev = moments.std_dev(column.finite)
        stats.median = column.median()
    if column.finite or infinite or column.nans:
        _standard_histogram(stats.histograms.add(num_nan=column.nans), column)
        _quantiles_histogram(stats.histograms.add(num_nan=column.nans), column)


def _extreme(finite: int | float | None, otherwise: float) -> float:
    return otherwise if finite is None else float(finite)


def _standard_histogram(histogram: pb.Histogram, column: NumericColumn) -> None:
    histogram.type = pb.Histogram.STANDARD
    if column.negative_infinities:
        _bucket(histogram, -math.inf, -math.inf, column.negative_infinities)
    if column.minimum is not None and column.maximum is not None:
        low, high = float(column.minimum), float(column.maximum)
        if low == high:
            _bucket(histogram, low, high, column.finite)
        else:
            edges = bucket_edges(low, high, HISTOGRAM_BUCKETS)
            counts = equal_width_counts(column, edges)
            for at, count in enumerate(counts.tolist()):
                _bucket(histogram, edges[at], edges[at + 1], count)
    if column.positive_infinities:
        _bucket(histogram, math.inf, math.inf, column.positive_infinities)


def bucket_edges(low: float, high: float, buckets: int) -> Floats:
    """The `buckets` + 1 edges of buckets of equal width from `low` to `high`."""
    share = np.arange(buckets + 1) / buckets
    edges: Floats = low * (1 - share) + high * share  # no overflow, unlike high - low
    edges[0], edges[-1] = low, high
    return np.maximum.accumulate(np.clip(edges, low, high))


def _quantiles_histogram(histogram: pb.Histogram, column: NumericColumn) -> None:
    """Buckets between quantiles; equal quantiles share their rows evenly, as in TFDV.

    Where values are only known by bins, a quantile is the upper end of its bin, so that the
    rows up to it are counted ones.
    """
    histogram.type = pb.Histogram.QUANTILES
    low_rows, high_rows = column.negative_infinities, column.positive_infinities
    rows = column.finite + low_rows + high_rows
    if not rows:
        return
    ranks = np.ceil(np.arange(QUANTILE_BUCKETS + 1) * rows / QUANTILE_BUCKETS).astype(np.int64)
    ranks = np.maximum(ranks, 1)
    bounds = np.full(len(ranks), -np.inf)
    bounds[ranks > rows - high_rows] = np.inf
    finite = (ranks > low_rows) & (ranks <= rows - high_rows)
    cumulative = np.where(bounds == -np.inf, low_rows, rows).astype(np.float64)
    bounds[finite], cumulative[finite] = _quantiles(column, ranks[finite] - low_rows)
    cumulative[finite] += low_rows
    lows, highs = bounds[:-1], bounds[1:]
    counts = np.diff(cumulative)
    for value in set(highs.tolist()):  # buckets that end at the same value share their rows
        same = highs == value
        counts[same] = counts[same].sum() / same.sum()
    first = (lows == lows[0]) & (highs == highs[0])
    counts[first] += cumulative[0] / first.sum()
    for low, high, count in zip(lows, highs, counts, strict=True):
        _bucket(histogram, low, high, count)


def _quantiles(column: NumericColumn, ranks: Integers) -> tuple[Floats, Floats]:
    """The finite values at 1-based `ranks`, and how many rows are at most as large."""
    lows, highs = column.bounds()
    cumulative = np.cumsum(column.counts)
    at = np.searchsorted(cumulative, ranks)
    values, rows = highs[at], cumulative[at].astype(np.float64)
    if not column.exact:
        values[ranks == 1], rows[ranks == 1] = lows[0], 1
    return values, rows


def _bucket(histogram: pb.Histogram, low: float, high: float, count: float) -> None:
    histogram.buckets.add(low_value=float(low), high_value=float(high), sample_count=float(count))
