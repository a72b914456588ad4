"""Which of DuckDB's types of numbers have values that a dataset may not hold."""

from __future__ import annotations

import re

_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_WIDE_INTEGERS = ("UBIGINT", "HUGEINT", "UHUGEINT")
_MAX_EXACT_DIGITS = 15
"""A decimal of at most so many digits comes back from a float64 as it was."""


def is_wide_integer(kind: str) -> bool:
    """Whether a type is one of whole numbers, and some of them are beyond int64."""
    return kind in _WIDE_INTEGERS or is_whole_decimal(kind)


def is_whole_decimal(kind: str) -> bool:
    """Whether a type is one of decimals without digits behind the point."""
    decimal = _DECIMAL.fullmatch(kind)
    return decimal is not None and decimal[2] == "0"


def is_long_decimal(kind: str) -> bool:
    """Whether a type is one of decimals with more digits than float64 surely holds."""
    decimal = _DECIMAL.fullmatch(kind)
    return decimal is not None and decimal[2] != "0" and int(decimal[1]) > _MAX_EXACT_DIGITS
