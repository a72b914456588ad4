"""kfp-suite runs cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from kfp_suite.cli.connection import on_kubeflow
from kfp_suite.cli.tables import print_differences, print_whole
from kfp_suite.contracts.canonical import flat
from kfp_suite.contracts.errors import KfpSuiteError, MissingError
from kfp_suite.local.comparing import differences_of, leaves

if TYPE_CHECKING:
    from kfp_suite.kubeflow.listing import ClusterRun

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


@click.group("cluster")
def cluster() -> None:
    """Runs on Kubeflow: list, show, compare, best."""


@cluster.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@_JSON
@on_kubeflow
def list_(limit: int, as_json: bool, connect: Callable[[], Any]) -> None:
    """The newest runs, the newest first."""
    from kfp_suite.kubeflow.listing import cluster_runs

    found = cluster_runs(connect(), limit)
    if as_json:
        click.echo(json.dumps([asdict(run) for run in found]))
        return
    if not found:
        click.echo("no runs")
        return
    table = Table("run", "state", "created", "seconds", "id", box=None)
    for run in found:
        seconds = "-" if run.state.seconds is None else f"{run.state.seconds:.0f}"
        table.add_row(run.state.name, run.state.state, run.created_at, seconds, run.state.id)
    print_whole(table)


@cluster.command("show")
@click.argument("name", default="latest")
@_JSON
@on_kubeflow
def show(name: str, as_json: bool, connect: Callable[[], Any]) -> None:
    """One run by name or identifier: its tasks and parameters. NAME may be `latest`."""
    from kfp_suite.kubeflow.listing import find_cluster_run
    from kfp_suite.kubeflow.submitting import run_link

    backend = connect()
    run = find_cluster_run(backend, name)
    if as_json:
        click.echo(json.dumps(asdict(run)))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{run.state.name}[/]  {run.state.state}", soft_wrap=True)
    console.print(run_link(backend, run.state.id), soft_wrap=True)
    tasks = Table("task", "state", "seconds", "error")
    for task in run.state.tasks:
        seconds = "-" if task.seconds is None else f"{task.seconds:.1f}"
        tasks.add_row(task.name, task.state, seconds, task.error)
    print_whole(tasks)
    parameters = Table("parameter", "value")
    for key, value in flat(run.parameters).items():
        parameters.add_row(key, str(value))
    if run.parameters:
        print_whole(parameters)


@cluster.command("compare")
@click.argument("first")
@click.argument("second")
@_JSON
@on_kubeflow
def compare(first: str, second: str, as_json: bool, connect: Callable[[], Any]) -> None:
    """What differs between two runs: parameters, digests, metrics, versions, states and time.

    Digests, metrics and versions are in the run records, below the pipeline root.
    """
    from kfp_suite.kubeflow.listing import find_cluster_run

    backend = connect()
    one, two = (find_cluster_run(backend, name) for name in (first, second))
    (made, why), (made_too, why_too) = _made(one), _made(two)
    differences = {
        group: differences_of(a, b)
        for group, a, b in (
            ("parameters", leaves(one.parameters), leaves(two.parameters)),
            *((group, made[group], made_too[group]) for group in made if group in made_too),
            ("states", _states(one), _states(two)),
            ("seconds", one.seconds, two.seconds),
        )
    }
    unread = {run.state.id: words for run, words in ((one, why), (two, why_too)) if words}
    if as_json:
        found = {"runs": [one.state.id, two.state.id], **differences, "unread": unread}
        click.echo(json.dumps(found))
        return
    click.echo(f"first:  {one.state.name}\nsecond: {two.state.name}\n")
    for group, values in differences.items():
        print_differences(group, values)
    for words in unread.values():
        click.echo(f"no metrics, digests and versions: {words}")


@cluster.command("best")
@click.option("--metric", required=True, help="A metric of the evaluations: roc_auc, rmse, …")
@click.option(
    "--lowest/--highest", default=None, help="Which is better; default: as the metric is."
)
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@_JSON
@on_kubeflow
def best(
    metric: str, lowest: bool | None, limit: int, as_json: bool, connect: Callable[[], Any]
) -> None:
    """The best of the newest runs by a metric, from the run records below the pipeline root."""
    from kfp_suite.kubeflow.listing import newest_runs
    from kfp_suite.local.history import best_of

    runs = {run.state.id: run for run in newest_runs(connect(), limit)}
    made = {id: _made(run) for id, run in runs.items()}
    unread = {id: why for id, (_, why) in made.items() if why}
    if unread and len(unread) == len(made):
        raise MissingError("no run record can be read", got=next(iter(unread.values())))
    id = best_of(
        {id: found["metrics"] for id, (found, why) in made.items() if not why}, metric, lowest
    )
    value, version = made[id][0]["metrics"][metric], made[id][0]["version"].get("uri")
    if as_json:
        found = {"run": id, "name": runs[id].state.name, "value": value, "version": version}
        click.echo(json.dumps({**found, "unread": unread}))
        return
    click.echo(f"{runs[id].state.name}  {metric} {value:.6g}  {id}")
    click.echo(f"version: {version}" if version else "no version was published")
    if unread:
        click.echo(f"{len(unread)} of {len(made)} runs have no record that can be read from here")


def _states(run: ClusterRun) -> dict[str, str]:
    return {task.name: task.state for task in run.state.tasks}


def _made(run: ClusterRun) -> tuple[dict[str, dict[str, Any]], str]:
    """What a run made, by kind; and why that is not known, empty where it is."""
    from kfp_suite.kubeflow.records import record_of
    from kfp_suite.local.history import PastRun

    try:
        past = PastRun(record_of(run), run.parameters)
    except KfpSuiteError as error:
        return {}, str(error)
    version = {key: (past.record.version or {}).get(key) for key in ("model", "version", "uri")}
    return {"digests": past.digests, "metrics": past.metrics, "version": version}, ""
