"""Start times of schedules: their settings, and the resulting times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kubeflow.cron import next_times, parse_cron
from kfp_suite.kubeflow.placement import seconds_of
from kfp_suite.kubeflow.scheduling import Schedule, Scheduled

_COMING = 5


@dataclass(frozen=True)
class Timing:
    """When runs start; see `Schedule`."""

    cron: str = ""
    every: int = 0
    start: str = ""
    end: str = ""


def timing(cron: str = "", every: str = "", start: str = "", end: str = "") -> Timing:
    """The start times of runs, from their settings.

    Args:
        cron: Five fields, or six with seconds first; or
        every: a pause between starts: `6h`.
        start, end: ISO 8601, with a zone or in local time; empty: now, and never.

    Raises:
        ParameterError: not exactly one of cron and every, or one that is not right, or times
            between which nothing starts.
    """
    if bool(cron) == bool(every):
        raise ParameterError(
            "one of cron and a pause", where="--cron", expected='--cron "0 3 * * *" or --every 6h'
        )
    six, seconds = (parse_cron(cron), 0) if cron else ("", seconds_of(every, "--every"))
    first, last = _instant(start, "--start"), _instant(end, "--end")
    if last and datetime.fromisoformat(last) <= datetime.now(UTC):
        raise ParameterError("is past", where="--end", got=last, expected="a time to come")
    if first and last and datetime.fromisoformat(first) >= datetime.fromisoformat(last):
        raise ParameterError("is not after --start", where="--end", got=last, expected=f"> {first}")
    return Timing(six, seconds, first, last)


def when(one: Schedule) -> str:
    """Cron, or the pause, in words."""
    if one.cron:
        return f"cron {one.cron}"
    return f"every {timedelta(seconds=one.every)}" if one.every else "no trigger"


def coming(one: Scheduled) -> list[datetime]:
    """The next five times, in UTC; of a pause, if none is late. None of a schedule of
    another client with a trigger that is not read here: `@daily`."""
    now, plan = datetime.now(UTC), one.schedule
    if not is_readable(plan):
        return []
    start = datetime.fromisoformat(plan.start) if plan.start else None
    if plan.cron:
        times = next_times(plan.cron, max(now, start or now), _COMING)
    else:
        begin = start or datetime.fromisoformat(one.created_at)
        passed = max(0, (now - begin) // timedelta(seconds=plan.every))
        times = [
            begin + timedelta(seconds=plan.every * (passed + more))
            for more in range(1, _COMING + 1)
        ]
    end = datetime.fromisoformat(plan.end) if plan.end else None
    return [time for time in times if end is None or time <= end]


def is_readable(one: Schedule) -> bool:
    """Whether its times are known: it has a pause, or a cron expression that is read here."""
    if not one.cron:
        return one.every > 0
    try:
        return parse_cron(one.cron) == one.cron
    except ParameterError:
        return False


def in_both_zones(time: datetime) -> tuple[str, str]:
    """A time in UTC and in local time."""
    local = time.astimezone()
    return f"{time:%Y-%m-%d %H:%M:%S} UTC", f"{local:%a %Y-%m-%d %H:%M:%S %Z}"


def _instant(text: str, option: str) -> str:
    if not text:
        return ""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ParameterError(
            "not a time", where=option, got=text, expected="ISO 8601, as 2026-12-01T03:00"
        ) from error
    return found.astimezone(UTC).isoformat(timespec="seconds")
