"""Runs of a Kubeflow, as `kfp-suite runs` shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kfp_suite.contracts.errors import MissingError, did_you_mean
from kfp_suite.kubeflow.argo import Workflow, workflow_of
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.run_state import Pipeline, RunState, state_of
from kfp_suite.kubeflow.submitting import runs_named
from kfp_suite.kubeflow.watching import pipeline_of

USUAL_ROOT = "minio://mlpipeline/v2/artifacts"
"""Where artifacts go when neither the run nor the installation says another place."""
_LOOKED_AT = 100
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class ClusterRun:
    """A run: how far it is, when it was created (ISO 8601), and what it was called with.

    `root` is the folder of its artifacts, empty if its pipeline is there no more.
    """

    state: RunState
    created_at: str
    parameters: dict[str, Any]
    root: str = ""

    @property
    def seconds(self) -> dict[str, float]:
        """How long each task took that has ended."""
        return {t.name: t.seconds for t in self.state.tasks if t.seconds is not None}


def cluster_runs(backend: Backend, limit: int) -> list[ClusterRun]:
    """The newest runs, the newest first.

    Args:
        backend: Where.
        limit: How many, at most 200.
    """
    page = backend.call(
        "runs",
        lambda: backend.client.list_runs(
            page_size=limit, sort_by="created_at desc", namespace=backend.namespace
        ),
    )
    return [_read(one) for one in page.runs or ()]


def newest_runs(backend: Backend, limit: int) -> list[ClusterRun]:
    """The newest runs that are over, each with its root."""
    return [
        cluster_run(backend, run.state.id) for run in cluster_runs(backend, limit) if run.state.over
    ]


def find_cluster_run(backend: Backend, name: str) -> ClusterRun:
    """A run by its identifier or its name (of several, the newest), or `latest`.

    Raises:
        MissingError: there is none; with the near miss among the newest 100.
    """
    if _ID.fullmatch(name):
        return cluster_run(backend, name)
    named = [] if name == "latest" else runs_named(backend, name)
    if named:
        return cluster_run(backend, max(named, key=lambda run: run.created_at).run_id)
    newest = cluster_runs(backend, _LOOKED_AT)
    if name == "latest" and newest:
        return cluster_run(backend, newest[0].state.id)
    known = [run.state.name for run in newest]
    raise MissingError(f"no run '{name}'", where=backend.host, fix=did_you_mean(name, known))


def cluster_run(backend: Backend, run_id: str) -> ClusterRun:
    """A run by its identifier, with its root. Raises MissingError, and as `Backend.call`."""
    run = backend.call(f"run {run_id}", lambda: backend.client.get_run(run_id))
    return _read(run, pipeline_of(backend, run), workflow_of(backend, run_id))


def _read(
    run: Any, pipeline: Pipeline | None = None, workflow: Workflow | None = None
) -> ClusterRun:
    config = run.runtime_config
    root = (config.pipeline_root if config else None) or USUAL_ROOT
    return ClusterRun(
        state_of(run, pipeline, workflow),
        run.created_at.isoformat(timespec="seconds") if run.created_at else "",
        (config.parameters if config else None) or {},
        f"{root.partition('?')[0].rstrip('/')}/{pipeline.name}/{run.run_id}" if pipeline else "",
    )
