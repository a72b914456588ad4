"""kfp-suite upload."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from kfp_suite.cli.adapting import sent_to_kubeflow
from kfp_suite.cli.connection import on_kubeflow


@click.command("upload")
@click.argument("pipeline")
@click.option("--version", "name", default="", help="Its name.  [default: by its content]")
@sent_to_kubeflow
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@on_kubeflow
def upload(
    pipeline: str,
    name: str,
    as_json: bool,
    package_of: Callable[[str], Any],
    connect: Callable[[], Any],
) -> None:
    """Upload PIPELINE, or a new version of it, to Kubeflow Pipelines.

    PIPELINE is one of the suite's, or the path of a compiled one. The same content uploaded
    twice is one version.
    """
    from kfp_suite.kubeflow.uploading import upload as execute

    package = package_of(pipeline)
    done = execute(connect(), package, name)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    what = "uploaded" if done.new else "is there already; nothing changed"
    click.echo(f"{done.name}, version {done.version}: {what}")
    click.echo(done.link)
