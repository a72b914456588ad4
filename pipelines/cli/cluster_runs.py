"""kfp-suite runs cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from kfp_suite.components.contracts.canonical import flat
from kfp_suite.pipelines.cli.connection import on_kubeflow
from kfp_suite.pipelines.cli.tables import print_whole

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


@click.group("cluster")
def cluster() -> None:
    """Runs on Kubeflow: list, show, compare."""


@cluster.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@_JSON
@on_kubeflow
def list_(limit: int, as_json: bool, connect: Callable[[], Any]) -> None:
    """The newest runs, the newest first."""
    from kfp_suite.pipelines.kubeflow.listing import cluster_runs

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
    from kfp_suite.pipelines.kubeflow.listing import find_cluster_run
    from kfp_suite.pipelines.kubeflow.submitting import run_link

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
    """What differs between two runs: parameters, states and time."""
    from kfp_suite.pipelines.kubeflow.listing import find_cluster_run

    backend = connect()
    one, two = (find_cluster_run(backend, name) for name in (first, second))
    differences = {
        group: {
            key: [a.get(key), b.get(key)]
            for key in sorted(a.keys() | b.keys())
            if a.get(key) != b.get(key)
        }
        for group, a, b in (
            ("parameters", flat(one.parameters), flat(two.parameters)),
            (
                "states",
                {task.name: task.state for task in one.state.tasks},
                {task.name: task.state for task in two.state.tasks},
            ),
            ("seconds", one.seconds, two.seconds),
        )
    }
    if as_json:
        click.echo(json.dumps({"runs": [one.state.id, two.state.id], **differences}))
        return
    for group, values in differences.items():
        if not values:
            click.echo(f"{group}: the same")
            continue
        table = Table(group, first, second)
        for key, (a, b) in values.items():
            table.add_row(key, "-" if a is None else str(a), "-" if b is None else str(b))
        print_whole(table)
