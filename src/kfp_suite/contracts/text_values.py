"""Values written as text: which texts are values of which type, and which value each is.

CSV files hold nothing but text, and clients send the rows of their files to an endpoint:
ingest and the model server read text by this one grammar. A text is a value of a type only
if nothing is lost, so that the value can be written as it was read.

| type | texts |
|---|---|
| int64 | `0`, `-7`, `1200`: no plus, no leading zeros, within 64 bits |
| float64 | also `0.5`, `.5`, `1e-7`; `NaN` and `inf` as pandas, Polars, R and DuckDB write them |
| bool | `true` and `false`, also as `True` or `TRUE` |
| date | ISO 8601: `2013-01-31`, years 0001 to 9999 |
| timestamp | ISO 8601: `2013-01-31T08:30`, `2013-01-31 08:30:00.25+02:00`; a date is its midnight |
| string | every text |

Decimals are rounded to the nearest float64, as everywhere. A text is refused if that float64,
written with as many digits as the text has, zeros at its end apart, is another number; so is a
whole number that float64 does not hold exactly.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping

from kfp_suite.contracts.columns import ColumnType

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6}0*)?)?"
OFFSET_PATTERN = "(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)"
INTEGER_PATTERN = "0|-?[1-9][0-9]*"
NUMERAL_PATTERN = r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
NOT_FINITE_PATTERN = "[nN]a[nN]|-?[iI]nf(?:inity)?"
TRUE_TEXTS = ("true", "True", "TRUE")
FALSE_TEXTS = ("false", "False", "FALSE")
PATTERNS: Mapping[ColumnType, str] = {
    "int64": INTEGER_PATTERN,
    "float64": f"{NUMERAL_PATTERN}|{NOT_FINITE_PATTERN}",
    "bool": "|".join(TRUE_TEXTS + FALSE_TEXTS),
    "date": _DATE,
    "timestamp": f"{_DATE}(?:[T ]{_TIME}{OFFSET_PATTERN}?)?",
}
"""What the whole of a text must match, for regular expressions of Python and of RE2."""

MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

Value = int | float | bool | str | datetime.date | datetime.datetime


def parse_text(text: str, kind: ColumnType) -> Value:
    """The value of type `kind` that `text` stands for.

    Args:
        text: The text, without quotes; blanks around it are part of it.
        kind: The type of the column.

    Returns:
        The value; a timestamp without a time zone, in UTC if the text has an offset.

    Raises:
        ValueError: `text` is not a value of this type, or not exactly.
    """
    if kind == "string":
        return text
    if not re.fullmatch(PATTERNS[kind], text):
        raise ValueError(f"not of type {kind}: {text!r}")
    return _PARSERS[kind](text)


def significant_digits(text: str) -> str:
    """The digits of a numeral without sign, point, exponent, and zeros at either end."""
    mantissa = re.split("[eE]", text)[0]
    return mantissa.replace(".", "").lstrip("-").strip("0")


def convert_to_utc(value: datetime.datetime, text: str) -> datetime.datetime:
    """A time without its zone: in UTC if it has one.

    Args:
        value: The time.
        text: The text that it was read from, for the error.

    Raises:
        ValueError: in UTC it is not within the years 0001 to 9999.
    """
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    except OverflowError as error:
        raise ValueError(f"not within the years 0001 to 9999 in UTC: {text}") from error


def _integer(text: str) -> int:
    # The length first: Python refuses to convert very long texts.
    if len(text) > len(str(MIN_INT64)) or not MIN_INT64 <= (value := int(text)) <= MAX_INT64:
        raise ValueError(f"beyond 64 bits: {text}")
    return value


def _float(text: str) -> float:
    value = float(text)
    if re.fullmatch(NOT_FINITE_PATTERN, text):
        return value
    if math.isinf(value):
        raise ValueError(f"beyond float64: {text}")
    if re.fullmatch(INTEGER_PATTERN, text):
        exact = text == str(int(value))
    else:
        digits = significant_digits(text)
        # The places are few: more digits than any float64 has are another number.
        places = min(max(len(digits), 1), _MAX_DIGITS) - 1
        exact = digits in (
            significant_digits(f"{value:.{places}e}"),
            significant_digits(repr(value)),
        )
    if not exact:
        raise ValueError(f"more digits than float64 holds: {text}")
    return value


_MAX_DIGITS = 767
"""No float64 has more significant digits."""


def _date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _timestamp(text: str) -> datetime.datetime:
    day, clock = text[:10], text[11:]
    fraction = re.search(r"\.([0-9]+)", clock)
    if fraction:
        microseconds = fraction[1][:6].ljust(6, "0")
        clock = clock.replace(fraction[0], f".{microseconds}")
    value = datetime.datetime.fromisoformat(f"{day}T{clock}" if clock else day)
    return convert_to_utc(value, text)


_PARSERS: Mapping[ColumnType, Callable[[str], Value]] = {
    "int64": _integer,
    "float64": _float,
    "bool": lambda text: text in TRUE_TEXTS,
    "date": _date,
    "timestamp": _timestamp,
}
