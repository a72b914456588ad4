"""Names of identifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.contracts.errors import MissingError
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.scheduling import Schedule


def named(backend: Backend, schedule: Schedule) -> dict[str, str]:
    """The pipeline, the version (or `latest`) and the experiment of a schedule, by name.

    An object that no longer exists is named by its identifier.
    """
    client = backend.client
    version = schedule.version_id
    return {
        "pipeline": _name(backend, schedule.pipeline_id, client.get_pipeline),
        "version": _name(
            backend, version, lambda id: client.get_pipeline_version(schedule.pipeline_id, id)
        )
        if version
        else "latest",
        "experiment": _name(backend, schedule.experiment_id, client.get_experiment),
    }


def renamed(
    backend: Backend, before: Schedule, now: Schedule, differences: Mapping[str, tuple[Any, Any]]
) -> dict[str, tuple[Any, Any]]:
    """Differences between two schedules, with names in place of identifiers."""
    ids = {"pipeline_id": "pipeline", "version_id": "version", "experiment_id": "experiment"}
    if not ids.keys() & differences.keys():
        return dict(differences)
    old, new = named(backend, before), named(backend, now)
    return {
        ids.get(field, field): (old[ids[field]], new[ids[field]]) if field in ids else pair
        for field, pair in differences.items()
    }


def _name(backend: Backend, id: str, ask: Callable[[str], Any]) -> str:
    if not id:
        return ""
    try:
        return str(backend.call(id, lambda: ask(id)).display_name)
    except MissingError:
        return id
