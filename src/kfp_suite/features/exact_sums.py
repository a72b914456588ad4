"""Sums of floating-point numbers without rounding: the same for every order of rows.

A float64 sum depends on the order of its terms, so a fitted mean would depend on shards,
batches and threads. These sums are exact rationals; only the final figure is rounded.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from kfp_suite.features.values import Floats

_BLOCK = 1 << 14
# A level holds 38 bits below the block's largest exponent: 2**14 terms of at most 2**38
# units sum to at most 2**52 units, so every partial sum is exact in a float64.
_BITS_A_LEVEL = 38
_MAX_VALUE, _MIN_VALUE = 2.0**450, 2.0**-450  # squares and their rounding errors stay normal
_SPLITTER = 2.0**27 + 1


def exact_sum(x: Floats) -> Fraction:
    """The exact sum of at most 2**14 finite numbers of magnitude below 2**950.

    Terms are cut at fixed bit positions (pre-rounding, as in Demmel and Nguyen, "Fast
    Reproducible Floating-Point Summation", 2013) until nothing is left.
    """
    total = Fraction(0)
    while x.size and (largest := float(np.abs(x).max())):
        shift = math.ldexp(1.5, math.frexp(largest)[1] - _BITS_A_LEVEL + 52)
        high = (x + shift) - shift
        total += Fraction(float(high.sum()))
        x = x - high
    return total


class Moments:
    """Count, mean and population standard deviation, mergeable and exact.

    `update` with any cut of the values in any order; the figures are rounded once, at the
    end.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = Fraction(0)
        self._squares = Fraction(0)

    def update(self, values: Floats) -> None:
        """Add finite values."""
        self.count += len(values)
        for start in range(0, len(values), _BLOCK):
            x = values[start : start + _BLOCK]
            magnitude = np.abs(x)
            ordinary = (magnitude < _MAX_VALUE) & ((magnitude > _MIN_VALUE) | (x == 0))
            if not ordinary.all():
                for value in x[~ordinary].tolist():
                    self._sum += Fraction(value)
                    self._squares += Fraction(value) ** 2
                x = x[ordinary]
            self._sum += exact_sum(x)
            # Dekker's product: x * x == square + error, exactly.
            square = x * x
            spread = _SPLITTER * x
            high = spread - (spread - x)
            low = x - high
            error = ((high * high - square) + 2.0 * high * low) + low * low
            self._squares += exact_sum(square) + exact_sum(error)

    def merge(self, other: Moments) -> None:
        """Add the values of another."""
        self.count += other.count
        self._sum += other._sum
        self._squares += other._squares

    @property
    def mean(self) -> float:
        """The mean; ZeroDivisionError if there are no values."""
        return float(self._sum / self.count)

    @property
    def std(self) -> float:
        """The population standard deviation."""
        variance = self._squares / self.count - (self._sum / self.count) ** 2
        # Of values beyond 1e154 or below 1e-162 the square is no float64; its root is one.
        halvings = 0
        size = variance.numerator.bit_length() - variance.denominator.bit_length()
        if variance and abs(size) > 1000:
            halvings = size // 2
            variance *= Fraction(4) ** -halvings
        return math.ldexp(math.sqrt(float(variance)), halvings)
