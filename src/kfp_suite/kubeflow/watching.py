"""A run as it goes on: its tasks, their states, and how it ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from kfp_suite.contracts.errors import MissingError, RunError, TransientError
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.submitting import run_link

POLL_SECONDS = 3.0
PATIENCE_SECONDS = 600.0
"""How long a watch goes on while nothing answers."""
_OVER = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
# What Kubeflow puts around tasks: conditions, loops, exit handlers, and what runs a container.
_AROUND = re.compile(
    r"root|.*-driver|executor(\(\d+\))?|.*\.onExit|iteration-(item|iterations(\(.*\))?)"
    r"|(condition(-branches)?|for-loop|exit-handler)-\d+|steps|(if|each)-[a-z-]+"
)


@dataclass(frozen=True)
class Task:
    """A task of a run: `state` as KFP names it; `seconds` that it took, None until it ends."""

    id: str
    name: str
    state: str
    seconds: float | None
    error: str = ""


@dataclass(frozen=True)
class Pipeline:
    """What a run is of: its name, and the tasks that run in a container, or import."""

    name: str
    tasks: frozenset[str]


@dataclass(frozen=True)
class RunState:
    """A run: `state` as KFP names it; `seconds` that it took, None until it ends."""

    id: str
    name: str
    state: str
    tasks: tuple[Task, ...]
    seconds: float | None = None
    error: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in _OVER

    @property
    def failures(self) -> tuple[str, ...]:
        """The tasks that failed, each once, with the reason where one is told."""
        failed = [task for task in self.tasks if task.state == "FAILED"]
        told = (f"{task.name}: {task.error}" if task.error else task.name for task in failed)
        return tuple(dict.fromkeys(told))

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.state in ("SUCCEEDED", "SKIPPED")


def run_state(backend: Backend, run_id: str) -> RunState:
    """A run as it is now. Raises MissingError, and as `Backend.call`."""
    run = backend.call(f"run {run_id}", lambda: backend.client.get_run(run_id))
    pipeline = pipeline_of(backend, run)
    return state_of(run, pipeline.tasks if pipeline else None)


def pipeline_of(backend: Backend, run: Any) -> Pipeline | None:
    """A run's pipeline, None where it is there no more.

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


def state_of(run: Any, names: Container[str] | None = None) -> RunState:
    """A run as the API tells it; tasks in the order in which they started.

    The API tells each node of the engine's, most of which are none of the pipeline's tasks.

    Args:
        run: What the API answers.
        names: Of the tasks; None where they are not known: then by how the engine names its own.
    """
    details = (run.run_details.task_details if run.run_details else None) or ()
    steps = [one for one in details if _is_step(one.display_name or "", names)]
    # All nodes are created with the run.
    steps.sort(key=lambda one: (one.start_time is None, one.start_time or 0, one.task_id))
    return RunState(
        id=run.run_id,
        name=run.display_name,
        state=run.state or "PENDING",
        tasks=tuple(
            Task(
                id=one.task_id,
                name=one.display_name,
                state=_state(one),
                seconds=_seconds(one.start_time, one.end_time),
                error=_message(one.error),
            )
            for one in steps
        ),
        seconds=_seconds(run.created_at, run.finished_at),
        error=_message(run.error),
    )


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
        on_look: Called at each look, with the run and the tasks whose state has changed.
        on_lost: Called when it cannot be reached for now.

    Raises:
        TransientError: it could not be reached for ten minutes.
    """
    known: dict[str, str] = {}
    pipeline: Pipeline | None = None
    looked, reached = False, time.monotonic()
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
        run = state_of(raw, pipeline.tasks if pipeline else None)
        changed = [task for task in run.tasks if known.get(task.id) != task.state]
        known.update((task.id, task.state) for task in changed)
        on_look(run, changed)
        if run.over:
            return run
        backend.sleep(POLL_SECONDS)


def check_succeeded(backend: Backend, run: RunState) -> None:
    """Raise RunError for a run that is over and did not go well, with the tasks that failed."""
    if not run.succeeded:
        raise RunError(
            f"the run ended as {run.state.lower()}",
            where=run.name,
            got="; ".join(run.failures) or run.error or None,
            fix=f"see {run_link(backend, run.id)}",
        )


def _executed(spec: Any) -> frozenset[str]:
    components = spec.get("components", {})
    dags = [spec["root"], *components.values()]
    return frozenset(
        name
        for dag in dags
        for name, task in dag.get("dag", {}).get("tasks", {}).items()
        if "executorLabel" in components[task["componentRef"]["name"]]
    )


def _is_step(name: str, names: Container[str] | None) -> bool:
    if names is not None:
        return name in names
    return bool(name) and not _AROUND.fullmatch(name)


def _state(task: Any) -> str:
    state: str = task.state or "PENDING"
    # A task that was left out, because one before it failed, has no state and an end.
    if state == "RUNTIME_STATE_UNSPECIFIED":
        return "PENDING" if _seconds(task.start_time, task.end_time) is None else "SKIPPED"
    return state


def _seconds(start: Any, end: Any) -> float | None:
    # A task that has not ended has the year 1 in some versions, and nothing in others.
    if start is None or end is None or end < start:
        return None
    found: float = (end - start).total_seconds()
    return found


def _message(error: Any) -> str:
    return str(error.message) if error is not None and error.message else ""
