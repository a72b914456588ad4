"""The bounds of a range: checked, and as the column holds them."""

from __future__ import annotations

import datetime
import math
import sys
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.text_values import MAX_INT64

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - timestamps are naive

Bound = int | float | str


@dataclass(frozen=True)
class RangeSpec:
    """The least and the greatest value allowed; ISO dates and times for such columns."""

    min: Bound | None = None
    max: Bound | None = None
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def check_range(domain: RangeSpec, kind: ColumnType | None, where: str) -> None:
    """Check that a column can have values within a range.

    Args:
        domain: The range.
        kind: The type of the column; None: not known yet.
        where: The column, for errors.

    Raises:
        ParameterError: there are no bounds, or they are not of this type or the wrong way round.
    """
    if domain.min is None and domain.max is None:
        raise ParameterError("'domain' has neither min nor max", where=where)
    if kind in ("string", "bool"):
        raise ParameterError(
            "a range is a domain for numbers, dates and timestamps",
            where=where,
            got=f"type {kind}",
            fix="list the values: domain: [a, b]" if kind == "string" else "remove 'domain'",
        )
    if kind is None:
        return
    low, high = (convert_bound(bound, kind, where) for bound in (domain.min, domain.max))
    if low is not None and high is not None and low > high:
        raise ParameterError(
            "'domain' has min above max: no value could be right",
            where=where,
            got=f"min {domain.min} and max {domain.max}",
        )


def convert_bound(bound: Bound | None, kind: ColumnType, where: str) -> int | float | None:
    """Convert a bound to a column's number: of dates and times, days and microseconds since 1970.

    Args:
        bound: The bound as declared; None: there is none.
        kind: The type of the column.
        where: The column, for errors.

    Raises:
        ParameterError: the bound is not of this type, or beyond it.
    """
    if bound is None:
        return None
    if kind in ("date", "timestamp"):
        try:
            moment = datetime.datetime.fromisoformat(str(bound))
            since = moment - _EPOCH
        except (ValueError, TypeError) as error:
            raise ParameterError(
                "a bound of 'domain' is not a date",
                where=where,
                got=bound,
                expected="2013-01-31" if kind == "date" else "2013-01-31T06:00:00, without a zone",
            ) from error
        if kind == "date" and since % datetime.timedelta(days=1):
            raise ParameterError(
                "a bound of 'domain' has a time, but the column holds dates",
                where=where,
                got=bound,
                expected="2013-01-31",
            )
        return since.days if kind == "date" else since // datetime.timedelta(microseconds=1)
    if isinstance(bound, str):
        raise ParameterError(
            "a bound of 'domain' is not a number", where=where, got=bound, expected="a number"
        )
    if isinstance(bound, float) and math.isnan(bound):
        raise ParameterError(
            "a bound of 'domain' is not a number", where=where, got=bound, expected="a number"
        )
    largest = MAX_INT64 if kind == "int64" else sys.float_info.max
    if abs(bound) > largest and (kind == "int64" or abs(bound) != math.inf):
        raise ParameterError(
            f"a bound of 'domain' is beyond {kind}", where=where, got=bound, fix="leave it out"
        )
    if kind == "int64":
        if not float(bound).is_integer():
            raise ParameterError(
                "a bound of 'domain' is not a whole number, but the column is int64",
                where=where,
                got=bound,
            )
        return int(bound)
    return float(bound)
