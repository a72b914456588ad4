"""kfp-suite doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from kfp_suite.components.contracts.errors import RunError
from kfp_suite.pipelines.runs.diagnosis import diagnose

_AREAS = {
    "local": "run and serve on this machine",
    "docker": "run in containers (--runner docker)",
    "cluster": "deploy to a cluster (target: cluster)",
}


@click.command("doctor")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kfp-suite-runs"),
    show_default=True,
    help="The folder that runs would use.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(root: Path, as_json: bool) -> None:
    """Say what this machine can run, and what is missing. Exit 0 if it can run locally."""
    findings = diagnose(root)
    able = {area: all(f.ok for f in findings if f.area == area) for area in _AREAS}
    if as_json:
        click.echo(json.dumps({"able": able, "findings": [asdict(f) for f in findings]}))
    else:
        console = Console(highlight=False)
        for area, purpose in _AREAS.items():
            answer = "[green]yes[/]" if able[area] else "[red]no[/]"
            console.print(f"[bold]{area}[/]: {purpose}: {answer}")
            for finding in (f for f in findings if f.area == area):
                mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
                fix = "" if finding.ok else f"; {finding.fix}"
                words = escape(f"{finding.what}: {finding.found}{fix}")
                console.print(f"  {mark} {words}", soft_wrap=True)
    if not able["local"]:
        raise RunError("this machine cannot run pipelines", fix="mend what is marked ✗ above")
