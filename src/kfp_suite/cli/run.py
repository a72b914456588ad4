"""kfp-suite run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kfp_suite.cli.completion import complete_model, complete_params, complete_pipeline
from kfp_suite.cli.parameter_options import assignments_option
from kfp_suite.cli.progress import Progress
from kfp_suite.cli.run_summary import print_summary, summary_json
from kfp_suite.contracts.errors import KfpSuiteError, ParameterError, RunError
from kfp_suite.local.arguments import run_arguments
from kfp_suite.local.catalog import find_pipeline, load, step_names
from kfp_suite.local.conclusion import DEFAULT_ROOT, conclude, open_command
from kfp_suite.local.docker import check_docker, images_of
from kfp_suite.local.history import PastRun, read_run
from kfp_suite.local.local import RunInterrupted, open_root, run_locally
from kfp_suite.local.parameters import (
    parameter_file,
    parameters_of,
    parse_assignments,
    shipped_files,
)
from kfp_suite.local.preflight import check_libraries
from kfp_suite.runtimes.local import LOOPBACK, check_port


@click.command("run")
@click.argument("pipeline", shell_complete=complete_pipeline)
@click.option(
    "--params",
    metavar="FILE",
    shell_complete=complete_params,
    help=f"Parameter file, or one that comes with the suite: {', '.join(shipped_files())}.",
)
@assignments_option
@click.option(
    "--from",
    "origin",
    metavar="VERSION",
    default="",
    shell_complete=complete_model,
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
    default=DEFAULT_ROOT,
    show_default=True,
    help="Folder for runs, staged data, cache and the default store.",
)
@click.option("--no-cache", is_flag=True, help="Run every step, whatever was run before.")
@click.option(
    "--max-step-seconds",
    type=click.IntRange(1),
    help="How long a step may take; then it is ended, and the run fails.  [default: what the "
    "pipeline gives it on a cluster too: 24 hours of training, 6 or 1 of others]",
)
@click.option(
    "--no-serve",
    is_flag=True,
    help="Do not start the endpoint and check its answer: the version is published, and the "
    "champion stays what it was.",
)
@click.option("--keep", is_flag=True, help="Keep the endpoint up until Ctrl-C.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the endpoint.")
@click.option(
    "--require-blessed",
    is_flag=True,
    help="Exit 1 if the data, the model or its rollout were refused.",
)
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
    max_step_seconds: int | None,
    no_serve: bool,
    keep: bool,
    port: int | None,
    require_blessed: bool,
    as_json: bool,
) -> None:
    """Run PIPELINE on this machine, from raw data to a live endpoint.

    Exit code 0 if the pipeline succeeded (also if it refused a model, and said why), 1 if it
    failed, 2 for bad input, 130 if it was interrupted.
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
    check_runner = check_docker if runner == "docker" else check_libraries
    check_runner(images_of(loaded))
    if arguments.get("target") == "cluster":
        _check_askable(arguments)
    if port and not no_serve and "manifest" not in arguments:
        check_port(LOOPBACK, port)  # now, and not after the run
    console.print(f"[bold]{entry.name}[/]: {entry.summary}")
    try:
        with Progress(console) as progress:
            finished = run_locally(
                entry.name,
                arguments,
                runs,
                runner=runner,
                network=network,
                caching=not no_cache,
                max_step_seconds=max_step_seconds,
                on_event=progress,
            )
    except KfpSuiteError as error:  # not even its folder could be written
        if as_json:
            click.echo(json.dumps({"run_id": None, "status": "FAILED", "error": str(error)}))
        raise
    except RunInterrupted as error:
        _conclude(error.folder, step_names(loaded), None, console, as_json)
        raise
    endpoint: dict[str, Any] | None = None
    failure, interrupted = finished.failure, None
    if finished.manifest and not no_serve:
        from kfp_suite.cli.endpoint import check_endpoint

        try:
            endpoint = check_endpoint(finished, port, keep, console)
        except KfpSuiteError as error:
            failure = error
        except KeyboardInterrupt as error:
            interrupted = error
    finished.keep(endpoint)
    folder = finished.folder
    past = _conclude(folder, step_names(loaded), failure, console, as_json)
    if interrupted is not None:
        raise interrupted
    if failure is not None:
        raise failure
    conclusion = conclude(past, folder)
    if require_blessed and conclusion.refused:
        raise RunError(
            f"the run ended without what it is for: {conclusion.outcome}",
            where=folder,
            got="; ".join(conclusion.reasons),
            fix=open_command(folder),
        )


def _check_askable(arguments: Mapping[str, Any]) -> None:
    """Raise ParameterError if the last step could not ask the endpoint from this machine."""
    from kfp_suite.kserve.cluster import Cluster
    from kfp_suite.kserve.settings import parse_settings
    from kfp_suite.kserve.smoke import check_askable

    cluster = Cluster()
    name = parse_settings(arguments.get("endpoint", {})).name or arguments["model_name"]
    live = cluster.find(name, str(arguments.get("namespace", "default")))
    check_askable(cluster, live, str(arguments.get("ingress", "")))


def _conclude(
    folder: Path,
    all_steps: Iterable[str],
    failure: KfpSuiteError | None,
    console: Console,
    as_json: bool,
) -> PastRun:
    """Say what came of a run that is over, and return it."""
    past = read_run(folder)
    print_summary(past, folder, all_steps, failure is not None, console)
    sys.stdout.flush()
    if as_json:
        click.echo(json.dumps(summary_json(past, folder, failure)))
    return past
