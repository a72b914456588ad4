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
from kfp_suite.cli.trials import print_trials
from kfp_suite.contracts.canonical import flat
from kfp_suite.contracts.errors import KfpSuiteError, MissingError
from kfp_suite.local.comparing import differences_of, leaves

if TYPE_CHECKING:
    from kfp_suite.kubeflow.connection import Backend
    from kfp_suite.kubeflow.ending import Ending
    from kfp_suite.kubeflow.listing import ClusterRun

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


@click.group("cluster")
def cluster() -> None:
    """Runs on Kubeflow: list, show, compare, best, trials."""


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
    """One run by name or identifier: its tasks, parameters and outcome. NAME may be `latest`."""
    from kfp_suite.cli.watch import print_ending
    from kfp_suite.kubeflow.ending import ending_of
    from kfp_suite.kubeflow.listing import find_cluster_run
    from kfp_suite.kubeflow.submitting import run_link

    backend = connect()
    run = find_cluster_run(backend, name)
    ending = ending_of(backend, run) if run.state.over else None
    if as_json:
        click.echo(json.dumps({**asdict(run), **(_ending_json(ending) if ending else {})}))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{run.state.name}[/]  {run.state.state}", soft_wrap=True)
    console.print(run_link(backend, run.state.id), soft_wrap=True)
    tasks = Table("task", "state", "seconds", "why")
    for task in run.state.tasks:
        seconds = "-" if task.seconds is None else f"{task.seconds:.1f}"
        tasks.add_row(task.name, task.state, seconds, task.error or task.reason)
    print_whole(tasks)
    parameters = Table("parameter", "value")
    for key, value in flat(run.parameters).items():
        parameters.add_row(key, str(value))
    if run.parameters:
        print_whole(parameters)
    if ending:
        print_ending(ending, console)
        if ending.failure:
            console.print(f"\n{ending.failure}", style="red", soft_wrap=True, markup=False)


def _ending_json(ending: Ending) -> dict[str, Any]:
    past, conclusion = ending.past, ending.conclusion
    return {
        "outcome": conclusion.outcome if conclusion else None,
        "error": str(ending.failure) if ending.failure else None,
        "record": asdict(past.record) if past else None,
        "unread": ending.unread,
    }


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
    (made, why), (made_too, why_too) = _made(backend, one), _made(backend, two)
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
    """Rank the newest runs by a metric, best first, from the run records."""
    from kfp_suite.kubeflow.listing import newest_runs
    from kfp_suite.local.history import rank

    backend = connect()
    runs = {run.state.id: run for run in newest_runs(backend, limit)}
    made = {id: _made(backend, run) for id, run in runs.items()}
    unread = {id: why for id, (_, why) in made.items() if why}
    if unread and len(unread) == len(made):
        raise MissingError("no run record can be read", got=next(iter(unread.values())))
    metrics = {id: found["metrics"] for id, (found, why) in made.items() if not why}
    ranked = [
        {
            "run": id,
            "name": runs[id].state.name,
            "value": metrics[id][metric],
            "version": made[id][0]["version"].get("uri"),
        }
        for id in rank(metrics, metric, lowest)
    ]
    if as_json:
        click.echo(json.dumps({**ranked[0], "runs": ranked, "unread": unread}))
        return
    table = Table("run", metric, "version", "id", box=None)
    for one in ranked:
        table.add_row(one["name"], f"{one['value']:.6g}", one["version"] or "-", one["run"])
    print_whole(table)
    if unread:
        click.echo(f"{len(unread)} of {len(made)} runs have no record that can be read from here")


@cluster.command("trials")
@click.argument("name", default="latest")
@_JSON
@on_kubeflow
def trials(name: str, as_json: bool, connect: Callable[[], Any]) -> None:
    """The trials of a search, best first. NAME: a run of `tune`, by name or identifier."""
    from kfp_suite.kubeflow.listing import find_cluster_run
    from kfp_suite.kubeflow.records import trials_of

    backend = connect()
    print_trials(trials_of(backend, find_cluster_run(backend, name)), as_json)


def _states(run: ClusterRun) -> dict[str, str]:
    return {task.name: task.state for task in run.state.tasks}


def _made(backend: Backend, run: ClusterRun) -> tuple[dict[str, dict[str, Any]], str]:
    """What a run made, by kind; and why that is not known, empty if it is."""
    from kfp_suite.kubeflow.ending import past_run

    try:
        past = past_run(backend, run)
    except KfpSuiteError as error:
        return {}, str(error)
    version = {key: (past.record.version or {}).get(key) for key in ("model", "version", "uri")}
    return {"digests": past.digests, "metrics": past.metrics, "version": version}, ""
