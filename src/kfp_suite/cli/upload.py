"""kfp-suite upload."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from kfp_suite.cli.adapting import sent_to_kubeflow
from kfp_suite.cli.connection import on_kubeflow
from kfp_suite.local.catalog import pipelines


@click.command("upload")
@click.argument("names", metavar="[PIPELINE]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Upload every pipeline of the suite.")
@click.option("--version", default="", help="Its name.  [default: by its content]")
@sent_to_kubeflow
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a pipeline.")
@on_kubeflow
def upload(
    names: tuple[str, ...],
    every: bool,
    version: str,
    as_json: bool,
    package_of: Callable[[str], Any],
    connect: Callable[[], Any],
) -> None:
    """Upload pipelines, or new versions of them, to Kubeflow Pipelines.

    PIPELINE is one of the suite's, or the path of a compiled one. The same content uploaded
    twice is one version.
    """
    if every == bool(names):
        raise click.UsageError("name the pipelines to upload, or give --all; see kfp-suite list")

    from kfp_suite.kubeflow.uploading import upload as execute

    # All are compiled and checked before the first is sent.
    packages = [package_of(name) for name in (pipelines() if every else names)]
    backend = connect()
    for package in packages:
        done = execute(backend, package, version)
        if as_json:
            click.echo(json.dumps(asdict(done)))
            continue
        what = "uploaded" if done.new else "is there already; nothing changed"
        click.echo(f"{done.name}, version {done.version}: {what}")
        click.echo(done.link)
