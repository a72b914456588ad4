"""Cron as Kubeflow Pipelines reads it: six fields, seconds first, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from croniter import croniter

from kfp_suite.components.contracts.errors import ParameterError

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_PART = re.compile(r"(?P<first>\*|\?|[0-9A-Z]+)(?:-(?P<last>[0-9A-Z]+))?(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True)
class _Field:
    """One of the six: what it is called, its least and greatest value, and their names."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        named = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.least} to {self.most}{named}, *, a-b, a,b or */n"


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, tuple(_MONTHS)),
    _Field("day of week", 0, 6, tuple(_DAYS)),
)
SIX_FIELDS = ", ".join(field.name for field in _FIELDS)


def parse_cron(expression: str) -> str:
    """The six fields of an expression; of the usual five, with second 0 before them.

    Raises:
        ParameterError: it is not one, with the field at fault.
    """
    parts = expression.upper().split()
    if len(parts) == 5:
        parts = ["0", *parts]
    if len(parts) != len(_FIELDS):
        raise ParameterError(
            "not a schedule",
            where="--cron",
            got=expression,
            expected=f"six fields ({SIX_FIELDS}), or the last five of them",
        )
    for field, text in zip(_FIELDS, parts, strict=True):
        for part in text.split(","):
            _check(field, part, text)
    found = " ".join(parts)
    if not next_times(found, datetime(2024, 1, 1, tzinfo=UTC), 1):
        raise ParameterError(
            "never comes", where="--cron", got=expression, expected="a day that is in its month"
        )
    return found


def next_times(cron: str, after: datetime, count: int) -> list[datetime]:
    """The next times of six fields, in UTC; none where there is none in 50 years.

    Args:
        cron: As `parse_cron` gives it.
        after: With a zone.
        count: How many.
    """
    times = croniter(cron, after.astimezone(UTC), second_at_beginning=True)
    try:
        return [times.get_next(datetime) for _ in range(count)]
    except ValueError:
        return []


def _check(field: _Field, part: str, text: str) -> None:
    found = _PART.fullmatch(part)
    values = [_value(field, found[key]) for key in ("first", "last")] if found else [None]
    if found and found["last"] is None:
        values = values[:1]
    in_range = all(value is not None and field.least <= value <= field.most for value in values)
    ordered = len(values) < 2 or not in_range or values[0] <= values[1]  # type: ignore[operator]
    if not (found and in_range and ordered and found["step"] != "0"):
        raise ParameterError(
            f"the {field.name} is not right",
            where="--cron",
            got=text,
            expected=field.allowed,
        )


def _value(field: _Field, text: str | None) -> int | None:
    if text in ("*", "?"):
        return field.least
    if text in field.names:
        return field.names.index(text) + field.least
    return int(text) if text and text.isdigit() else None
