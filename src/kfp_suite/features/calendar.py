"""Operations on dates and times: date_parts and cyclic. (cyclic works on numbers too.)

Parts are those of the proleptic Gregorian calendar; a timestamp has no zone (ingest
converts to UTC), a date is its midnight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.features.operation import Builder, Lane, Operation, State, require
from kfp_suite.features.portable_math import sine_cosine_of_turn
from kfp_suite.features.values import (
    MICROSECONDS_A_DAY,
    NAN,
    NUMERIC,
    Floats,
    Kind,
    Matrix,
    Times,
)

Part = Literal[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "day_of_year",
    "weekday",
    "is_weekend",
    "hour",
    "minute",
    "second",
    "minute_of_day",
]

# Each function takes microseconds since 1970 as an int, an int64 array or a TensorFlow
# tensor: // and % round down for all, and a condition is arithmetic that gives 0 or 1.


def _days(t: Any) -> Any:
    return t // MICROSECONDS_A_DAY


def _civil(t: Any) -> tuple[Any, Any, Any]:
    """Year, month and day: the year starts in March, so that leap days come last
    (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    z = _days(t) + 719_468
    era, day_of_era = z // 146_097, z % 146_097
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = (march_month + 2) % 12 + 1
    before_march = (14 - month) // 12
    return year_of_era + era * 400 + before_march, month, day


def _divisible(year: Any, by: int) -> Any:
    """1 if `year` is a multiple of `by`, else 0, elementwise."""
    return 1 - (year % by + by - 1) // by


def _day_of_year(t: Any) -> Any:
    year, month, day = _civil(t)
    leap = _divisible(year, 4) - _divisible(year, 100) + _divisible(year, 400)
    # Days before the month: March is 59 days in, or 60.
    after_february = (month + 9) // 12
    before = (153 * ((month + 9) % 12) + 2) // 5
    return day + after_february * (before + 59 + leap) + (1 - after_february) * 31 * (month - 1)


def _weekday(t: Any) -> Any:
    return (_days(t) + 3) % 7


def _week(t: Any) -> Any:
    """The ISO 8601 week: that of the week's Thursday."""
    thursday = t + (3 - _weekday(t)) * MICROSECONDS_A_DAY
    return (_day_of_year(thursday) - 1) // 7 + 1


PARTS: dict[Part, Callable[[Any], Any]] = {
    "year": lambda t: _civil(t)[0],
    "quarter": lambda t: (_civil(t)[1] - 1) // 3 + 1,
    "month": lambda t: _civil(t)[1],
    "week": _week,
    "day": lambda t: _civil(t)[2],
    "day_of_year": _day_of_year,
    "weekday": _weekday,
    "is_weekend": lambda t: _weekday(t) // 5,
    "hour": lambda t: t // 3_600_000_000 % 24,
    "minute": lambda t: t // 60_000_000 % 60,
    "second": lambda t: t // 1_000_000 % 60,
    "minute_of_day": lambda t: t // 60_000_000 % 1440,
}
"""Weekdays count from 0, Monday; hours, minutes and seconds from 0; the rest from 1."""

CYCLES: dict[str, tuple[int, int]] = {
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (1, 53),
    "day": (1, 31),
    "day_of_year": (1, 366),
    "weekday": (0, 7),
    "hour": (0, 24),
    "minute": (0, 60),
    "second": (0, 60),
    "minute_of_day": (0, 1440),
}
"""First value and length of the parts that come round again."""


@dataclass(frozen=True)
class DatePart:
    """One part of a time, as a number."""

    part: Part
    op: ClassVar[str] = "date_parts"

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> DatePart:
        return self

    def columns(self, times: Times) -> Floats:
        numbers: Floats = PARTS[self.part](times.microseconds).astype(np.float64)
        return numbers if times.missing is None else np.where(times.missing, NAN, numbers)

    def row(self, v: int | None) -> float:
        return NAN if v is None else float(PARTS[self.part](v))


@dataclass(frozen=True)
class DateParts(Operation):
    """Parts of a date or time as numbers, named `NAME_hour` and so on.

    `parts`: year, quarter, month, week (ISO), day, day_of_year, weekday (0 is Monday),
    is_weekend, hour, minute, second, minute_of_day.
    """

    parts: tuple[Part, ...]
    op: ClassVar[str] = "date_parts"
    takes: ClassVar[tuple[Kind, ...]] = (Kind.TIME,)

    def check(self, where: str) -> None:
        require(bool(self.parts), where, "parts", [], "one or more parts")

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [
            program.map(DatePart(part), lanes, Kind.INDEX, name=f"{lanes[0].name}_{part}")
            for part in self.parts
        ]


@dataclass(frozen=True)
class OnTheCircle:
    """Sine and cosine of a part of a time, from a table."""

    part: Part
    zero_missing: bool
    points: Floats = field(init=False, repr=False)
    _rows: list[list[tuple[int, float]]] = field(init=False, repr=False)
    _first: int = field(init=False, repr=False)
    op: ClassVar[str] = "cyclic"

    def __post_init__(self) -> None:
        first, length = CYCLES[self.part]
        points = [sine_cosine_of_turn(i / length) for i in range(length)]
        for name, value in (
            ("_first", first),
            ("points", np.array(points)),
            ("_rows", [list(enumerate(point)) for point in points]),
        ):
            object.__setattr__(self, name, value)

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> OnTheCircle:
        return self

    def names(self, name: str) -> list[str]:
        return [f"{name}_sin", f"{name}_cos"]

    def write(self, out: Matrix, times: Times) -> None:
        out[:] = self.points[PARTS[self.part](times.microseconds) - self._first]
        if times.missing is not None:
            out[times.missing] = 0.0 if self.zero_missing else NAN

    def row(self, v: int | None) -> list[tuple[int, float]]:
        if v is None:
            return [] if self.zero_missing else [(0, NAN), (1, NAN)]
        return self._rows[PARTS[self.part](v) - self._first]


@dataclass(frozen=True)
class NumberOnTheCircle:
    """Sine and cosine of a number with a period."""

    period: float
    start: float
    zero_missing: bool
    op: ClassVar[str] = "cyclic"

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> NumberOnTheCircle:
        return self

    def names(self, name: str) -> list[str]:
        return [f"{name}_sin", f"{name}_cos"]

    def write(self, out: Matrix, x: Floats) -> None:
        sine, cosine = sine_cosine_of_turn((x - self.start) / self.period)
        if self.zero_missing:
            missing = np.isnan(x)
            sine, cosine = np.where(missing, 0.0, sine), np.where(missing, 0.0, cosine)
        out[:, 0], out[:, 1] = sine, cosine

    def row(self, v: float) -> list[tuple[int, float]]:
        if self.zero_missing and math.isnan(v):
            return []
        return list(enumerate(sine_cosine_of_turn((v - self.start) / self.period)))


@dataclass(frozen=True)
class Cyclic(Operation):
    """A point on the circle, so that 23 h is next to 0 h: columns `NAME_hour_sin` and
    `NAME_hour_cos` for each of a time's `parts`, or `NAME_sin` and `NAME_cos` of a number
    with a `period` (that begins at `start`).

    Parts: quarter, month, week, day, day_of_year, weekday, hour, minute, second,
    minute_of_day. `missing`: `error` or `zeros` (no direction).
    """

    parts: tuple[Part, ...] = ()
    period: float | None = None
    start: float = 0.0
    missing: Literal["error", "zeros"] = "error"
    op: ClassVar[str] = "cyclic"
    takes: ClassVar[tuple[Kind, ...]] = (Kind.TIME, *NUMERIC)

    def check(self, where: str) -> None:
        if bool(self.parts) == (self.period is not None):
            raise ParameterError(
                "needs 'parts' for a date or time, or 'period' for a number",
                where=where,
                fix="give one of the two",
            )
        for part in self.parts:
            require(part in CYCLES, where, "parts", part, f"one of {', '.join(CYCLES)}")
        if self.period is not None:
            require(0 < self.period < float("inf"), where, "period", self.period, "above 0")
            require(abs(self.start) < float("inf"), where, "start", self.start, "finite")

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        (lane,) = lanes
        missing, zeros = lane.missing and self.missing == "error", self.missing == "zeros"
        if (lane.kind is Kind.TIME) != bool(self.parts):
            raise ParameterError(
                f"'{lane.name}' is a {'date or time' if lane.kind is Kind.TIME else 'number'}",
                where=where,
                fix="give 'parts' for a date or time, 'period' for a number",
            )
        if self.period is not None:
            circle = NumberOnTheCircle(self.period, self.start, zeros)
            return [program.emit(circle, lanes, missing=missing)]
        return [
            program.emit(
                OnTheCircle(part, zeros), lanes, name=f"{lane.name}_{part}", missing=missing
            )
            for part in self.parts
        ]
