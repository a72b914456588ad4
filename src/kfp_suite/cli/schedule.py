"""kfp-suite schedule."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from kfp_suite.cli.adapting import sent_to_kubeflow
from kfp_suite.cli.connection import Connect, on_kubeflow
from kfp_suite.cli.parameter_options import assignments_option, params_option
from kfp_suite.cli.run_options import check_option, pipeline_root_option

if TYPE_CHECKING:
    from kfp_suite.kubeflow.connection import Backend
    from kfp_suite.kubeflow.scheduling import Scheduled


class _Pipelines(click.Group):
    """`schedule PIPELINE …` is short for `schedule add PIPELINE …`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["add", *args]
        return super().resolve_command(ctx, args)


@click.group("schedule", cls=_Pipelines)
def schedule() -> None:
    """Recurring runs on Kubeflow.

    `kfp-suite schedule PIPELINE --cron "0 3 * * *"` makes one, or changes the one of its name.
    """


@schedule.command("add")
@click.argument("pipeline")
@click.option(
    "--cron",
    default="",
    help="Five fields, or six with seconds first; in UTC, where the installation does not set "
    "CRON_SCHEDULE_TIMEZONE.",
)
@click.option("--every", default="", help="A pause between starts: 30m, 6h, 1d.")
@click.option("--name", default="", help="Of the schedule.  [default: the pipeline's]")
@click.option(
    "--start",
    default="",
    help="ISO 8601, with a zone or in local time. A new schedule catches up from there.",
)
@click.option("--end", default="", help="The same.")
@click.option("--max-concurrency", type=click.IntRange(1, 10), default=1, show_default=True)
@click.option("--catchup/--no-catchup", default=True, help="Make up for times that were missed.")
@params_option
@assignments_option
@click.option(
    "--from", "origin", metavar="VERSION", default="", help="STORE/MODEL/VERSION; as in `run`."
)
@click.option(
    "--pin/--latest", default=True, help="This version, or the latest at each start.  [pin]"
)
@click.option("--experiment", default="Default", show_default=True)
@click.option("--service-account", default="", help="That the steps run as.")
@pipeline_root_option
@check_option
@sent_to_kubeflow
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@on_kubeflow
def add(
    pipeline: str,
    cron: str,
    every: str,
    name: str,
    start: str,
    end: str,
    max_concurrency: int,
    catchup: bool,
    params: str | None,
    assignments: tuple[str, ...],
    origin: str,
    pin: bool,
    experiment: str,
    service_account: str,
    pipeline_root: str,
    check: bool,
    as_json: bool,
    package_of: Callable[[str], Any],
    connect: Connect,
) -> None:
    """Run PIPELINE again and again; a schedule of this name is changed."""
    from kfp_suite.kubeflow.arguments import cluster_arguments
    from kfp_suite.kubeflow.launching import COPIES, Order, Recurrence, recur
    from kfp_suite.kubeflow.naming import renamed
    from kfp_suite.kubeflow.scheduling import FROM_NOW
    from kfp_suite.kubeflow.timing import timing, when
    from kfp_suite.local.parameters import parse_assignments

    if bool(cron) == bool(every):
        raise click.UsageError('give --cron "0 3 * * *" or --every 6h')
    recurrence = Recurrence(timing(cron, every, start, end), max_concurrency, catchup, pin)
    package = package_of(pipeline)
    assigned = parse_assignments(assignments, package.parameters)
    arguments = cluster_arguments(package, params, assigned, origin)
    backend = connect()
    order = Order(name, experiment, service_account, pipeline_root, check)
    done, prepared = recur(backend, package, arguments, order, recurrence)
    if as_json:
        told_too = {"next": _coming(done.now), **prepared.to_json()}
        click.echo(json.dumps({**asdict(done), **told_too}))
        return
    wanted = done.now.schedule
    if done.before is None:
        click.echo(f"{wanted.name}: scheduled")
    elif not done.differences:
        click.echo(f"{wanted.name}: is scheduled like this already; nothing changed")
    else:
        click.echo(f"{wanted.name}: changed")
        changes = renamed(backend, done.before.schedule, wanted, done.differences)
        for field, (old, new) in changes.items():
            click.echo(f"  {field}: {old!r} -> {new!r}")
    for one in done.removed:
        state = "on" if one.enabled else "paused"
        click.echo(f"  removed, of the same name: {one.id}, {when(one.schedule)}, {state}")
    if done.from_now:
        click.echo(FROM_NOW)
    for line in prepared.lines:
        click.echo(line)
    if prepared.brought:
        click.echo(COPIES)
    if done.before is None or not done.before.enabled:
        _tell_missed(backend, done.now, connect)
    _tell_times(done.now)


@schedule.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_kubeflow
def list_(as_json: bool, connect: Callable[[], Any]) -> None:
    """The schedules, by name."""
    from kfp_suite.kubeflow.scheduling import schedules
    from kfp_suite.kubeflow.timing import when

    found = schedules(connect())
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        click.echo(
            f"{one.schedule.name}: {when(one.schedule)}, {'on' if one.enabled else 'paused'}"
        )
    if not found:
        click.echo("no schedules")


@schedule.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_kubeflow
def show(name: str, as_json: bool, connect: Callable[[], Any]) -> None:
    """One schedule, by name or identifier: when, what, and its next times."""
    from kfp_suite.kubeflow.naming import named
    from kfp_suite.kubeflow.scheduling import find_schedule
    from kfp_suite.kubeflow.timing import when

    backend = connect()
    one = find_schedule(backend, name)
    if as_json:
        click.echo(json.dumps({**asdict(one), "next": _coming(one)}))
        return
    click.echo(f"{one.schedule.name}: {when(one.schedule)}, {'on' if one.enabled else 'paused'}")
    shown = named(backend, one.schedule) | {
        field: value
        for field, value in asdict(one.schedule).items()
        if field not in ("name", "cron", "every") and not field.endswith("_id")
    }
    for field, value in shown.items():
        if value not in ("", {}):
            click.echo(f"  {field}: {value}")
    if one.enabled:
        _tell_times(one)


@schedule.command("pause")
@click.argument("name")
@on_kubeflow
def pause(name: str, connect: Connect) -> None:
    """Start no more runs of a schedule, for now."""
    from kfp_suite.kubeflow.scheduling import find_schedule, switch

    backend = connect()
    switch(backend, find_schedule(backend, name), on=False)
    click.echo(f"{name} is paused; {connect.command(f'schedule resume {shlex.quote(name)}')}")


@schedule.command("resume")
@click.argument("name")
@click.option(
    "--catchup/--no-catchup",
    default=True,
    show_default=True,
    help="Run for the times that the pause left out, or go on from now.",
)
@on_kubeflow
def resume(name: str, catchup: bool, connect: Connect) -> None:
    """Switch a schedule on again, and print how many runs make up for the pause."""
    from kfp_suite.kubeflow.scheduling import find_schedule
    from kfp_suite.kubeflow.scheduling import resume as switch_on

    backend = connect()
    one = switch_on(backend, find_schedule(backend, name), catchup=catchup)
    click.echo(f"{name} is on")
    if catchup:
        _tell_missed(backend, one, connect)


@schedule.command("delete")
@click.argument("name")
@click.confirmation_option(prompt="Delete the schedule?")
@on_kubeflow
def delete(name: str, connect: Callable[[], Any]) -> None:
    """Delete a schedule, by name or identifier; the runs that it started stay."""
    from kfp_suite.kubeflow.scheduling import find_schedule, remove

    backend = connect()
    remove(backend, find_schedule(backend, name))
    click.echo(f"{name} is deleted")


def _tell_missed(backend: Backend, one: Scheduled, connect: Connect) -> None:
    """Print how many runs follow for times that are past."""
    from kfp_suite.kubeflow.missed import MAX_COUNTED, missed_starts

    count = missed_starts(backend, one)
    if not count:
        return
    name = shlex.quote(one.schedule.name)
    number = f"{count} or more" if count == MAX_COUNTED else str(count)
    runs = "run follows" if count == 1 else "runs follow, one after the other,"
    click.echo(
        f"{number} {runs} for times that are past; to go on from now instead: "
        f"{connect.command(f'schedule resume {name} --no-catchup')}"
    )


def _coming(one: Scheduled) -> list[str]:
    from kfp_suite.kubeflow.timing import coming

    return [time.isoformat(timespec="seconds") for time in coming(one)]


def _tell_times(one: Scheduled) -> None:
    from kfp_suite.kubeflow.timing import coming, in_both_zones, is_readable, when

    if not is_readable(one.schedule):
        click.echo(f"next times: unknown ({when(one.schedule)})")
        return
    if one.schedule.cron:
        click.echo(
            f"next times of {one.schedule.cron} (second minute hour day month weekday, UTC unless "
            "the installation sets CRON_SCHEDULE_TIMEZONE):"
        )
    else:
        click.echo(f"next times, {when(one.schedule)}, where none is late:")
    for time in coming(one):
        click.echo("  {}   {}".format(*in_both_zones(time)))
