"""kfp-suite run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kfp_suite.components.contracts.errors import KfpSuiteError, ParameterError, RunError
from kfp_suite.pipelines.cli.progress import Progress
from kfp_suite.pipelines.runs.arguments import run_arguments
from kfp_suite.pipelines.runs.catalog import find_pipeline, load
from kfp_suite.pipelines.runs.docker import check_docker, images_of
from kfp_suite.pipelines.runs.history import LOG
from kfp_suite.pipelines.runs.local import LocalRun, open_root, run_locally
from kfp_suite.pipelines.runs.outputs import Outputs
from kfp_suite.pipelines.runs.parameters import (
    parameter_file,
    parameters_of,
    parse_assignments,
    shipped_files,
)
from kfp_suite.pipelines.runs.preflight import check_libraries
from kfp_suite.pipelines.runs.reports import collect_reports


@click.command("run")
@click.argument("pipeline")
@click.option(
    "--params",
    metavar="FILE",
    help=f"Parameter file, or one that comes with the suite: {', '.join(shipped_files())}.",
)
@click.option(
    "--param",
    "assignments",
    metavar="NAME=VALUE",
    multiple=True,
    help="One parameter; a.b=VALUE reaches into a mapping. Repeatable.",
)
@click.option(
    "--from",
    "origin",
    metavar="VERSION",
    default="",
    help="STORE/MODEL/VERSION: its parameters, where nothing else says; with `tune`, a wider "
    "search around it.",
)
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Run each step in this environment, or in its container.",
)
@click.option(
    "--network",
    default="",
    help="The Docker network of the steps' containers; `none` where sources and store are on "
    "this machine.  [default: Docker's own]",
)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kfp-suite-runs"),
    show_default=True,
    help="Folder for runs, staged data, cache and the default store.",
)
@click.option("--no-cache", is_flag=True, help="Run every step, whatever was run before.")
@click.option("--no-serve", is_flag=True, help="Do not start the endpoint and check its answer.")
@click.option("--keep", is_flag=True, help="Keep the endpoint up until Ctrl-C.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the endpoint.")
@click.option("--require-blessed", is_flag=True, help="Exit 1 where the model was not blessed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def run(
    pipeline: str,
    params: str | None,
    assignments: tuple[str, ...],
    origin: str,
    runner: str,
    network: str,
    root: Path,
    no_cache: bool,
    no_serve: bool,
    keep: bool,
    port: int | None,
    require_blessed: bool,
    as_json: bool,
) -> None:
    """Run PIPELINE on this machine, from raw data to a live endpoint.

    Exit code 0 if the pipeline succeeded (also where it refused a model, and said why),
    1 if it failed, 2 for bad input.
    """
    console = Console(stderr=as_json, highlight=False)
    entry = find_pipeline(pipeline)
    runs = open_root(root)
    file = parameter_file(params) if params else None
    loaded = load(entry)
    assigned = parse_assignments(assignments, parameters_of(loaded))
    arguments = run_arguments(loaded, file, assigned, runs, origin)

    if network and runner != "docker":
        raise ParameterError(
            "only containers have a Docker network", where="--network", fix="--runner docker"
        )
    if runner == "docker":
        check_docker(images_of(loaded))
    else:
        check_libraries(images_of(loaded))
    console.print(f"[bold]{entry.name}[/]: {entry.summary}")
    with Progress(console) as progress:
        finished = run_locally(
            entry.name,
            arguments,
            runs,
            runner=runner,
            network=network,
            caching=not no_cache,
            on_event=progress,
        )
    endpoint: dict[str, Any] | None = None
    failure = finished.failure
    if finished.manifest and not no_serve:
        from kfp_suite.pipelines.cli.endpoint import check_endpoint

        try:
            endpoint = check_endpoint(finished, port, keep, console)
        except KfpSuiteError as error:
            failure = error
    finished.keep(endpoint)
    _report(finished, endpoint, console)
    if as_json:
        click.echo(json.dumps(_answer(finished, endpoint, failure)))
    if failure is not None:
        raise failure
    if require_blessed and finished.record.version is None:
        raise RunError(
            "the model was not blessed",
            where=finished.folder,
            got="; ".join(finished.record.reasons) or "no reason given",
            fix="read the reports",
        )


def _answer(
    finished: LocalRun, endpoint: dict[str, Any] | None, failure: KfpSuiteError | None
) -> dict[str, Any]:
    record = finished.record
    version = record.version or {}
    evaluation = record.evaluation or {}
    return {
        "run_id": record.run,
        "status": "FAILED" if failure else record.status,
        "pipeline": record.pipeline,
        "folder": str(finished.folder),
        "blessed": evaluation.get("blessed"),
        "reasons": record.reasons,
        "model": version.get("model"),
        "version": version.get("version"),
        "versions": [published["version"] for published in record.versions],
        "uri": version.get("uri"),
        "digest": version.get("digest"),
        "manifest_digest": version.get("manifest_digest"),
        "dataset_digest": evaluation.get("dataset_digest"),
        "metrics": {k: m.get("value") for k, m in evaluation.get("metrics", {}).items()},
        "outputs": {name: str(path) for name, path in Outputs(finished.folder).items()},
        "reports": {step: str(path) for step, path in collect_reports(finished.folder).items()},
        "endpoint": endpoint or record.endpoint,
        "steps": {
            step.name: {"state": step.state, "seconds": step.seconds} for step in finished.steps
        },
        "error": str(failure) if failure else None,
    }


def _report(finished: LocalRun, endpoint: dict[str, Any] | None, console: Console) -> None:
    record = finished.record
    console.print()
    rows = [("run", str(finished.folder)), ("log", str(finished.folder / LOG))]
    reports = collect_reports(finished.folder)
    rows += [(f"report of {step}", str(path)) for step, path in reports.items()]
    for older in record.versions[:-1]:
        rows.append(("model", f"{older['model']} version {older['version']}"))
    if record.version:
        rows.append(("model", f"{record.version['model']} version {record.version['version']}"))
        rows.append(("stored at", record.version["uri"]))
        rows.append(("digest", record.version["digest"]))
    if record.endpoint and record.endpoint["manifest"]:
        rows.append(("manifest", record.endpoint["manifest"]))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(f"[bold]{name:>{width}}[/]  {value}", soft_wrap=True)
    if finished.succeeded and (record.reasons or not record.version):
        missing = "served" if record.version else "published"
        console.print(f"\n[yellow]no version was {missing}:[/]")
        for reason in record.reasons:
            console.print(f"  - {reason}", soft_wrap=True)
    if endpoint:
        console.print("\n[green]the endpoint answered:[/]", end=" ")
        console.print(json.dumps(endpoint["answer"]), soft_wrap=True, markup=False)
        console.print(f"\nkeep it up:  {endpoint['serve']}", soft_wrap=True, markup=False)
        console.print(f"and ask it:  {endpoint['curl']}", soft_wrap=True, markup=False)
    sys.stdout.flush()
