"""Moments of numbers of any size."""

import numpy as np
import pytest

from kfp_suite.features.exact_sums import Moments


@pytest.mark.parametrize("size", [1.0, 1e200, 1e300, 1e-200])
def test_the_deviation_of_very_large_and_very_small_numbers_is_a_number(size: float) -> None:
    moments = Moments()
    moments.update(np.array([1.0, 2.0, 3.0, 6.0]) * size)
    assert moments.mean == pytest.approx(3 * size, rel=1e-15)
    assert moments.std == pytest.approx(3.5**0.5 * size, rel=1e-15)
