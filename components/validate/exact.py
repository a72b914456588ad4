"""Sums that do not depend on the order of their terms.

Floating-point addition is not associative, so a plain sum changes with batches, shards and
threads. Here every double is a whole number of units of 2**-1074, and whole numbers add up
to the same total in any order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNIT_BITS = 1074
"""A double is a multiple of 2**-1074; its square of 2**-2148."""

_MANTISSA_BITS = 52
_LOW_BITS = 26
_CHUNK = 1 << 20
_SAFE_SQUARE = (2.0**-480, 2.0**500)
_VELTKAMP = 134217729.0  # 2**27 + 1


def exact_sum(values: Floats) -> int:
    """The sum of finite doubles, in units of 2**-1074."""
    return sum(_chunk_sum(values[i : i + _CHUNK]) for i in range(0, len(values), _CHUNK))


def exact_sum_of_squares(values: Floats) -> int:
    """The sum of the squares of finite doubles, in units of 2**-2148.

    Each square is split into its rounded value and its rounding error, both doubles
    (Dekker's product with Veltkamp's splitting, T. J. Dekker, Numer. Math. 18, 1971).
    """
    size = np.abs(values)
    safe = (size < _SAFE_SQUARE[1]) & ((size > _SAFE_SQUARE[0]) | (size == 0))
    total = 0
    if not safe.all():  # the product would overflow, or its error be lost below the smallest double
        units, bits = units_of(values[~safe])
        total = sum(unit * unit for unit in units) << 2 * (UNIT_BITS - bits)
        values = values[safe]
    product = values * values
    carried = _VELTKAMP * values
    high = carried - (carried - values)
    low = values - high
    error = ((high * high - product) + 2.0 * high * low) + low * low
    return total + ((exact_sum(product) + exact_sum(error)) << UNIT_BITS)


def ratio(numerator: int, denominator: int, unit_bits: int) -> float:
    """`numerator * 2**-unit_bits / denominator`, rounded once (inf if it overflows)."""
    try:
        return numerator / (denominator << unit_bits)
    except OverflowError:
        return float("inf") if numerator > 0 else float("-inf")


def units_of(values: Floats | Integers) -> tuple[list[int], int]:
    """Each value as a whole number of units of 2**-bits, and those bits."""
    if values.dtype.kind == "i":
        return values.tolist(), 0
    ratios = [value.as_integer_ratio() for value in values.tolist()]
    denominator = max((d for _, d in ratios), default=1)
    return [n * (denominator // d) for n, d in ratios], denominator.bit_length() - 1


def _chunk_sum(values: Floats) -> int:
    bits = np.ascontiguousarray(values).view(np.int64)
    exponents = (bits >> _MANTISSA_BITS) & 0x7FF
    mantissas = bits & ((1 << _MANTISSA_BITS) - 1)
    mantissas |= (exponents > 0).astype(np.int64) << _MANTISSA_BITS
    np.negative(mantissas, out=mantissas, where=bits < 0)
    # Halves of at most 27 bits: bincount adds doubles, exact below 2**53.
    high = np.bincount(exponents, weights=mantissas >> _LOW_BITS)
    low = np.bincount(exponents, weights=mantissas & ((1 << _LOW_BITS) - 1))
    total = 0
    for exponent in np.flatnonzero((high != 0) | (low != 0)).tolist():
        mantissa = (int(high[exponent]) << _LOW_BITS) + int(low[exponent])
        total += mantissa << max(exponent - 1, 0)
    return total
