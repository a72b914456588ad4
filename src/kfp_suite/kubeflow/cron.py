"""Cron as Kubeflow Pipelines reads it: six fields, seconds first, in UTC.

Days differ from the usual cron: if day of month or day of week begins with a star, such as
`*/2`, both have to match; only if neither does is one of them enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from croniter import CroniterBadDateError, croniter

from kfp_suite.contracts.errors import ParameterError

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_PART = re.compile(r"(?P<first>[*?]|[0-9A-Z]+(?:-(?P<last>[0-9A-Z]+))?)(?:/(?P<step>[0-9]+))?")
_GIVEN_UP_AFTER = timedelta(days=5 * 366)


@dataclass(frozen=True)
class _Field:
    """One of the six: its name, its least and greatest value, and the names of values."""

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
        ParameterError: it is not one, with the field at fault, or it names a time zone.
    """
    parts = expression.upper().split()
    if parts and parts[0].startswith(("CRON_TZ=", "TZ=")):
        raise ParameterError(
            "a schedule on Kubeflow Pipelines has no time zone of its own",
            where="--cron",
            got=expression,
            expected="the fields alone: their time is the installation's, UTC by default",
            fix="give the hours in UTC, without " + expression.split(maxsplit=1)[0],
        )
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
    """The next times of six fields, in UTC; none if there is none within five years.

    Args:
        cron: As `parse_cron` gives it.
        after: With a zone.
        count: How many.
    """
    times = _times(cron, after.astimezone(UTC))
    return [time for time, _ in zip(times, range(count), strict=False)]


def _times(cron: str, after: datetime) -> Iterator[datetime]:
    """Its times, until five years have none."""
    *others, day, month, weekday = cron.split()
    both = any(part[0] in "*?" for field in (day, weekday) for part in field.split(","))
    # croniter takes one of the two as enough: it counts the days, and we take the weekdays.
    counted = " ".join([*others, day, month, "*" if both else weekday])
    weekdays = _values(_FIELDS[-1], weekday) if both else set(range(7))
    times = croniter(counted, after, second_at_beginning=True)
    last = after
    while True:
        try:
            time = times.get_next(datetime)
        except CroniterBadDateError:
            return
        if time > last + _GIVEN_UP_AFTER:
            return
        if time.isoweekday() % 7 in weekdays:
            last = time
            yield time
        else:
            tomorrow = time.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            times.set_current(tomorrow - timedelta(seconds=1), force=True)


def _values(field: _Field, text: str) -> set[int]:
    """The values of a field that has been checked."""
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        assert match is not None
        first = _value(field, match["first"].partition("-")[0])
        last = _value(field, match["last"]) if match["last"] else first
        if not match["last"] and (part[0] in "*?" or match["step"]):
            last = field.most
        assert first is not None and last is not None
        found.update(range(first, last + 1, int(match["step"] or 1)))
    return found


def _check(field: _Field, part: str, text: str) -> None:
    found = _PART.fullmatch(part)
    ends = found["first"].split("-") if found else [None]
    values = [_value(field, end) for end in ends]
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
