"""kfp-suite new."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("new")
def new() -> None:
    """Start something of your own."""


@new.command("component")
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Your project's folder, or a checkout of the suite.  [default: here]",
)
@click.option("--summary", default="", help="What it does, in one line.")
def component(name: str, into: Path, summary: str) -> None:
    """Write a component NAME that works: its interface, its executor, its page and its test."""
    from kfp_suite.scaffold.component import new_component

    made = new_component(name, into, summary)
    click.echo(f"{made.folder}: component.py is its interface, executor.py its work")
    click.echo(f"{made.test}")
    if made.in_suite:
        click.echo("next:  make test")
        return
    click.echo(f"next:  python -m pytest {made.test}")
    click.echo(
        "and where a step finds it:  kfp-suite images build --extend requirements.txt, with your "
        "package in it"
    )
