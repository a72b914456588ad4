"""Distances between statistics."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import statistics_pb2 as pb

from kfp_suite.components.validate.distances import (
    distance,
    jensen_shannon,
    jensen_shannon_counts,
    l_infinity,
)


def histogram(*buckets: Any, nans: Any = 0) -> Any:
    result = pb.Histogram(type=pb.Histogram.STANDARD, num_nan=nans)
    for low, high, count in buckets:
        result.buckets.add(low_value=low, high_value=high, sample_count=count)
    return result


def test_l_infinity_is_the_largest_difference_of_frequencies() -> None:
    assert l_infinity({"a": 1, "b": 3}, {"a": 2, "c": 2}) == ("b", 0.75)


def test_l_infinity_names_the_last_of_equal_differences_as_tfdv_does() -> None:
    assert l_infinity({"a": 1, "b": 1}, {"a": 2}) == ("b", 0.5)


def test_the_divergence_of_aligned_histograms_is_that_of_their_counts() -> None:
    a = histogram((0, 1, 10), (1, 2, 30), (2, 3, 60))
    b = histogram((0, 1, 5), (1, 2, 5), (2, 3, 10))
    expected = jensenshannon([10, 30, 60], [5, 5, 10], base=2) ** 2
    assert jensen_shannon(a, b) == pytest.approx(expected, rel=1e-12)


def test_buckets_are_cut_at_the_edges_of_both() -> None:
    a = histogram((0, 2, 4), (2, 4, 4))
    b = histogram((1, 3, 2), (3, 5, 6))
    p, q = [2, 2, 2, 2, 0], [0, 1, 1, 3, 3]
    expected = jensenshannon(p, q, base=2) ** 2
    assert jensen_shannon(a, b) == pytest.approx(expected, rel=1e-12)


def test_points_are_compared_with_points() -> None:
    assert jensen_shannon(histogram((3, 3, 5)), histogram((3, 3, 9))) == 0
    assert jensen_shannon(histogram((3, 3, 5)), histogram((4, 4, 5))) == 1
    assert jensen_shannon(histogram((3, 3, 5)), histogram((2, 4, 5))) == 1


def test_infinities_and_nan_count_as_different_as_in_tfdv() -> None:
    inf = math.inf
    a, b = histogram((0, 1, 5), (inf, inf, 5)), histogram((0, 1, 5), (inf, inf, 5))
    assert jensen_shannon(a, b) == pytest.approx(0.5)
    c = histogram((0, 1, 5), nans=5)
    assert jensen_shannon(c, c) == pytest.approx(0.5)
    assert jensen_shannon(histogram((0, 1, 5)), c) == pytest.approx(
        jensenshannon([1, 0], [0.5, 0.5], base=2) ** 2
    )


@given(
    st.lists(st.integers(1, 99), min_size=2, max_size=10),
    st.lists(st.integers(1, 99), min_size=2, max_size=10),
    st.floats(-5, 5),
)
def test_the_divergence_is_symmetric_and_between_0_and_1(p: Any, q: Any, shift: Any) -> None:
    def make(counts: Any, low: Any) -> Any:
        edges = np.linspace(low, low + 7, len(counts) + 1)
        return histogram(*zip(edges[:-1], edges[1:], counts, strict=True))

    a, b = make(p, 0.0), make(q, shift)
    there, back = jensen_shannon(a, b), jensen_shannon(b, a)
    assert there == pytest.approx(back, abs=1e-12)
    assert there is not None
    assert 0 <= there <= 1
    assert jensen_shannon(a, a) == 0


def test_the_divergence_of_counts_is_scipys() -> None:
    a, b = {"x": 3.0, "y": 1.0}, {"y": 2.0, "z": 2.0}
    expected = jensenshannon([3, 1, 0], [0, 2, 2], base=2) ** 2
    assert jensen_shannon_counts(a, b) == pytest.approx(expected, rel=1e-12)


def test_what_is_empty_has_no_distance() -> None:
    assert jensen_shannon(histogram(), histogram((0, 1, 1))) is None
    empty, full = pb.FeatureNameStatistics(), pb.FeatureNameStatistics()
    empty.string_stats.unique = 0
    full.string_stats.rank_histogram.buckets.add(label="a", sample_count=1)
    found = distance(empty, full)
    assert found is not None
    assert found.value is None
    full.ClearField("string_stats")
    full.num_stats.mean = 1
    assert distance(empty, full) is None
