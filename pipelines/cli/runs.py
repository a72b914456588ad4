"""kfp-suite runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from kfp_suite.components.contracts.canonical import flat
from kfp_suite.components.contracts.errors import MissingError
from kfp_suite.pipelines.cli.cluster_runs import cluster
from kfp_suite.pipelines.cli.connection import Connect, on_kubeflow
from kfp_suite.pipelines.cli.tables import print_whole
from kfp_suite.pipelines.runs.history import (
    PastRun,
    best_of,
    find_run,
    read_run,
    run_folders,
)

_ROOT = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kfp-suite-runs"),
    show_default=True,
    help="The folder of runs.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
_HEADLINES = ("roc_auc", "accuracy", "f1", "rmse", "r2")


@click.group("runs")
def runs() -> None:
    """Runs of this machine, from their run records; and, under `cluster`, of a Kubeflow."""


runs.add_command(cluster)


@runs.command("list")
@_ROOT
@_JSON
def list_runs(root: Path, as_json: bool) -> None:
    """List runs, oldest first."""
    found = {name: read_run(folder) for name, folder in run_folders(root).items()}
    if as_json:
        click.echo(json.dumps([{"name": name, **asdict(run)} for name, run in found.items()]))
        return
    if not found:
        click.echo(f"no runs in {root}")
        return
    table = Table("run", "status", "blessed", "version", "metric", "seconds", box=None)
    for name, run in found.items():
        table.add_row(name, *_cells(run))
    print_whole(table)


def _cells(run: PastRun) -> tuple[str, ...]:
    blessed = (run.record.evaluation or {}).get("blessed")
    version = run.record.version
    return (
        run.record.status,
        {True: "yes", False: "no", None: "-"}[blessed],
        f"{version['model']}/{version['version']}" if version else "-",
        next((f"{m} {run.metrics[m]:.4f}" for m in _HEADLINES if m in run.metrics), "-"),
        "-" if run.seconds is None else f"{run.seconds:.0f}",
    )


@runs.command("show")
@click.argument("name", default="latest")
@_ROOT
@_JSON
def show_run(name: str, root: Path, as_json: bool) -> None:
    """Show one run: its steps, parameters, metrics and what it made. NAME may be `latest`."""
    name, run = find_run(root, name)
    if as_json:
        click.echo(json.dumps({"name": name, **asdict(run)}))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{name}[/]  {run.record.status}")
    for reason in run.record.reasons:
        console.print(f"  - {reason}", soft_wrap=True)
    steps = Table("step", "state", "seconds", title="steps", title_justify="left")
    for step in run.steps:
        steps.add_row(step.name, step.state, f"{step.seconds:.1f}")
    console.print(steps)
    for title, values in _sections(run).items():
        if values:
            table = Table("name", "value", title=title, title_justify="left")
            for key, value in values.items():
                table.add_row(key, str(value))
            console.print(table)


def _sections(run: PastRun) -> dict[str, dict[str, Any]]:
    return {
        "metrics": {name: f"{value:.6g}" for name, value in run.metrics.items()},
        "version": dict(run.record.version or {}),
        "endpoint": dict(run.record.endpoint or {}),
        "digests": run.digests,
        "parameters": flat(run.parameters) if run.parameters else {},
    }


@runs.command("compare")
@click.argument("first")
@click.argument("second")
@_ROOT
@_JSON
def compare_runs(first: str, second: str, root: Path, as_json: bool) -> None:
    """Show what differs between two runs: parameters, digests, metrics and time."""
    (first, one), (second, two) = find_run(root, first), find_run(root, second)
    differences = {
        group: {
            key: [a.get(key), b.get(key)]
            for key in sorted(a.keys() | b.keys())
            if a.get(key) != b.get(key)
        }
        for group, a, b in (
            ("parameters", flat(one.parameters), flat(two.parameters)),
            ("digests", one.digests, two.digests),
            ("metrics", one.metrics, two.metrics),
            (
                "seconds",
                {s.name: s.seconds for s in one.steps},
                {s.name: s.seconds for s in two.steps},
            ),
        )
    }
    if as_json:
        click.echo(json.dumps({"runs": [first, second], **differences}))
        return
    console = Console(highlight=False)
    for group, values in differences.items():
        if not values:
            console.print(f"{group}: the same")
            continue
        table = Table(group, first, second)
        for key, (a, b) in values.items():
            table.add_row(key, "-" if a is None else str(a), "-" if b is None else str(b))
        console.print(table)


@runs.command("best")
@click.option("--metric", required=True, help="A metric of the evaluations: roc_auc, rmse, …")
@click.option(
    "--lowest/--highest", default=None, help="Which is better; default: as the metric is."
)
@_ROOT
@_JSON
def best(metric: str, lowest: bool | None, root: Path, as_json: bool) -> None:
    """Show the run with the best value of a metric."""
    found = {name: read_run(folder) for name, folder in run_folders(root).items()}
    name = best_of({name: run.metrics for name, run in found.items()}, metric, lowest)
    run = found[name]
    if as_json:
        click.echo(json.dumps({"name": name, "value": run.metrics[metric], **asdict(run)}))
        return
    version = run.record.version
    click.echo(f"{name}  {metric} {run.metrics[metric]:.6g}")
    if version is None:
        click.echo("no version was published")
        return
    click.echo(f"version: {version['uri']}")
    click.echo(f"make it again:       kfp-suite reproduce {version['uri']}")
    click.echo(f"search wider around: kfp-suite run tune --from {version['uri']}")


@runs.command("trials")
@click.argument("name", default="latest")
@_ROOT
@_JSON
def trials(name: str, root: Path, as_json: bool) -> None:
    """The trials of a search, best first. NAME: a run of `tune`, a study's URI, or `latest`."""
    from kfp_suite.components.train.tune.study import Study, ranked

    uri = name
    if "_studies/" not in name:
        run_name, run = find_run(root, name)
        if run.record.study is None:
            raise MissingError("the run searched nothing", where=run_name, fix="name a run of tune")
        uri = run.record.study["uri"]
    found = ranked(Study.open(uri).trials())
    if as_json:
        click.echo(json.dumps([asdict(trial) for trial in found]))
        return
    table = Table("trial", "state", "metric", "estimator", "hyperparameters", box=None)
    for trial in found:
        value = "-" if trial.value is None else f"{trial.metric} {trial.value:.6g}"
        given = ", ".join(f"{key}={item}" for key, item in trial.hyperparameters.items())
        table.add_row(trial.name, trial.state, value, trial.estimator, given)
    print_whole(table)


@runs.command("watch")
@click.argument("run_id")
@on_kubeflow
def watch(run_id: str, connect: Connect) -> None:
    """Watch a run on Kubeflow; the exit code follows it. Ctrl-C leaves it running."""
    from kfp_suite.pipelines.cli.watch import watch_run

    watch_run(connect(), run_id, Console(highlight=False), connect.command)


@runs.command("terminate")
@click.argument("run_id")
@on_kubeflow
def terminate(run_id: str, connect: Callable[[], Any]) -> None:
    """End a run on Kubeflow."""
    backend = connect()
    backend.call(f"run {run_id}", lambda: backend.client.terminate_run(run_id))
    click.echo(f"{run_id} is being terminated")
