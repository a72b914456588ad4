"""kfp-suite compile."""

from __future__ import annotations

from pathlib import Path

import click

from kfp_suite.cli.adapting import adaptation, adapted_by_files
from kfp_suite.local.catalog import find_pipeline, pipelines


@click.command("compile")
@click.argument("names", metavar="[PIPELINE]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Compile every pipeline.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="this folder",
    help="The folder to write PIPELINE.yaml to.",
)
@adapted_by_files
def compile(
    names: tuple[str, ...],
    every: bool,
    output: Path,
    lock_file: Path | None,
    resources: Path | None,
) -> None:
    """Compile pipelines to YAML that the Kubeflow UI and the KFP API take."""
    if every == bool(names):
        raise click.UsageError("name the pipelines to compile, or give --all; see kfp-suite list")
    entries = list(pipelines().values()) if every else [find_pipeline(name) for name in names]

    from kfp_suite.local.compilation import compile_pipeline

    adapt = adaptation(lock_file, resources)
    for entry in entries:
        click.echo(compile_pipeline(entry, output, adapt))
