"""A run as it goes on: looked at again and again until it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from kfp_suite.contracts.errors import MissingError, TransientError
from kfp_suite.kubeflow.argo import Workflow, workflow_of
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.run_state import Pipeline, RunState, state_of
from kfp_suite.kubeflow.task import ENDED, Task

POLL_SECONDS = 3.0
PATIENCE_SECONDS = 600.0
"""How long a watch goes on while nothing answers."""
CLOSER_SECONDS = 15.0
"""After how long without a change Argo is asked what a task waits for."""


def run_state(backend: Backend, run_id: str) -> RunState:
    """A run as it is now. Raises MissingError, and as `Backend.call`."""
    run = backend.call(f"run {run_id}", lambda: backend.client.get_run(run_id))
    return state_of(run, pipeline_of(backend, run), workflow_of(backend, run_id))


def pipeline_of(backend: Backend, run: Any) -> Pipeline | None:
    """A run's pipeline, None if it is gone.

    kfp's own `create_run_from_pipeline_package` sends it with the run, and makes no version.
    """
    whole = run.pipeline_spec or _of_version(backend, run.pipeline_version_reference)
    if not whole:
        return None
    spec = whole.get("pipeline_spec", whole)
    return Pipeline(spec["pipelineInfo"]["name"], _executed(spec))


def _of_version(backend: Backend, reference: Any) -> Any:
    if reference is None:
        return None
    try:
        version = backend.call(
            f"version {reference.pipeline_version_id}",
            lambda: backend.client.get_pipeline_version(
                reference.pipeline_id, reference.pipeline_version_id
            ),
        )
    except MissingError:
        return None
    return version.pipeline_spec


def follow(
    backend: Backend,
    run_id: str,
    on_look: Callable[[RunState, list[Task]], None],
    on_lost: Callable[[TransientError], None] = lambda _: None,
) -> RunState:
    """Watch a run until it is over.

    Args:
        backend: Where.
        run_id: Which.
        on_look: Called at each look, with the run and the tasks whose state, or reason to wait,
            has changed.
        on_lost: Called when it cannot be reached for now.

    Raises:
        TransientError: it could not be reached for ten minutes.
    """
    changes = _Changes()
    workflow: Workflow | None = None
    pipeline: Pipeline | None = None
    looked, reached, changed_at = False, time.monotonic(), time.monotonic()
    while True:
        try:
            raw = backend.call(f"run {run_id}", lambda: backend.client.get_run(run_id))
            if not looked:
                pipeline, looked = pipeline_of(backend, raw), True
        except TransientError as error:
            if time.monotonic() - reached > PATIENCE_SECONDS:
                raise
            on_lost(error)
            backend.sleep(POLL_SECONDS)
            continue
        reached = time.monotonic()
        run = state_of(raw, pipeline)
        quiet = reached - changed_at > CLOSER_SECONDS
        lost = workflow is not None and workflow.is_compressed
        if run.over or quiet or lost or changes.any_ended(run.tasks):
            workflow, changed_at = workflow_of(backend, run_id), reached
            run = state_of(raw, pipeline, workflow)
        changed = changes.take(run.tasks)
        if changed:
            changed_at = reached
        on_look(run, changed)
        if run.over:
            return run
        backend.sleep(POLL_SECONDS)


class _Changes:
    """What was told of each task: the tasks of a loop have one name, and are told by order."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], Task] = {}

    def any_ended(self, tasks: Sequence[Task]) -> bool:
        """Whether one has ended since it was told."""
        return any(task.state in ENDED for _, task in self._new(tasks))

    def take(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks that have changed since they were told, which they are now."""
        new = self._new(tasks)
        self._told.update(new)
        return [task for _, task in new]

    def _new(self, tasks: Sequence[Task]) -> list[tuple[tuple[str, int], Task]]:
        count: Counter[str] = Counter()
        found = []
        for task in tasks:
            key = task.name, count[task.name]
            count[task.name] += 1
            told = self._told.get(key)
            if told is None or (
                told.state not in ENDED
                and (told.state != task.state or task.reason not in ("", told.reason))
            ):
                found.append((key, task))
        return found


def _executed(spec: Any) -> tuple[str, ...]:
    components = spec.get("components", {})
    dags = [spec["root"], *components.values()]
    return tuple(
        name
        for dag in dags
        for name, task in dag.get("dag", {}).get("tasks", {}).items()
        if "executorLabel" in components[task["componentRef"]["name"]]
    )
