"""Statistics protos."""

import datetime
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2 as pb

from kfp_suite.components.validate.partial import SplitPartial, distinct_cap
from kfp_suite.components.validate.protos import bucket_edges, split_statistics
from kfp_suite.contracts.tables import arrow_schema, columns_of


def statistics(
    table: Any, categorical: Any = (), cap: Any = None, cuts: Any = (), order: Any = None
) -> Any:
    """The proto of a table, from parts cut at `cuts`, merged in `order`."""
    columns = columns_of(table.schema)
    bounds = [0, *sorted(cuts), len(table)]
    parts = []
    for first, last in pairwise(bounds):
        part = SplitPartial(columns, cap)
        for batch in table.slice(first, last - first).combine_chunks().to_batches():
            part.update(batch, first)
        parts.append(part)
    whole, *others = [parts[i] for i in order] if order else parts
    for other in others:
        whole.merge(other)
    return split_statistics("train", columns, whole, frozenset(categorical))


def feature(array: Any, **options: Any) -> Any:
    return statistics(pa.table({"x": array}), **options).features[0]


def buckets(histogram: Any) -> Any:
    return [(b.low_value, b.high_value, b.sample_count) for b in histogram.buckets]


def test_a_numeric_column_as_tfdv_describes_it() -> None:
    values = np.array([1.0, 2.0, 2.0, 0.0, 10.0])
    got = feature(pa.array([*values, None]))
    assert got.path.step[:] == ["x"]
    assert got.type == pb.FeatureNameStatistics.FLOAT
    common = got.num_stats.common_stats
    assert (common.num_non_missing, common.num_missing, common.tot_num_values) == (5, 1, 5)
    assert (common.min_num_values, common.max_num_values, common.avg_num_values) == (1, 1, 1)
    assert buckets(common.num_values_histogram) == [(1, 1, 0.5)] * 10
    numbers = got.num_stats
    assert (numbers.min, numbers.median, numbers.max, numbers.num_zeros) == (0, 2, 10, 1)
    assert numbers.mean == values.mean()
    assert numbers.std_dev == values.std()
    standard, quantiles = numbers.histograms
    assert standard.type == pb.Histogram.STANDARD
    assert [count for *_, count in buckets(standard)] == [1, 1, 2, 0, 0, 0, 0, 0, 0, 1]
    assert quantiles.type == pb.Histogram.QUANTILES
    assert sum(count for *_, count in buckets(quantiles)) == 5
    assert buckets(quantiles)[0][0] == 0
    assert buckets(quantiles)[-1][1] == 10


def test_a_string_column_as_tfdv_describes_it() -> None:
    got = feature(pa.array(["b", "a", "b", None, "ä"]))
    assert got.type == pb.FeatureNameStatistics.STRING
    strings = got.string_stats
    assert strings.unique == 3
    assert [(v.value, v.frequency) for v in strings.top_values] == [("b", 2), ("ä", 1), ("a", 1)]
    assert [(b.low_rank, b.high_rank, b.label) for b in strings.rank_histogram.buckets] == [
        (0, 0, "b"),
        (1, 1, "ä"),
        (2, 2, "a"),
    ]
    assert strings.avg_length == 1.25
    assert strings.common_stats.num_missing == 1


def test_only_the_most_frequent_values_are_listed() -> None:
    got = feature(pa.array([str(i) for i in range(3_000)]))
    assert len(got.string_stats.top_values) == 20
    assert len(got.string_stats.rank_histogram.buckets) == 1000
    assert got.string_stats.unique == 3_000


@pytest.mark.parametrize(
    ("array", "low", "high"),
    [
        (pa.array([True, False, None, True]), 0, 1),
        (pa.array([datetime.date(1970, 1, 3), datetime.date(2013, 1, 1)]), 2, 15706),
        (pa.array([datetime.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("us")), 10**6, 10**6),
    ],
)
def test_booleans_dates_and_timestamps_are_integers(array: Any, low: Any, high: Any) -> None:
    got = feature(array)
    assert got.type == pb.FeatureNameStatistics.INT
    assert (got.num_stats.min, got.num_stats.max) == (low, high)


def test_integer_codes_are_described_by_their_values() -> None:
    got = feature(pa.array([2, 1, 2]), categorical=["x"])
    assert got.type == pb.FeatureNameStatistics.INT
    assert got.WhichOneof("stats") == "string_stats"
    assert [(v.value, v.frequency) for v in got.string_stats.top_values] == [("2", 2), ("1", 1)]


def test_infinities_and_nan_have_their_own_places() -> None:
    inf, nan = math.inf, math.nan
    numbers = feature(pa.array([1.0, 3.0, inf, -inf, nan, inf])).num_stats
    assert (numbers.min, numbers.max, numbers.mean, numbers.median) == (-inf, inf, 2, 2)
    standard, quantiles = numbers.histograms
    assert standard.num_nan == quantiles.num_nan == 1
    assert buckets(standard)[0] == (-inf, -inf, 1)
    assert buckets(standard)[-1] == (inf, inf, 2)
    assert sum(count for *_, count in buckets(standard)) == 5
    assert sum(count for *_, count in buckets(quantiles)) == 5
    assert buckets(quantiles)[0][0] == -inf


def test_a_column_without_values_has_no_figures() -> None:
    got = feature(pa.array([None, None], pa.float64()))
    assert got.num_stats.common_stats.num_missing == 2
    assert not got.num_stats.histograms
    only_nan = feature(pa.array([math.nan]))
    assert [h.num_nan for h in only_nan.num_stats.histograms] == [1, 1]


def test_a_constant_column_is_one_bucket() -> None:
    standard, quantiles = feature(pa.array([5, 5, 5])).num_stats.histograms
    assert buckets(standard) == [(5, 5, 3)]
    assert buckets(quantiles) == [(5, 5, pytest.approx(0.3))] * 10


def test_histograms_of_very_many_values_add_up() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    numbers = feature(pa.array(values), cap=4096).num_stats
    standard, quantiles = numbers.histograms
    expected, _ = np.histogram(values, bucket_edges(values.min(), values.max(), 10))
    got = np.array([count for *_, count in buckets(standard)])
    assert got == pytest.approx(expected, abs=60)
    assert got.sum() == pytest.approx(100_000)
    for low, high, count in buckets(quantiles)[1:]:
        assert count == pytest.approx(10_000, rel=0.02)
        assert count == ((values > low) & (values <= high)).sum()
    deciles = np.quantile(values, np.arange(1, 10) / 10)
    assert [high for _, high, _ in buckets(quantiles)[:-1]] == pytest.approx(deciles, abs=8e-3)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_edges_ascend_over_any_range(a: Any, b: Any) -> None:
    low, high = min(a, b), max(a, b)
    edges = bucket_edges(low, high, 10)
    assert (edges[0], edges[-1]) == (low, high)
    assert (np.diff(edges / 2) >= 0).all()


TABLE_SCHEMA = pa.schema(
    [("i", pa.int64()), ("f", pa.float64()), ("s", pa.string()), ("b", pa.bool_())]
)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "i": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9),
                "f": st.none() | st.floats() | st.sampled_from([0.5, 1.5]),
                "s": st.none() | st.text("ab", max_size=3),
                "b": st.none() | st.booleans(),
            }
        ),
        max_size=30,
    ),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_partition_merged_in_any_order_gives_the_same_bytes(rows: Any, data: Any) -> None:
    table = pa.Table.from_pylist(rows, schema=TABLE_SCHEMA)
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    order = data.draw(st.permutations(range(len(cuts) + 1)))
    parts = statistics(table, cap=6, cuts=cuts, order=order)
    whole = statistics(table, cap=6)
    assert parts.SerializeToString(deterministic=True) == whole.SerializeToString(
        deterministic=True
    )


def test_wide_tables_count_fewer_values_one_by_one() -> None:
    assert distinct_cap(19) == 65_536
    assert distinct_cap(1_000) == 8_388
    assert distinct_cap(100_000) == 4_096


def test_an_empty_table_has_statistics() -> None:
    empty = statistics(arrow_schema(columns_of(TABLE_SCHEMA)).empty_table())
    assert empty.num_examples == 0
    assert [f.path.step[0] for f in empty.features] == ["i", "f", "s", "b"]
