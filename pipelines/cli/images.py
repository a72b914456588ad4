"""kfp-suite images."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from kfp_suite.pipelines.runs.images import BASE, FAMILIES, build


@click.group("images")
def images() -> None:
    """The container images that steps run in."""


@images.command("build")
@click.argument("families", nargs=-1, metavar=f"[{'|'.join(FAMILIES)}]...")
@click.option(
    "--base",
    default=BASE,
    show_default=True,
    help="An image with Python 3.13, or `debian`: made here of Debian's packages.",
)
@click.option(
    "--source",
    default=None,
    help="What to install as kfp-suite: a source folder, a wheel or a requirement.  "
    "[default: this folder if it is the source, else this version]",
)
def build_images(families: tuple[str, ...], base: str, source: str | None) -> None:
    """Build the images of FAMILIES, or of all, from locked wheels and without a network."""
    for family in families or FAMILIES:
        click.echo(build(family, base, source or _source()))


def _source() -> str:
    if Path("pyproject.toml").is_file() and Path("components").is_dir():
        return "."
    return f"kfp-suite=={version('kfp-suite')}"
