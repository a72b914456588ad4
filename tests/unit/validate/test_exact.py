"""Sums that do not depend on order."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kfp_suite.components.validate.exact import (
    UNIT_BITS,
    exact_sum,
    exact_sum_of_squares,
    ratio,
    units_of,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, max_size=50))
def test_a_sum_is_the_sum_of_the_rationals(values: Any) -> None:
    expected = sum(map(Fraction, values), Fraction(0))
    assert Fraction(exact_sum(np.array(values)), 2**UNIT_BITS) == expected


@given(st.lists(FINITE, max_size=50))
def test_squares_are_summed_exactly_at_any_size(values: Any) -> None:
    expected = sum((Fraction(v) ** 2 for v in values), Fraction(0))
    assert Fraction(exact_sum_of_squares(np.array(values)), 2 ** (2 * UNIT_BITS)) == expected


def test_many_terms_agree_with_fsum() -> None:
    values = np.random.default_rng(1).normal(size=300_000) * 10.0 ** np.arange(300_000) ** 0.2
    assert ratio(exact_sum(values), 1, UNIT_BITS) == math.fsum(values)


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_units_are_the_values(values: Any) -> None:
    units, bits = units_of(np.array(values))
    assert [Fraction(u, 2**bits) for u in units] == [Fraction(v) for v in values]


def test_a_ratio_beyond_the_doubles_is_infinite() -> None:
    assert ratio(-(2**2000) << UNIT_BITS, 1, UNIT_BITS) == -math.inf
    assert ratio(3 << UNIT_BITS, 2, UNIT_BITS) == 1.5
