"""kfp-suite runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from kfp_suite.cli.cluster_runs import cluster
from kfp_suite.cli.completion import complete_run
from kfp_suite.cli.connection import Connect, on_kubeflow
from kfp_suite.cli.roots import past_runs_option
from kfp_suite.cli.run_summary import headline, print_uses
from kfp_suite.cli.tables import print_differences, print_folded, print_whole
from kfp_suite.cli.trials import print_trials
from kfp_suite.contracts.errors import InputError, MissingError, ParameterError
from kfp_suite.local.comparing import OTHER_ROWS, compare, leaves, measured_alike
from kfp_suite.local.conclusion import Conclusion, conclude
from kfp_suite.local.history import (
    PastRun,
    best_of,
    find_folder,
    find_run,
    read_run,
    run_folders,
)
from kfp_suite.local.outputs import gone_outputs
from kfp_suite.reports.formatting import shorten

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
_MAX_REASON_CHARS = 100
_UNREADABLE = "unreadable"


@click.group("runs")
def runs() -> None:
    """Runs of this machine, from their run records; and, under `cluster`, of a Kubeflow."""


runs.add_command(cluster)


@runs.command("list")
@past_runs_option
@_JSON
def list_runs(root: Path, as_json: bool) -> None:
    """List runs, oldest first."""
    folders = run_folders(root)
    found, unreadable = _read_runs(folders)
    concluded = {name: conclude(run, folders[name]) for name, run in found.items()}
    if as_json:
        listed = [
            {"name": name, "outcome": concluded[name].outcome, **asdict(found[name])}
            if name in found
            else {"name": name, "outcome": _UNREADABLE, "error": str(unreadable[name])}
            for name in folders
        ]
        click.echo(json.dumps(listed))
        return
    if not folders:
        click.echo(f"no runs in {root}")
        return
    columns = ("run", "outcome", "model", "estimator", "metric", "seconds", "why")
    table = Table(*columns, box=None)
    for name in folders:
        if name in found:
            table.add_row(name, *_cells(found[name], concluded[name]))
        else:
            why = shorten(str(unreadable[name]), _MAX_REASON_CHARS)
            table.add_row(name, _UNREADABLE, *["-"] * (len(columns) - 3), why)
    print_whole(table)


def _read_runs(
    folders: Mapping[str, Path],
) -> tuple[dict[str, PastRun], dict[str, InputError]]:
    """The runs in these folders, and why others cannot be read: one that another version of the
    suite wrote, or a file of that name that is not ours, hides no other run."""
    found, unreadable = {}, {}
    for name, folder in folders.items():
        try:
            found[name] = read_run(folder)
        except InputError as error:
            unreadable[name] = error
    return found, unreadable


def _cells(run: PastRun, conclusion: Conclusion) -> tuple[str, ...]:
    version = run.record.version
    model = run.model or "-"
    return (
        conclusion.outcome,
        f"{version['model']}/{version['version']}" if version else model,
        run.estimator or "-",
        next(iter(headline(run, intervals=False)), "-"),
        "-" if run.seconds is None else f"{run.seconds:.0f}",
        shorten("; ".join(conclusion.reasons), _MAX_REASON_CHARS),
    )


@runs.command("show")
@click.argument("name", default="latest", shell_complete=complete_run)
@past_runs_option
@_JSON
def show_run(name: str, root: Path, as_json: bool) -> None:
    """Show one run: its steps, parameters, metrics and what it made.

    NAME may be `latest`, or the beginning or the end of a name.
    """
    folder = find_folder(root, name)
    run = read_run(folder)
    conclusion = conclude(run, folder)
    gone = gone_outputs(folder)
    if as_json:
        shown = {"name": folder.name, "outcome": conclusion.outcome, **asdict(run)}
        click.echo(json.dumps({**shown, "gone": {key: str(path) for key, path in gone.items()}}))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{folder.name}[/]  {conclusion.outcome}", soft_wrap=True)
    for reason in conclusion.reasons:
        console.print(f"  - {reason}", soft_wrap=True, markup=False)
    for purpose, step in conclusion.next_steps.items():
        console.print(f"{purpose}:  {step}", soft_wrap=True, markup=False)
    for remark in conclusion.remarks:
        console.print(f"to look at:  {remark}", soft_wrap=True, markup=False)
    for output, origin in gone.items():
        said = f"{output} was removed with the run that made it: {origin}"
        console.print(said, soft_wrap=True, markup=False)
    steps = Table("step", "state", "seconds", title="steps", title_justify="left")
    for one in run.steps:
        steps.add_row(one.name, one.state, f"{one.seconds:.1f}")
    print_folded(steps)
    for title, values in _sections(run).items():
        if values:
            table = Table("name", "value", title=title, title_justify="left")
            for key, value in values.items():
                table.add_row(key, str(value))
            print_folded(table)


def _sections(run: PastRun) -> dict[str, dict[str, Any]]:
    hints = (run.record.validation or {}).get("hints", ())
    return {
        "metrics": {name: f"{value:.6g}" for name, value in run.metrics.items()},
        "hints": {
            f"{one['column']}: {one['kind']}": f"{one['text']} {one['fix']}" for one in hints
        },
        "version": dict(run.record.version or {}),
        "endpoint": dict(run.record.endpoint or {}),
        "digests": run.digests,
        "parameters": leaves(run.parameters) if run.parameters else {},
    }


@runs.command("compare")
@click.argument("first", shell_complete=complete_run)
@click.argument("second", shell_complete=complete_run)
@past_runs_option
@_JSON
def compare_runs(first: str, second: str, root: Path, as_json: bool) -> None:
    """Show what differs between two runs: parameters, digests, metrics and time.

    A run may be `latest`, or named by the beginning or the end of its name.
    """
    (first, one), (second, two) = find_run(root, first), find_run(root, second)
    differences = compare(one, two)
    alike = measured_alike(one, two)
    if as_json:
        click.echo(json.dumps({"runs": [first, second], **differences, "same_rows": alike}))
        return
    click.echo(f"first:  {first}\nsecond: {second}\n")
    for kind, values in differences.items():
        print_differences(kind, values)
        if kind == "metrics" and values and not alike:
            click.echo(f"  {OTHER_ROWS}")


@runs.command("best")
@click.option("--metric", required=True, help="A metric of the evaluations: roc_auc, rmse, …")
@click.option(
    "--lowest/--highest", default=None, help="Which is better; default: as the metric is."
)
@click.option("--model", default="", help="Of the runs for this model alone.")
@click.option("--label", default="", help="Of the runs that predict this column alone.")
@past_runs_option
@_JSON
def best(
    metric: str, lowest: bool | None, model: str, label: str, root: Path, as_json: bool
) -> None:
    """Show the run with the best value of a metric, of the runs for one model and label."""
    found, unreadable = _read_runs(run_folders(root))
    for other, error in unreadable.items():
        click.echo(f"{other} is left out: {error}", err=True)
    if not found:
        raise MissingError("no runs", where=root)
    candidates = {
        name: run
        for name, run in found.items()
        if (not model or run.model == model) and (not label or run.label == label)
    }
    name = best_of({name: run.metrics for name, run in candidates.items()}, metric, lowest)
    measured = {name: run for name, run in candidates.items() if metric in run.metrics}
    _check_one({run.model for run in measured.values()}, "model", root)
    _check_one({run.label for run in measured.values()}, "label", root)
    run = measured[name]
    others = [other for other in measured.values() if not measured_alike(run, other)]
    if as_json:
        answer = {"name": name, "value": run.metrics[metric], "other_rows": len(others)}
        click.echo(json.dumps({**answer, **asdict(run)}))
        return
    version = run.record.version
    click.echo(f"{name}  {metric} {run.metrics[metric]:.6g}")
    if others:
        click.echo(f"{len(others)} of {len(measured)} runs: {OTHER_ROWS}")
    if version is None:
        click.echo("no version was published")
        return
    click.echo(f"version: {version['uri']}")
    print_uses(version["uri"])


def _check_one(values: set[str], what: str, root: Path) -> None:
    if len(values) > 1:
        raise ParameterError(
            f"the runs are of several {what}s",
            where=root,
            got=", ".join(sorted(value or f"no {what}" for value in values)),
            fix=f"choose one with --{what}",
        )


@runs.command("trials")
@click.argument("name", default="latest", shell_complete=complete_run)
@past_runs_option
@_JSON
def trials(name: str, root: Path, as_json: bool) -> None:
    """The trials of a search, best first. NAME: a run of `tune`, a study's URI, or `latest`.

    Those of a run on Kubeflow: `kfp-suite runs cluster trials`.
    """
    from kfp_suite.components.train.tune.study import Study

    uri = name
    if "_studies/" not in name:
        run_name, run = _find_search(root, name)
        if run.record.study is None:
            raise MissingError("the run searched nothing", where=run_name, fix="name a run of tune")
        uri = run.record.study["uri"]
    print_trials(Study.open(uri).trials(), as_json)


def _find_search(root: Path, name: str) -> tuple[str, PastRun]:
    try:
        return find_run(root, name)
    except MissingError as error:
        there = "one on Kubeflow: kfp-suite runs cluster trials"
        error.fix = f"{error.fix}; {there}" if error.fix else there
        raise


@runs.command("watch")
@click.argument("run_id")
@on_kubeflow
def watch(run_id: str, connect: Connect) -> None:
    """Watch a run on Kubeflow; the exit code follows it. Ctrl-C leaves it running."""
    from kfp_suite.cli.watch import watch_run

    watch_run(connect(), run_id, Console(highlight=False), connect.command)


@runs.command("terminate")
@click.argument("run_id")
@on_kubeflow
def terminate(run_id: str, connect: Callable[[], Any]) -> None:
    """End a run on Kubeflow."""
    backend = connect()
    backend.call(f"run {run_id}", lambda: backend.client.terminate_run(run_id))
    click.echo(f"{run_id} is being terminated")
