"""kfp-suite submit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from kfp_suite.cli.adapting import sent_to_kubeflow
from kfp_suite.cli.connection import Connect, on_kubeflow
from kfp_suite.cli.parameter_options import assignments_option, params_option
from kfp_suite.cli.run_options import check_option, pipeline_root_option


@click.command("submit")
@click.argument("pipeline")
@params_option
@assignments_option
@click.option(
    "--from", "origin", metavar="VERSION", default="", help="STORE/MODEL/VERSION; as in `run`."
)
@click.option("--experiment", default="Default", show_default=True)
@click.option("--name", default="", help="Of the run.  [default: pipeline and time]")
@click.option("--service-account", default="", help="That the steps run as.")
@pipeline_root_option
@check_option
@click.option(
    "--cache/--no-cache",
    default=True,
    help="Take from KFP's cache what it has, or run every task.  [cache]",
)
@sent_to_kubeflow
@click.option("--watch", is_flag=True, help="Show its progress; the exit code follows the run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@on_kubeflow
def submit(
    pipeline: str,
    params: str | None,
    assignments: tuple[str, ...],
    origin: str,
    experiment: str,
    name: str,
    service_account: str,
    pipeline_root: str,
    check: bool,
    cache: bool,
    watch: bool,
    as_json: bool,
    package_of: Callable[..., Any],
    connect: Connect,
) -> None:
    """Run PIPELINE on Kubeflow; it is uploaded where this version of it is not there."""
    from kfp_suite.cli.watch import watch_run
    from kfp_suite.kubeflow.arguments import cluster_arguments
    from kfp_suite.kubeflow.launching import Order, run
    from kfp_suite.kubeflow.workflow_size import tell_excess
    from kfp_suite.local.parameters import parse_assignments

    package = package_of(pipeline, cache=cache)
    assigned = parse_assignments(assignments, package.parameters)
    arguments = cluster_arguments(package, params, assigned, origin)
    backend = connect()
    order = Order(name, experiment, service_account, pipeline_root, check)
    done, prepared = run(backend, package, arguments, order)
    if as_json:
        click.echo(json.dumps({**asdict(done), **prepared.to_json()}))
    else:
        click.echo(f"run {done.run_id}: {done.name}")
        click.echo(done.link)
        for line in prepared.lines:
            click.echo(line)
    if excess := tell_excess(package.content, arguments):
        click.echo(excess, err=True)
    if watch:
        console = Console(stderr=as_json, highlight=False)
        watch_run(backend, done.run_id, console, connect.command)
    elif not as_json:
        click.echo(f"watch it:  {connect.command(f'runs watch {done.run_id}')}")
