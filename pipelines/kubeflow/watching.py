"""A run as it goes on: its tasks, their states, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp_suite.pipelines.kubeflow.connection import Backend

POLL_SECONDS = 3.0
_OVER = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
# Kubeflow's own: what prepares a task, and the pipeline itself.
_OWN = ("root", "driver", "executor")


@dataclass(frozen=True)
class Task:
    """A task of a run: `state` as KFP names it; `seconds` that it took, None until it ends."""

    id: str
    name: str
    state: str
    seconds: float | None
    error: str = ""


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
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.state in ("SUCCEEDED", "SKIPPED")


def run_state(backend: Backend, run_id: str) -> RunState:
    """A run as it is now. Raises MissingError, and as `Backend.call`."""
    return state_of(backend.call(f"run {run_id}", lambda: backend.client.get_run(run_id)))


def state_of(run: Any) -> RunState:
    """A run as the API tells it; tasks in the order in which they were created."""
    details = (run.run_details.task_details if run.run_details else None) or ()
    steps = [one for one in details if _is_step(one.display_name or "")]
    steps.sort(key=lambda one: (one.create_time is None, one.create_time or 0, one.task_id))
    return RunState(
        id=run.run_id,
        name=run.display_name,
        state=run.state or "PENDING",
        tasks=tuple(
            Task(
                id=one.task_id,
                name=one.display_name,
                state=one.state or "PENDING",
                seconds=_seconds(one.start_time, one.end_time),
                error=_message(one.error),
            )
            for one in steps
        ),
        seconds=_seconds(run.created_at, run.finished_at),
        error=_message(run.error),
    )


def follow(
    backend: Backend, run_id: str, on_look: Callable[[RunState, list[Task]], None]
) -> RunState:
    """Watch a run until it is over.

    Args:
        backend: Where.
        run_id: Which.
        on_look: Called at each look, with the run and the tasks whose state has changed.
    """
    known: dict[str, str] = {}
    while True:
        run = run_state(backend, run_id)
        changed = [task for task in run.tasks if known.get(task.id) != task.state]
        known.update((task.id, task.state) for task in changed)
        on_look(run, changed)
        if run.over:
            return run
        backend.sleep(POLL_SECONDS)


def _is_step(name: str) -> bool:
    return bool(name) and name not in _OWN and not name.endswith("-driver")


def _seconds(start: Any, end: Any) -> float | None:
    # A task that has not ended has the year 1 in some versions, and nothing in others.
    if start is None or end is None or end < start:
        return None
    found: float = (end - start).total_seconds()
    return found


def _message(error: Any) -> str:
    return str(error.message) if error is not None and error.message else ""
