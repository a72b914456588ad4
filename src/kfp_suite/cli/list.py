"""kfp-suite list."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from kfp_suite.local.catalog import components, pipelines


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """List pipelines and components with their summaries."""
    groups = {"pipelines": pipelines(), "components": components()}
    if as_json:
        click.echo(
            json.dumps(
                {name: [asdict(e) for e in group.values()] for name, group in groups.items()}
            )
        )
        return
    width = max(len(entry) for group in groups.values() for entry in group)
    for name, group in groups.items():
        click.echo(f"{name}:")
        for entry in group.values():
            click.echo(f"  {entry.name:{width}}  {entry.summary}")
