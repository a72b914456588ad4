"""JSON that a program did not write for us: each name once, and no number changed.

Python's reader keeps the last of two values of one name, and rounds a number to the nearest
float64. Here a name that is there twice is refused, and a number that float64 does not hold
stays exact, so that it is compared with the type of the field it is for.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.text_values import parse_text

_MAX_EXACT = 2**53


def parse_json(content: bytes | str, *, allow_nan: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        content: The text; bytes in UTF-8.
        allow_nan: Whether NaN and Infinity, which are no JSON, are read as Python writes them.

    Returns:
        The value. A decimal or exponent beyond 2^53 is a float if float64 holds the digits that
        are written, and a `Decimal` if not; whole numbers have any size.

    Raises:
        DataError: not JSON, or a name is there twice in one object.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        return (_WITH_NAN if allow_nan else _STRICT).decode(text)
    except RecursionError as error:
        raise DataError("the request is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise DataError("the request is not UTF-8", got=str(error)) from error
    except ValueError as error:
        raise DataError("the request is not JSON", got=str(error)) from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON from its pairs. Raises ValueError: a key is there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{repeated}' is there twice")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return unique_keys(pairs)
    except ValueError as error:
        raise DataError(f"{error} in one object", fix="send each field once") from error


def _decimal(text: str) -> float | Decimal:
    value = float(text)
    if abs(value) < _MAX_EXACT:
        return value
    try:
        parse_text(text, "float64")
    except ValueError:
        return Decimal(text)
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


_STRICT = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_constant=_refuse_constant
)
_WITH_NAN = json.JSONDecoder(object_pairs_hook=_object, parse_float=_decimal)
