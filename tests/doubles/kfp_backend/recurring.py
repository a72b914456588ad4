"""When a recurring run starts a run: as KFP's controller of scheduled workflows decides it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from croniter import croniter


def next_due(recurring: Mapping[str, Any], last: datetime | None, now: datetime) -> datetime | None:
    """When the next run of a recurring run is due; None where none comes.

    The first follows the start, or the creation where no start is given: a start that is past
    has all the times since then follow one by one, unless `no_catchup`.

    Args:
        recurring: As the API has it.
        last: When the run before was due; None for the first.
        now: The time.
    """
    trigger = recurring["trigger"]
    times = trigger.get("cron_schedule") or trigger["periodic_schedule"]
    start, end = _time(times.get("start_time")), _time(times.get("end_time"))
    after = last or start or _time(recurring["created_at"])
    assert after is not None
    due = _after(times, after)
    if recurring.get("no_catchup"):
        while (later := _after(times, due)) <= now:
            due = later
    return None if end is not None and due > end else due


def _after(times: Mapping[str, Any], after: datetime) -> datetime:
    if "cron" in times:
        found: datetime = croniter(times["cron"], after, second_at_beginning=True).get_next(
            datetime
        )
        return found
    return after + timedelta(seconds=int(times["interval_second"]))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
