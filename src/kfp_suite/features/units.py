"""Units of measurement and exact conversion between them.

Factors are exact rationals: the International System (SI brochure, 9th edition) and the
international yard and pound of 1959. Millimetres and inches of mercury are conventional.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_INCH = Fraction(254, 10_000)
_FOOT = 12 * _INCH
_MILE = 5280 * _FOOT
_NAUTICAL_MILE = Fraction(1852)
_POUND = Fraction(45_359_237, 100_000_000)
_GRAVITY = Fraction(980_665, 100_000)
_MMHG = Fraction(133_322_387_415, 1_000_000_000)
_HOUR = Fraction(3600)
_LITRE = Fraction(1, 1000)
_CALORIE = Fraction(4184, 1000)


@dataclass(frozen=True)
class Unit:
    """`value * scale + offset` is in the SI unit of the dimension."""

    dimension: str
    scale: Fraction
    offset: Fraction = Fraction(0)


_SCALES: dict[str, dict[str, Fraction]] = {
    "length": {
        "m": Fraction(1),
        "mm": Fraction(1, 1000),
        "cm": Fraction(1, 100),
        "km": Fraction(1000),
        "in": _INCH,
        "ft": _FOOT,
        "yd": 3 * _FOOT,
        "mi": _MILE,
        "nmi": _NAUTICAL_MILE,
    },
    "speed": {
        "m/s": Fraction(1),
        "km/h": 1000 / _HOUR,
        "mph": _MILE / _HOUR,
        "kn": _NAUTICAL_MILE / _HOUR,
        "ft/s": _FOOT,
        "ft/min": _FOOT / 60,
    },
    "mass": {
        "kg": Fraction(1),
        "g": Fraction(1, 1000),
        "mg": Fraction(1, 1_000_000),
        "t": Fraction(1000),
        "lb": _POUND,
        "oz": _POUND / 16,
    },
    "pressure": {
        "Pa": Fraction(1),
        "hPa": Fraction(100),
        "kPa": Fraction(1000),
        "mbar": Fraction(100),
        "bar": Fraction(100_000),
        "atm": Fraction(101_325),
        "psi": _POUND * _GRAVITY / (_INCH * _INCH),
        "mmHg": _MMHG,
        "inHg": _MMHG * Fraction(254, 10),
    },
    "time": {
        "s": Fraction(1),
        "us": Fraction(1, 1_000_000),
        "ms": Fraction(1, 1000),
        "min": Fraction(60),
        "h": _HOUR,
        "d": 24 * _HOUR,
        "week": 168 * _HOUR,
    },
    "area": {
        "m2": Fraction(1),
        "cm2": Fraction(1, 10_000),
        "km2": Fraction(1_000_000),
        "ha": Fraction(10_000),
        "ft2": _FOOT * _FOOT,
        "acre": 43_560 * _FOOT * _FOOT,
        "mi2": _MILE * _MILE,
    },
    "volume": {
        "m3": Fraction(1),
        "l": _LITRE,
        "ml": _LITRE / 1000,
        "ft3": _FOOT**3,
        "gal_us": 231 * _INCH**3,
    },
    "energy": {
        "J": Fraction(1),
        "kJ": Fraction(1000),
        "Wh": _HOUR,
        "kWh": 1000 * _HOUR,
        "cal": _CALORIE,
        "kcal": 1000 * _CALORIE,
    },
    "power": {
        "W": Fraction(1),
        "kW": Fraction(1000),
        "hp": 550 * _FOOT * _POUND * _GRAVITY,
    },
    "data": {
        "B": Fraction(1),
        "kB": Fraction(1000),
        "MB": Fraction(1000**2),
        "GB": Fraction(1000**3),
        "KiB": Fraction(1024),
        "MiB": Fraction(1024**2),
        "GiB": Fraction(1024**3),
    },
}

UNITS: dict[str, Unit] = {
    "K": Unit("temperature", Fraction(1)),
    "degC": Unit("temperature", Fraction(1), Fraction(27_315, 100)),
    "degF": Unit("temperature", Fraction(5, 9), Fraction(45_967, 100) * Fraction(5, 9)),
} | {
    name: Unit(dimension, scale)
    for dimension, units in _SCALES.items()
    for name, scale in units.items()
}


def conversion(source: str, target: str) -> tuple[float, float, float]:
    """`(multiplier, offset, divisor)`: the target's value is
    `(value * multiplier + offset) / divisor`, which is exact for values such as 212 degF.

    KeyError for an unknown unit, ValueError for units of two dimensions.
    """
    a, b = UNITS[source], UNITS[target]
    if a.dimension != b.dimension:
        raise ValueError(f"{a.dimension} and {b.dimension}")
    scale, offset = a.scale / b.scale, (a.offset - b.offset) / b.scale
    divisor = scale.denominator * offset.denominator
    return float(scale * divisor), float(offset * divisor), float(divisor)
