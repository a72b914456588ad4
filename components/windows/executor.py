"""Cut a range of dates, and fill the dates into what reads the data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.errors import ParameterError

WINDOWS = "windows.json"
_DAYS = {"day": 1, "week": 7}
_MAX_WINDOWS = 1000
_PLACEHOLDER = re.compile(r"\$\{(begin|start|end)\}")


@dataclass(frozen=True)
class WindowsParameters:
    """The range, how it is cut, and the texts that the dates are filled into."""

    sources: Mapping[str, Any]
    sql: str
    start: str
    end: str
    every: str = "month"


def windows(parameters: WindowsParameters, output: Path) -> list[dict[str, Any]]:
    """The windows from `start` up to, not including, `end`; also as `windows.json` in the
    folder `output`.

    Raises:
        ParameterError: a date that is none, an empty range, more than 1,000 windows, or no
            placeholder: every window would be of the same rows.
    """
    first, after = _date(parameters.start, "start"), _date(parameters.end, "end")
    _check(parameters, empty=first >= after)
    found: list[dict[str, Any]] = []
    for opens, closes in _cut(first, after, parameters.every):
        if len(found) == _MAX_WINDOWS:
            raise ParameterError(
                f"more than {_MAX_WINDOWS:,} windows",
                where="every",
                got=parameters.every,
                fix="choose a longer one",
            )
        dates = {"begin": str(first), "start": str(opens), "end": str(closes)}
        found.append(
            {
                "start": str(opens),
                "end": str(closes),
                "sources": _filled(parameters.sources, dates),
                "sql": _filled(parameters.sql, dates),
            }
        )
    with whole_folder(output) as folder:
        write_json(folder / WINDOWS, found)
    return found


def _check(parameters: WindowsParameters, *, empty: bool) -> None:
    if empty:
        raise ParameterError(
            "the range is empty",
            where="start",
            got=parameters.start,
            expected=f"before {parameters.end}",
        )
    if parameters.every not in (*_DAYS, "month"):
        raise ParameterError(
            "not allowed", where="every", got=parameters.every, expected="day, week or month"
        )
    if not _PLACEHOLDER.search(f"{parameters.sources} {parameters.sql}"):
        raise ParameterError(
            "nothing depends on the window",
            where="sources and sql",
            expected="${start} or ${end} in the URI of a source or in the SQL",
        )


def _date(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ParameterError("not a date", where=where, got=text, expected="YYYY-MM-DD") from error


def _cut(first: date, after: date, every: str) -> Iterator[tuple[date, date]]:
    opens = first
    while opens < after:
        closes = (
            opens + timedelta(days=_DAYS[every])
            if every in _DAYS
            else (opens.replace(day=1) + timedelta(days=32)).replace(day=1)
        )
        yield opens, min(closes, after)
        opens = closes


def _filled(value: Any, dates: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: dates[found[1]], value)
    if isinstance(value, Mapping):
        return {key: _filled(item, dates) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_filled(item, dates) for item in value]
    return value
