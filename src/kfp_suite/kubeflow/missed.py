"""The starts that a schedule has missed, and makes up for when it is on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.cron import next_times
from kfp_suite.kubeflow.scheduling import Schedule, Scheduled
from kfp_suite.kubeflow.timing import is_readable

MAX_COUNTED = 1000
"""More starts than that are not counted."""
_LOOKED_AT = 200


def missed_starts(backend: Backend, one: Scheduled, now: datetime | None = None) -> int:
    """How many runs a schedule starts at once, or one after the other, for times that are past.

    Kubeflow starts what is due since the last run of a schedule, since its start or since it was
    made; of a schedule without catch-up the newest time alone.

    Args:
        backend: Where.
        one: The schedule.
        now: The time; None: this machine's.

    Returns:
        At most `MAX_COUNTED`; 0 of a schedule with unknown times.
    """
    if not is_readable(one.schedule):
        return 0
    moment = now or datetime.now(UTC)
    since = _last_start(backend, one)
    if since is None:
        told = one.schedule.start or one.created_at
        since = datetime.fromisoformat(told) if told else moment
    due = _starts(one.schedule, since, moment)
    return due if one.schedule.catchup else min(due, 1)


def _starts(plan: Schedule, since: datetime, until: datetime) -> int:
    """The starts of a schedule after `since`, up to `until` and its own end."""
    if plan.end:
        until = min(until, datetime.fromisoformat(plan.end))
    if since >= until:
        return 0
    if not plan.cron:
        return min((until - since) // timedelta(seconds=plan.every), MAX_COUNTED)
    return sum(time <= until for time in next_times(plan.cron, since, MAX_COUNTED))


def _last_start(backend: Backend, one: Scheduled) -> datetime | None:
    """When the newest run of a schedule was due; None: it has none among the newest runs."""
    runs = backend.pages(
        "runs",
        lambda token: backend.client.list_runs(
            page_token=token,
            page_size=100,
            sort_by="created_at desc",
            namespace=backend.namespace,
        ),
        "runs",
    )
    times = (_due(run) for run in islice(runs, _LOOKED_AT) if run.recurring_run_id == one.id)
    return max((time for time in times if time is not None), default=None)


def _due(run: Any) -> datetime | None:
    # Some versions answer 1970 if a run was not scheduled.
    scheduled: datetime | None = run.scheduled_at
    if scheduled is not None and scheduled.year > 1970:
        return scheduled
    created: datetime | None = run.created_at
    return created
