"""kfp-suite doctor."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from kfp_suite.cli.connection import Connect, on_kubeflow
from kfp_suite.contracts.errors import KfpSuiteError, RunError
from kfp_suite.local.diagnosis import Finding, diagnose

_AREAS = {
    "local": "run and serve on this machine",
    "docker": "run in containers (--runner docker)",
    "cluster": "deploy to a cluster (target: cluster)",
    "kubeflow": "upload, submit and schedule",
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
@on_kubeflow
def doctor(root: Path, as_json: bool, connect: Connect) -> None:
    """Say what this machine can run, and what is missing. Exit 0 if it can run locally."""
    findings = [*diagnose(root), *_kubeflow(connect)]
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


def _kubeflow(connect: Connect) -> list[Finding]:
    """What a Kubeflow answers, where somebody has named one."""
    what = "Kubeflow Pipelines"
    if not connect.named:
        fix = "set KF_PIPELINES_ENDPOINT, or give --host or --kube-context"
        return [Finding("kubeflow", what, False, "no host named", fix)]
    try:
        backend = connect()
        health = backend.health()
        # What only somebody who is allowed to can see; runs are those of the namespace.
        next(iter(backend.pages("pipelines", _pipelines(backend), "pipelines")), None)
        next(iter(backend.pages("runs", _runs(backend), "runs")), None)
    except KfpSuiteError as error:
        told = "; ".join(part for part in (error.what, error.got) if part)
        return [Finding("kubeflow", what, False, f"{error.where}: {told}", error.fix or "")]
    users = f"several users, in {backend.namespace}" if health.multi_user else "one user"
    found = f"{backend.host}: answers, version {health.version or 'unknown'}, of {users}"
    findings = [Finding("kubeflow", what, True, found)]
    if health.skew:
        findings.append(Finding("kubeflow", "its version", False, health.skew, "ask its operator"))
    return findings


def _pipelines(backend: Any) -> Callable[[str], Any]:
    return lambda token: backend.client.pipelines.pipeline_service_list_pipelines(
        namespace=backend.namespace, page_token=token, page_size=1
    )


def _runs(backend: Any) -> Callable[[str], Any]:
    return lambda token: backend.client.list_runs(
        namespace=backend.namespace, page_token=token, page_size=1
    )
