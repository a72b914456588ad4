"""Runs of a Kubeflow, as `kfp-suite runs` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp_suite.components.contracts.errors import MissingError, did_you_mean
from kfp_suite.pipelines.kubeflow.connection import Backend
from kfp_suite.pipelines.kubeflow.watching import RunState, state_of

_LOOKED_AT = 100


@dataclass(frozen=True)
class ClusterRun:
    """A run: how far it is, when it was created (ISO 8601), and what it was called with."""

    state: RunState
    created_at: str
    parameters: dict[str, Any]

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


def find_cluster_run(backend: Backend, name: str) -> ClusterRun:
    """A run by its identifier or its name, or `latest`.

    Raises:
        MissingError: there is none among the newest 100; with the near miss.
    """
    found = cluster_runs(backend, _LOOKED_AT)
    for run in found:
        if name in ("latest", run.state.id, run.state.name):
            whole = backend.call(f"run {name}", lambda: backend.client.get_run(run.state.id))  # noqa: B023
            return _read(whole)
    known = [run.state.name for run in found]
    raise MissingError(f"no run '{name}'", where=backend.host, fix=did_you_mean(name, known))


def _read(run: Any) -> ClusterRun:
    config = run.runtime_config
    return ClusterRun(
        state_of(run),
        run.created_at.isoformat(timespec="seconds") if run.created_at else "",
        (config.parameters if config else None) or {},
    )
