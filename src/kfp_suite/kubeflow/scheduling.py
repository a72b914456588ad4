"""Recurring runs: one by name, replaced when it changes, and never lost in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import kfp_server_api as api

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    MissingError,
    did_you_mean,
)
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.submitting import runtime_config
from kfp_suite.kubeflow.uploading import equal

ENABLED, DISABLED = "ENABLE", "DISABLE"
FROM_NOW = "it starts now: its --start is past, and what ran since then does not run again"
"""What is to be said of a `Change` that is `from_now`."""
# What Kubeflow Pipelines, alone and with several users, runs as where nothing is said.
_USUAL_ACCOUNTS = ("", "pipeline-runner", "default-editor")


@dataclass(frozen=True)
class Schedule:
    """A recurring run as it should be.

    Attributes:
        name: One of this name, pipeline and model is changed, not joined.
        pipeline_id: Of the pipeline.
        version_id: The version it is pinned to; empty: the latest one, each time.
        cron: Six fields; or
        every: seconds between two runs.
        start, end: RFC 3339; empty: now, and never. Starts that are past are alike.
        max_concurrency: Runs at once, 1 to 10.
        catchup: Whether times that were missed are made up for.
        parameters: Arguments of its runs.
        service_account: That its steps run as; empty: the installation's.
        pipeline_root: Where artifacts go; empty: the installation's.
        experiment_id: Of its runs.
    """

    name: str
    pipeline_id: str
    version_id: str = ""
    cron: str = ""
    every: int = 0
    start: str = ""
    end: str = ""
    max_concurrency: int = 1
    catchup: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    service_account: str = ""
    pipeline_root: str = ""
    experiment_id: str = ""


@dataclass(frozen=True)
class Scheduled:
    """A recurring run as it is: the schedule, whether it is on, and since when it is (RFC 3339)."""

    id: str
    schedule: Schedule
    enabled: bool
    status: str = ""
    created_at: str = ""


@dataclass(frozen=True)
class Change:
    """What `schedule` did.

    Attributes:
        now: What is there.
        before: What was there; None if it is new.
        differences: By field, old and new.
        from_now: Its start is past, and the times since then do not come again.
        removed: What was there beside it under its name, and is deleted.
    """

    now: Scheduled
    before: Scheduled | None
    differences: Mapping[str, tuple[Any, Any]]
    from_now: bool = False
    removed: tuple[Scheduled, ...] = ()


def schedule(backend: Backend, wanted: Schedule) -> Change:
    """Create a recurring run, or change the one of its name.

    The API cannot change one (kubeflow/pipelines#6001). So a new one is created, disabled; then
    the old one is deleted, and the new one is enabled: if this is killed at any point, one is
    left, and the next call finishes. A new one would catch up with all times since its start: if
    that is past, a replacement starts at its creation.

    Args:
        backend: The Kubeflow.
        wanted: The schedule.

    Raises:
        AlreadyExistsError: one of this name is of another pipeline or model, or several are, and
            differ.
        KfpSuiteError: see `Backend.call`.
    """
    there = _named(backend, wanted.name)
    _check_owned(there, wanted)
    from_now = bool(there and wanted.start) and _is_past(wanted.start)
    same = [one for one in there if _is(one, wanted)]
    before = _meant(there, same)
    if same:
        kept = next((one for one in same if one.enabled), same[0])
    else:
        kept = _make(backend, replace(wanted, start="") if from_now else wanted)
    others = [one for one in there if one.id != kept.id]
    for other in others:
        remove(backend, other)
    if not kept.enabled:
        switch(backend, kept, on=True)
    now = replace(kept, schedule=wanted, enabled=True)
    differences = _differences(before, now) if before else {}
    removed = tuple(one for one in others if one != before)
    return Change(now, before, differences, from_now and not same, removed)


def schedules(backend: Backend) -> list[Scheduled]:
    """Every recurring run, by name."""
    return sorted(_listed(backend, None), key=lambda one: one.schedule.name)


def find_schedule(backend: Backend, name: str) -> Scheduled:
    """One by its name or its identifier.

    Raises:
        MissingError: there is none; with the near miss.
        AlreadyExistsError: several have the name, and differ.
    """
    found = _meant(_named(backend, name))
    if found is not None:
        return found
    known = schedules(backend)
    for one in known:
        if one.id == name:
            return one
    names = [one.schedule.name for one in known]
    raise MissingError(f"no schedule '{name}'", where=backend.host, fix=did_you_mean(name, names))


def switch(backend: Backend, one: Scheduled, *, on: bool) -> None:
    """Switch one on or off."""
    act = backend.client.enable_recurring_run if on else backend.client.disable_recurring_run
    backend.call(f"schedule '{one.schedule.name}'", lambda: act(one.id))


def resume(backend: Backend, one: Scheduled, *, catchup: bool) -> Scheduled:
    """Switch a schedule on.

    Args:
        backend: Where.
        one: The schedule.
        catchup: Whether the times that it missed are made up for, as Kubeflow does. The API
            cannot leave them out: so the schedule is made anew, which starts now, and the old
            one goes. Later times that are missed are made up for as the schedule says.

    Returns:
        What is on.
    """
    if catchup:
        switch(backend, one, on=True)
        return replace(one, enabled=True)
    plan = one.schedule
    old = [found for found in _named(backend, plan.name) if _is(found, plan)]
    wanted = replace(plan, start="") if _is_past(plan.start) else plan
    made = _make(backend, wanted, {found.id for found in old})
    for found in old:
        remove(backend, found)
    switch(backend, made, on=True)
    return replace(made, enabled=True)


def remove(backend: Backend, one: Scheduled) -> None:
    """Delete one; its runs stay."""
    try:
        backend.call(
            f"schedule '{one.schedule.name}'",
            lambda: backend.client.delete_recurring_run(one.id),
        )
    except MissingError:
        return  # a try before this one has done it


def _check_owned(there: list[Scheduled], wanted: Schedule) -> None:
    """Refuse a name under which something else recurs."""
    for one in there:
        for what, its, ours in (
            ("pipeline", one.schedule.pipeline_id, wanted.pipeline_id),
            ("model", _model(one.schedule), _model(wanted)),
        ):
            if its != ours:
                raise AlreadyExistsError(
                    f"a schedule '{wanted.name}' is of another {what}",
                    where=one.id,
                    got=its,
                    expected=ours,
                    fix=f"give another --name, or first: kfp-suite schedule delete {one.id}",
                )


def _model(one: Schedule) -> Any:
    return one.parameters.get("model_name", "no model")


def _meant(found: list[Scheduled], same: Sequence[Scheduled] = ()) -> Scheduled | None:
    """The schedule of a name: the enabled one.

    A change that was killed leaves its new one, disabled, beside the old one. Others that differ
    were created by hand.

    Args:
        found: All of the name.
        same: Those that are as they should be.
    """
    on = [one for one in found if one.enabled]
    rivals = on or ([] if same else found)
    if any(_changed(one.schedule, rivals[0].schedule) for one in rivals):
        raise AlreadyExistsError(
            f"{len(rivals)} schedules have the name '{found[0].schedule.name}', and differ",
            got=", ".join(one.id for one in rivals),
            fix="keep one: kfp-suite schedule delete IDENTIFIER",
        )
    return next(iter(on or found), None)


def _make(backend: Backend, wanted: Schedule, besides: Set[str] = frozenset()) -> Scheduled:
    """Make one, switched off, beside those of the identifiers `besides`."""
    times = {"start_time": _time(wanted.start), "end_time": _time(wanted.end)}
    trigger = (
        api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=wanted.cron, **times))
        if wanted.cron
        else api.V2beta1Trigger(
            periodic_schedule=api.V2beta1PeriodicSchedule(
                interval_second=str(wanted.every), **times
            )
        )
    )
    body = api.V2beta1RecurringRun(
        display_name=wanted.name,
        experiment_id=wanted.experiment_id,
        mode=DISABLED,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=wanted.pipeline_id, pipeline_version_id=wanted.version_id or None
        ),
        runtime_config=runtime_config(wanted.parameters, wanted.pipeline_root),
        trigger=trigger,
        max_concurrency=str(wanted.max_concurrency),
        no_catchup=not wanted.catchup,
        service_account=wanted.service_account or None,
    )

    def find() -> Any:
        there = (one for one in _raw(backend, wanted.name) if one.recurring_run_id not in besides)
        return next((one for one in there if _is(_read(one), wanted)), None)

    made = backend.create(
        f"schedule '{wanted.name}'",
        lambda: backend.client.recurring_runs.recurring_run_service_create_recurring_run(
            recurring_run=body
        ),
        find,
    )
    return _read(made)


def _named(backend: Backend, name: str) -> list[Scheduled]:
    return [one for one in _listed(backend, name) if one.schedule.name == name]


def _listed(backend: Backend, name: str | None) -> list[Scheduled]:
    return [_read(one) for one in _raw(backend, name)]


def _raw(backend: Backend, name: str | None) -> list[Any]:
    found = backend.pages(
        "schedules",
        lambda token: backend.client.list_recurring_runs(
            page_token=token,
            page_size=100,
            namespace=backend.namespace,
            filter=equal(name) if name else None,
        ),
        "recurring_runs",
    )
    return list(found)


def _read(one: Any) -> Scheduled:
    """As the API tells it."""
    reference, config, trigger = one.pipeline_version_reference, one.runtime_config, one.trigger
    # A schedule made by other clients may have no trigger, or half of one.
    cron, periodic = (trigger.cron_schedule, trigger.periodic_schedule) if trigger else (None, None)
    times = cron or periodic
    return Scheduled(
        id=one.recurring_run_id,
        schedule=Schedule(
            name=one.display_name,
            pipeline_id=(reference.pipeline_id if reference else "") or "",
            version_id=(reference.pipeline_version_id if reference else "") or "",
            cron=(cron.cron if cron else "") or "",
            every=int(periodic.interval_second or 0) if periodic else 0,
            start=_told(times.start_time if times else None),
            end=_told(times.end_time if times else None),
            max_concurrency=int(one.max_concurrency or 1),
            catchup=not one.no_catchup,
            parameters=(config.parameters if config else None) or {},
            service_account=one.service_account or "",
            pipeline_root=(config.pipeline_root if config else "") or "",
            experiment_id=one.experiment_id or "",
        ),
        enabled=one.mode == ENABLED,
        status=one.status or "",
        created_at=_told(one.created_at),
    )


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _told(time: datetime | None) -> str:
    """The same instant in one spelling."""
    # Some versions answer the year 1 if there is none.
    if time is None or time.year <= 1:
        return ""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _is(there: Scheduled, wanted: Schedule) -> bool:
    return not _changed(there.schedule, wanted)


def _changed(there: Schedule, wanted: Schedule) -> dict[str, tuple[Any, Any]]:
    """What differs, old and new."""
    pairs = {
        one.name: (getattr(there, one.name), getattr(wanted, one.name)) for one in fields(there)
    }
    return {name: pair for name, pair in pairs.items() if not _alike(name, *pair)}


def _alike(name: str, there: Any, wanted: Any) -> bool:
    if name == "start":
        return there == wanted or (_is_past(there) and _is_past(wanted))
    if name == "service_account" and not wanted:
        return there in _USUAL_ACCOUNTS
    return bool(there == wanted)


def _is_past(start: str) -> bool:
    """Whether it is no time to wait for; without a start, it is the moment of its making."""
    return not start or datetime.fromisoformat(start) <= datetime.now(UTC)


def _differences(before: Scheduled, now: Scheduled) -> dict[str, tuple[Any, Any]]:
    found = _changed(before.schedule, now.schedule)
    if before.enabled != now.enabled:
        found["enabled"] = (before.enabled, now.enabled)
    return found
