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

from kfp_suite.cli.adapting import image_lock_option
from kfp_suite.cli.connection import Connect, on_kubeflow
from kfp_suite.contracts.errors import KfpSuiteError, RunError
from kfp_suite.local.diagnosis import diagnose
from kfp_suite.local.findings import Finding, judged

_AREAS = {
    "local": "run and serve on this machine",
    "docker": "run in containers (--runner docker)",
    "cluster": "deploy to a cluster (target: cluster)",
    "kubeflow": "upload, submit and schedule",
}
_MARKS = {
    "ok": "[green]✓[/]",
    "unknown": "[yellow]?[/]",
    "warning": "[yellow]![/]",
    "error": "[red]✗[/]",
}


@click.command("doctor")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kfp-suite-runs"),
    show_default=True,
    help="The folder that runs would use.",
)
@image_lock_option
@click.option(
    "--service-account",
    default="",
    help="That runs will have.  [default: the installation's]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@on_kubeflow
def doctor(
    root: Path, lock_file: Path | None, service_account: str, as_json: bool, connect: Connect
) -> None:
    """Say what this machine can run, and what is missing. Exit 0 if it can run locally.

    With --host or --kube-context also whether Kubeflow answers, and what its cluster has for
    endpoints: KServe, rights, nodes. -n is the namespace of runs, and of endpoints.
    """
    backend, kubeflow = _kubeflow(connect)
    cluster = _cluster(connect, backend, service_account)
    findings = [*diagnose(root), *cluster, *kubeflow, *_images(lock_file)]
    able = {area: all(f.level != "error" for f in findings if f.area == area) for area in _AREAS}
    if as_json:
        click.echo(json.dumps({"able": able, "findings": [asdict(f) for f in findings]}))
    else:
        console = Console(highlight=False)
        for area, purpose in _AREAS.items():
            answer = "[green]yes[/]" if able[area] else "[red]no[/]"
            console.print(f"[bold]{area}[/]: {purpose}: {answer}")
            for finding in (f for f in findings if f.area == area):
                console.print(f"  {_MARKS[finding.level]} {escape(str(finding))}", soft_wrap=True)
    if not able["local"]:
        raise RunError("this machine cannot run pipelines", fix="mend what is marked ✗ above")


def _kubeflow(connect: Connect) -> tuple[Any, list[Finding]]:
    """The Kubeflow that somebody has named, None if it does not answer; and its findings."""
    what = "Kubeflow Pipelines"
    if not connect.named:
        remedy = "set KF_PIPELINES_ENDPOINT, or give --host or --kube-context"
        return None, [judged("kubeflow", what, False, "no host named", remedy)]
    try:
        backend = connect()
        health = backend.health()
        # What only somebody who is allowed to can see; runs are those of the namespace.
        next(iter(backend.pages("pipelines", _pipelines(backend), "pipelines")), None)
        next(iter(backend.pages("runs", _runs(backend), "runs")), None)
    except KfpSuiteError as error:
        told = "; ".join(part for part in (error.what, error.got) if part)
        found = judged("kubeflow", what, False, f"{error.where}: {told}", error.fix or "")
        return None, [found]
    users = f"several users, in {backend.namespace}" if health.multi_user else "one user"
    told = f"{backend.host}: answers, version {health.version or 'unknown'}, of {users}"
    findings = [judged("kubeflow", what, True, told)]
    if health.skew:
        findings.append(judged("kubeflow", "its version", False, health.skew, "ask its operator"))
    return backend, findings


def _cluster(connect: Connect, backend: Any, account: str) -> list[Finding]:
    """What the cluster of the credentials has for endpoints, and for runs if Kubeflow answers."""
    from kfp_suite.kubeflow.cluster_checks import AREA, Wanted, look_at_cluster, runs_in

    connection = connect.connection
    wanted = Wanted(
        namespace=connection.namespace or "default",
        runs_in=runs_in(backend) if backend else "",
        account=account,
    )
    return look_at_cluster(connection, wanted) or [
        judged(AREA, "Kubernetes", False, "no kubeconfig, and no pod", "set KUBECONFIG")
    ]


def _images(lock_file: Path | None) -> list[Finding]:
    """Whether the images of a lock are of the code that is here."""
    from kfp_suite.image_builder.image_lock import adapted

    if lock_file is None:
        remedy = "kfp-suite images build --push, then set KFP_SUITE_IMAGE_LOCK, or --image-lock"
        return [Finding("kubeflow", "images", "warning", "no image lock named", remedy)]
    try:
        adapted(lock_file)
    except KfpSuiteError as error:
        return [
            judged("kubeflow", "images", False, f"{error.where}: {error.what}", error.fix or "")
        ]
    return [judged("kubeflow", "images", True, f"{lock_file}: of this code")]


def _pipelines(backend: Any) -> Callable[[str], Any]:
    return lambda token: backend.client.pipelines.pipeline_service_list_pipelines(
        namespace=backend.namespace, page_token=token, page_size=1
    )


def _runs(backend: Any) -> Callable[[str], Any]:
    return lambda token: backend.client.list_runs(
        namespace=backend.namespace, page_token=token, page_size=1
    )
