"""Counted and coarsened numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.components.validate.numeric import NumericColumn

DOUBLES = st.one_of(
    st.floats(),
    st.floats(-10, 10),
    st.sampled_from([0.0, -0.0, 1.5, -1.5, 5e-324, 1.7e308, float("inf"), float("nan")]),
)
INTEGERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-20, 20))


def column(values: Any, *, integral: Any = False, cap: Any = 8, missing: Any = 0) -> Any:
    kind: Any = np.int64 if integral else np.float64
    result = NumericColumn(integral=integral, cap=cap)
    result.update(np.array(values, kind), missing)
    return result


def state(c: Any) -> Any:
    moments = c.moments()
    return (
        c.rows,
        c.missing,
        c.nans,
        c.negative_infinities,
        c.positive_infinities,
        c.minimum,
        c.maximum,
        c.level,
        c.keys.tolist(),
        c.counts.tolist(),
        c.num_zeros(),
        c.distinct(),
        moments.total,
        moments.squares,
    )


@pytest.mark.parametrize(("integral", "elements"), [(False, DOUBLES), (True, INTEGERS)])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_merging_parts_in_any_order_is_counting_at_once(
    integral: Any, elements: Any, data: Any
) -> None:
    values = data.draw(st.lists(elements, max_size=40))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    parts = [values[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
    partials = [column(part, integral=integral) for part in data.draw(st.permutations(parts))]
    while len(partials) > 1:
        other = partials.pop(data.draw(st.integers(1, len(partials) - 1)))
        partials[0].merge(other)
    assert state(partials[0]) == state(column(values, integral=integral))
    assert len(partials[0].keys) <= 8


@given(st.lists(DOUBLES.filter(np.isfinite), min_size=1, max_size=60))
def test_the_figures_of_counted_values_are_exact(values: Any) -> None:
    c = column(values, cap=100)
    ordered = sorted(v + 0.0 for v in values)
    assert c.exact
    assert c.order_statistics(np.arange(1, len(values) + 1)).tolist() == ordered
    assert c.distinct() == len(set(ordered))
    assert c.num_zeros() == ordered.count(0)
    assert (c.minimum, c.maximum) == (ordered[0], ordered[-1])


def test_mean_and_deviation_of_many_values_do_not_lose_digits() -> None:
    values = 1e9 + np.random.default_rng(2).normal(size=50_000)
    c = column(values, cap=100)
    assert not c.exact
    centred = values - 1e9
    assert c.moments().mean(len(values)) == pytest.approx(1e9 + centred.mean(), rel=1e-15)
    assert c.moments().std_dev(len(values)) == pytest.approx(centred.std(), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e12])
def test_quantiles_of_many_values_are_close(scale: Any) -> None:
    values = np.random.default_rng(3).lognormal(size=200_000) * scale
    c = column(values, cap=4096)
    ranks = np.linspace(1, len(values), 101).astype(int)
    exact = np.sort(values)[ranks - 1]
    assert c.order_statistics(ranks) == pytest.approx(exact, rel=2e-3)
    assert (c.order_statistics(ranks)[[0, -1]] == exact[[0, -1]]).all()


def test_whole_numbers_beyond_the_doubles_are_counted_one_by_one() -> None:
    values = [2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
    c = column(values, integral=True)
    assert c.distinct() == 4
    assert c.values().tolist() == sorted(values)
    assert c.moments().total == column(values, integral=True, cap=2).moments().total


def test_the_number_of_distinct_values_is_estimated_beyond_the_cap() -> None:
    values = np.random.default_rng(4).normal(size=100_000)
    c = column(values, cap=4096)
    assert c.distinct() == pytest.approx(100_000, rel=0.03)
    assert len(c.keys) <= 4096
