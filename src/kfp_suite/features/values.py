"""The values between operations: numbers, categories and times, as columns or as one row.

| kind     | a column                                   | one row's value     | missing     |
|----------|--------------------------------------------|---------------------|-------------|
| number   | float64 array                              | `float`             | NaN         |
| index    | the same; every value is a whole number    | `float`             | NaN         |
| category | `Categories`: codes into distinct texts    | `str`               | -1, `None`  |
| time     | `Times`: microseconds since 1970, int64    | `int`               | mask, `None`|

NaN in a float column is missing, as null is. Integers become float64: exact up to 2**53.
As a category an integer is its decimal text, a bool `false` or `true`, a date ISO 8601.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kfp_suite.contracts.columns import ColumnType

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

NAN = float("nan")
MICROSECONDS_A_DAY = 86_400_000_000


class Kind(enum.StrEnum):
    """The kind of value that an operation takes or gives."""

    NUMBER = "number"
    INDEX = "index"
    CATEGORY = "category"
    TIME = "time"


NUMERIC = (Kind.NUMBER, Kind.INDEX)

NATURAL_KIND: dict[ColumnType, Kind] = {
    "int64": Kind.INDEX,
    "float64": Kind.NUMBER,
    "bool": Kind.INDEX,
    "string": Kind.CATEGORY,
    "date": Kind.TIME,
    "timestamp": Kind.TIME,
}
"""How a column is read unless the operations on it ask for categories."""

AS_CATEGORY: tuple[ColumnType, ...] = ("string", "int64", "bool", "date")
"""The columns that can be read as categories."""


@dataclass(frozen=True)
class Categories:
    """A column of texts: `values[codes[i]]`, or missing if the code is -1."""

    codes: npt.NDArray[np.int32]
    values: list[str]


@dataclass(frozen=True)
class Times:
    """A column of times; `missing` is None if none is missing."""

    microseconds: npt.NDArray[np.int64]
    missing: npt.NDArray[np.bool_] | None


Value = Any
"""A column of one of the kinds: an array, `Categories` or `Times`."""


def read_numbers(array: pa.Array) -> Floats:
    """An int64, float64 or bool column as float64, with NaN for null."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    numbers = array.to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64)


def read_categories(array: pa.Array) -> Categories:
    """A string, int64, bool or date column as categories."""
    encoded = array.dictionary_encode()
    codes = encoded.indices
    if codes.null_count:
        codes = codes.fill_null(-1)
    if pa.types.is_date32(array.type):
        days = encoded.dictionary.view(pa.int32()).to_pylist()
        return Categories(codes.to_numpy(), [_day_text(day) for day in days])
    text = category_text(array.type)
    values = encoded.dictionary.to_pylist()
    return Categories(codes.to_numpy(), values if text is None else [text(v) for v in values])


def read_times(array: pa.Array) -> Times:
    """A date or timestamp column as microseconds since 1970."""
    missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    if pa.types.is_date32(array.type):
        days = array.view(pa.int32())
        if missing is not None:
            days = days.fill_null(0)
        return Times(days.to_numpy().astype(np.int64) * MICROSECONDS_A_DAY, missing)
    microseconds = array.view(pa.int64())
    if missing is not None:
        microseconds = microseconds.fill_null(0)
    return Times(microseconds.to_numpy(), missing)


COLUMN_READERS: dict[Kind, Callable[[pa.Array], Value]] = {
    Kind.NUMBER: read_numbers,
    Kind.INDEX: read_numbers,
    Kind.CATEGORY: read_categories,
    Kind.TIME: read_times,
}


def category_text(type_: pa.DataType) -> Callable[[Any], str] | None:
    """How a Python value of an Arrow type is written as a category; None for text itself."""
    if pa.types.is_string(type_):
        return None
    if pa.types.is_boolean(type_):
        return _bool_text
    if pa.types.is_date32(type_):
        return datetime.date.isoformat
    return str


def _day_text(days: int) -> str:
    """A day since 1970 in ISO 8601, also of a year that Python's dates do not reach."""
    return str(np.datetime64(days, "D"))


def _bool_text(value: bool) -> str:
    return "true" if value else "false"


def row_reader(kind: Kind, type_: pa.DataType) -> Callable[[pa.Scalar], Any]:
    """How one Arrow scalar of a column becomes the value of a row."""
    if kind is Kind.TIME:
        days = pa.types.is_date32(type_)
        return _days_of_scalar if days else _microseconds_of_scalar
    if kind is Kind.CATEGORY and pa.types.is_date32(type_):
        return lambda scalar: _day_text(scalar.value) if scalar.is_valid else None
    if kind is Kind.CATEGORY:
        text = category_text(type_)
        if text is None:
            return pa.StringScalar.as_py  # type: ignore[no-any-return]

        def read_text(scalar: pa.Scalar) -> str | None:
            value = scalar.as_py()
            return None if value is None else text(value)

        return read_text
    return _number_of_scalar


def _number_of_scalar(scalar: pa.Scalar) -> float:
    value = scalar.as_py()
    return NAN if value is None else float(value)


def _days_of_scalar(scalar: pa.Scalar) -> int | None:
    value = scalar.value
    return None if value is None else value * MICROSECONDS_A_DAY


def _microseconds_of_scalar(scalar: pa.Scalar) -> int | None:
    return scalar.value  # type: ignore[no-any-return]
