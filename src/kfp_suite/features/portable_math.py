"""Logarithm, sine and cosine that round the same way on every machine.

libm and SIMD libraries differ in the last bit between CPUs, and even between the vector
and the scalar path of one; a fitted mean of logarithms would then have another digest on
another machine, and one served row other bits than the same row in training. These use
only operations that IEEE 754 rounds correctly (+, -, *, /), so a `float` and an array
give the same bits everywhere. The error is below 2 units in the last place.

Each function takes a float or a float64 array; NaN gives NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Any stands for an array: the arithmetic is the same, and numpy's types would hide it.
FloatOrArray = Any

_SQRT_HALF = math.sqrt(0.5)
# ln 2 in two parts: the first has zeros in its low bits, so that exponent * _LN2_HIGH is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fefap-1")
_LN2_LOW = float.fromhex("0x1.cf79abc9e3b3ap-40")
# log((1 + s) / (1 - s)) = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172
_ATANH = [1 / (2 * k + 1) for k in range(1, 11)]
# Taylor terms of sin and cos up to pi/4
_SIN = [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, 9)]
_COS = [(-1) ** k / math.factorial(2 * k) for k in range(1, 10)]


def _polynomial(coefficients: list[float], x: Any) -> Any:
    """`x * (c0 + x * (c1 + ...))` by Horner's rule."""
    result = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + coefficient
    return result * x


def log(x: FloatOrArray) -> FloatOrArray:
    """The natural logarithm of `x` > 0, finite."""
    if isinstance(x, float):
        mantissa, exponent = math.frexp(x)
        if mantissa < _SQRT_HALF:
            mantissa, exponent = mantissa * 2, exponent - 1
    else:
        mantissa, exponent = np.frexp(x)
        small = mantissa < _SQRT_HALF
        mantissa = np.where(small, mantissa * 2, mantissa)
        exponent = exponent - small
    s = (mantissa - 1.0) / (mantissa + 1.0)
    tail = s * _polynomial(_ATANH, s * s)
    return exponent * _LN2_HIGH + (2.0 * s + (2.0 * tail + exponent * _LN2_LOW))


def log1p(x: FloatOrArray) -> FloatOrArray:
    """The natural logarithm of 1 + `x`, for `x` > -1: accurate for small `x` too."""
    u = 1.0 + x
    return log(u) + (x - (u - 1.0)) / u


def sine_cosine_of_turn(turn: FloatOrArray) -> tuple[FloatOrArray, FloatOrArray]:
    """Sine and cosine of `turn` full turns: 0.25 is a right angle."""
    if isinstance(turn, float):
        if not math.isfinite(turn):
            return math.nan, math.nan
        quadrant = math.floor(4.0 * turn + 0.5)
    else:
        quadrant = np.floor(4.0 * turn + 0.5)
    angle = (turn - quadrant * 0.25) * (2.0 * math.pi)
    square = angle * angle
    sine = angle + angle * _polynomial(_SIN, square)
    cosine = 1.0 + _polynomial(_COS, square)
    if isinstance(turn, float):
        return [(sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine)][
            int(quadrant) % 4
        ]
    part = quadrant % 4
    odd = (part == 1) | (part == 3)
    swapped_sine, swapped_cosine = np.where(odd, cosine, sine), np.where(odd, sine, cosine)
    return (
        np.where(part >= 2, -swapped_sine, swapped_sine),
        np.where((part == 1) | (part == 2), -swapped_cosine, swapped_cosine),
    )
