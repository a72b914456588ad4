"""Distances between statistics."""

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import statistics_pb2 as pb

from kfp_suite.components.validate.distances import (
    Frequencies,
    distance,
    jensen_shannon,
    jensen_shannon_of_values,
    l_infinity,
    quantiles,
)
from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.protos import split_statistics
from kfp_suite.components.validate.thresholds import Thresholds
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.errors import ParameterError

Values = np.ndarray | list[float]


def statistics_of(
    values: Values, cap: int = 65_536
) -> tuple[pb.FeatureNameStatistics, NumericColumn]:
    """The statistics of a column of floats, and the counts behind them."""
    partial = SplitPartial((Column("x", "float64"),), cap)
    column = pa.array(np.asarray(values, np.float64))
    partial.update(pa.record_batch({"x": column}), 0)
    found = partial.columns["x"]
    assert isinstance(found, NumericColumn)
    proto = split_statistics("train", (Column("x", "float64"),), partial, frozenset())
    return proto.features[0], found


def counted(reference: Values, other: Values, cap: int = 65_536) -> float:
    """The divergence of two samples where the second is counted by us."""
    before, _ = statistics_of(reference, cap)
    now, column = statistics_of(other, cap)
    found = distance(before, now, column)
    assert found is not None
    assert found.metric == "jensen_shannon"
    assert found.value is not None
    return found.value


def from_protos(reference: Values, other: Values) -> float:
    """The divergence of two samples of which only the statistics are known."""
    found = distance(statistics_of(reference)[0], statistics_of(other)[0])
    assert found is not None
    assert found.value is not None
    return found.value


def diamonds(rows: int = 12_000) -> np.ndarray:
    """Widths of cut stones: a skewed bulk on hundredths, many at round sizes."""
    generator = np.random.default_rng(11)
    carat = np.round(generator.gamma(2.0, 0.35, rows) + 0.2, 2)
    round_size = generator.random(rows) < 0.3
    carat[round_size] = generator.choice([0.3, 0.5, 0.7, 1.0, 1.5, 2.0], round_size.sum())
    widths: np.ndarray = np.round(6.4 * np.cbrt(carat), 2)
    return widths


def test_a_far_value_in_one_of_two_random_halves_is_no_drift() -> None:
    values = diamonds()
    first, second = values[::2].copy(), values[1::2]
    first[100] = 58.9
    for measure in (counted, from_protos):
        assert measure(first, second) < 0.003
        assert measure(second, first) < 0.003


def test_a_shift_is_a_drift_however_it_is_measured() -> None:
    values = diamonds()
    for measure in (counted, from_protos):
        assert measure(values, values * 1.1) > 0.03
        assert measure(values, values + 100) == 1
        assert measure(values, values - 100) == 1


def test_the_divergence_is_that_of_the_counts_in_the_bins_of_the_reference() -> None:
    reference = np.arange(1, 101.0)
    other = np.concatenate([np.full(30, 10.0), np.full(60, 55.5), np.full(10, 200.0)])
    p = [0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 0]
    q = [0, 30, 0, 0, 0, 0, 60, 0, 0, 0, 0, 10]
    expected = jensenshannon(p, q, base=2) ** 2
    assert counted(reference, other) == pytest.approx(expected, rel=1e-12)


def test_a_few_values_are_compared_one_by_one() -> None:
    reference, other = [0.0] * 60 + [1.0] * 40, [0.0] * 30 + [1.0] * 70
    expected = jensenshannon([60, 40], [30, 70], base=2) ** 2
    for measure in (counted, from_protos):
        assert measure(reference, other) == pytest.approx(expected, rel=1e-12)
    assert counted([3.0] * 5, [3.0] * 9) == 0
    assert counted([3.0] * 5, [4.0] * 9) == 1
    assert counted([3.0] * 5, [2.0, 4.0]) == 1


def test_nan_and_infinities_are_bins_that_both_sides_share() -> None:
    odd = [*range(100), math.nan, math.nan, math.inf, -math.inf, -math.inf]
    for measure in (counted, from_protos):
        assert measure(odd, odd) == pytest.approx(0, abs=1e-9)
    more = [*range(100), *[math.nan] * 100]
    expected = jensenshannon([100, 0], [100, 100], base=2) ** 2
    assert counted([*range(100)], more) == pytest.approx(expected, rel=1e-9)
    assert counted([math.nan], [math.nan]) == 0
    assert counted([math.inf, math.inf, 1.0], [math.inf, math.inf, 1.0]) < 1e-12
    assert counted([math.inf], [-math.inf]) == 1


@pytest.mark.parametrize(("cap", "other_cap"), [(500, 65_536), (65_536, 500), (500, 350)])
def test_a_value_shared_by_many_rows_is_no_drift_where_values_are_in_bins(
    cap: int, other_cap: int
) -> None:
    generator = np.random.default_rng(3)
    values = generator.lognormal(0, 1, 20_000)
    values[generator.random(20_000) < 0.35] = 1.0
    before, reference = statistics_of(values[::2], cap)
    now, column = statistics_of(values[1::2], other_cap)
    assert (reference.exact, column.exact) == (cap > 20_000, other_cap > 20_000)
    found = distance(before, now, column)
    assert found is not None
    assert found.value == pytest.approx(0, abs=0.003)


samples = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(-1e9, 1e9), st.just(math.nan)),
    min_size=1,
    max_size=40,
)


@given(samples, samples)
def test_the_divergence_is_between_0_and_1_and_0_of_itself(a: list[float], b: list[float]) -> None:
    for measure in (counted, from_protos):
        assert 0 <= measure(a, b) <= 1
        assert measure(a, a) == pytest.approx(0, abs=1e-9)


def test_the_quantiles_of_statistics_by_tfdv_are_read() -> None:
    feature = pb.FeatureNameStatistics()
    feature.num_stats.histograms.add(
        type=pb.Histogram.STANDARD,
        num_nan=3,
        buckets=[
            pb.Histogram.Bucket(low_value=-math.inf, high_value=0, sample_count=2),
            pb.Histogram.Bucket(low_value=0, high_value=10, sample_count=8),
        ],
    )
    feature.num_stats.histograms.add(
        type=pb.Histogram.QUANTILES,
        num_nan=3,
        buckets=[
            pb.Histogram.Bucket(low_value=-math.inf, high_value=4, sample_count=6),
            pb.Histogram.Bucket(low_value=4, high_value=10, sample_count=4),
        ],
    )
    found = quantiles(feature)
    assert list(zip(found.edges, found.rows, strict=True)) == [(0, 0), (4, 4), (10, 8)]
    assert list(found.not_finite) == [3, 2, 0]
    assert jensen_shannon(found, found) == 0


def frequencies_of(counts: Mapping[str, float], rows: float = 0) -> Frequencies:
    return Frequencies(counts, max(rows, sum(counts.values())))


def test_l_infinity_is_the_largest_difference_of_shares() -> None:
    found = l_infinity(frequencies_of({"a": 1, "b": 3}), frequencies_of({"a": 2, "c": 2}))
    assert found == ("b", 0.75)


def test_l_infinity_names_the_last_of_equal_differences_as_tfdv_does() -> None:
    found = l_infinity(frequencies_of({"a": 1, "b": 1}), frequencies_of({"a": 2}))
    assert found == ("b", 0.5)


def test_l_infinity_is_of_all_rows_and_not_of_the_most_frequent_values_alone() -> None:
    a = frequencies_of({"a": 50, "b": 2}, rows=10_000)
    b = frequencies_of({"a": 60, "c": 2}, rows=10_000)
    value, difference = l_infinity(a, b)
    assert value == "a"
    assert difference == pytest.approx(0.001)


def test_l_infinity_does_not_take_a_value_that_is_not_listed_for_one_that_is_not_there() -> None:
    a = frequencies_of({"a": 50, "b": 40}, rows=1_000)
    b = frequencies_of({"a": 50, "c": 39}, rows=1_000)
    value, difference = l_infinity(a, b)
    assert value == "b"
    assert difference == pytest.approx(0.001)


def test_two_random_halves_of_categories_are_no_drift() -> None:
    generator = np.random.default_rng(5)
    values = generator.zipf(1.3, 20_000).astype(str)
    partials = []
    for half in (values[::2], values[1::2]):
        partial = SplitPartial((Column("x", "string"),))
        partial.update(pa.record_batch({"x": pa.array(half.tolist())}), 0)
        partials.append(split_statistics("s", (Column("x", "string"),), partial, frozenset()))
    (a,), (b,) = (partial.features for partial in partials)
    assert a.string_stats.unique > 1_000
    found = distance(a, b)
    assert found is not None
    assert found.metric == "l_infinity"
    assert found.value == pytest.approx(0, abs=0.015)


def test_the_divergence_of_categories_is_scipys_of_the_frequent_ones_and_the_rest() -> None:
    a = frequencies_of({"x": 30, "y": 10, "rare": 1}, rows=50)
    b = frequencies_of({"x": 20, "y": 20, "new": 5}, rows=50)
    expected = jensenshannon([30, 10, 10], [20, 20, 10], base=2) ** 2
    assert jensen_shannon_of_values(a, b) == pytest.approx(expected, rel=1e-12)
    unique = frequencies_of({str(i): 1 for i in range(1_000)}, rows=5_000)
    others = frequencies_of({str(i): 1 for i in range(1_000, 2_000)}, rows=5_000)
    assert jensen_shannon_of_values(unique, others) == 0


def test_what_is_empty_has_no_distance() -> None:
    empty, full = pb.FeatureNameStatistics(), pb.FeatureNameStatistics()
    empty.string_stats.unique = 0
    full.string_stats.rank_histogram.buckets.add(label="a", sample_count=1)
    found = distance(empty, full)
    assert found is not None
    assert found.value is None
    assert jensen_shannon_of_values(frequencies_of({}), frequencies_of({"a": 1})) is None
    full.ClearField("string_stats")
    full.num_stats.mean = 1
    assert distance(empty, full) is None
    nothing = distance(full, full)
    assert nothing is not None
    assert nothing.value is None


def test_a_column_that_is_called_as_a_distance_hides_no_limit() -> None:
    limits = Thresholds(missing=2.0, columns={"missing": 0.1})
    with pytest.raises(ParameterError, match="'missing' is out of range; got 2"):
        limits.check(["missing"], "options: drift")
