"""A run on a cluster at one time: its state, its tasks, and those that were never seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kfp_suite.kubeflow.argo import Workflow
from kfp_suite.kubeflow.task import ENDED, Task, is_step

_CANCELING = "CANCELING"


@dataclass(frozen=True)
class Pipeline:
    """A run's pipeline: its name, and the tasks that run in a container, or import."""

    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class RunState:
    """A run: `state` as KFP names it; `seconds` that it took, None until it ends.

    A run that was terminated is CANCELED, where KFP says that it FAILED. `unseen` are tasks of its
    pipeline that may have run: KFP lost sight of the tasks before the run ended.
    """

    id: str
    name: str
    state: str
    tasks: tuple[Task, ...]
    seconds: float | None = None
    error: str = ""
    unseen: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def failures(self) -> tuple[str, ...]:
        """The tasks that failed, each once, with the reason if one is told."""
        failed = [task for task in self.tasks if task.state == "FAILED"]
        told = (f"{task.name}: {task.error}" if task.error else task.name for task in failed)
        return tuple(dict.fromkeys(told))

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.state in ("SUCCEEDED", "SKIPPED")


def state_of(
    run: Any, pipeline: Pipeline | None = None, workflow: Workflow | None = None
) -> RunState:
    """A run as the API tells it; tasks in the order in which they started.

    Args:
        run: The API's answer.
        pipeline: The run's; None if it is gone.
        workflow: Argo's view of the run, which knows more; None if it is not at hand.
    """
    names = pipeline.tasks if pipeline else None
    details = (run.run_details.task_details if run.run_details else None) or ()
    tasks = _tasks(details, names)
    if workflow is not None:
        told = {task.name: task.error for task in tasks if task.error}
        tasks = tuple(
            replace(task, error=told.get(task.name, task.error)) if task.state == "FAILED" else task
            for task in workflow.tasks(names)
        )
    state = _state(run, workflow)
    lost = (
        workflow is None
        and state in ENDED
        and any(one.state in ("RUNNING", "PENDING") for one in details)
    )
    seen = {task.name for task in tasks if task.state in ENDED}
    return RunState(
        id=run.run_id,
        name=run.display_name,
        state=state,
        tasks=tasks,
        seconds=_seconds(run.created_at, run.finished_at),
        error=_message(run.error) or (workflow.error if workflow else ""),
        unseen=tuple(name for name in names or () if name not in seen) if lost else (),
    )


def _state(run: Any, workflow: Workflow | None) -> str:
    state: str = run.state or "PENDING"
    history = {one.state for one in run.state_history or ()}
    terminated = _CANCELING in history or (workflow is not None and workflow.is_terminated)
    return "CANCELED" if state == "FAILED" and terminated else state


def _tasks(details: Any, names: tuple[str, ...] | None) -> tuple[Task, ...]:
    """The pipeline's tasks among the API's nodes, most of which belong to the engine."""
    steps = [one for one in details if is_step(one.display_name or "", names)]
    # All nodes are created with the run.
    steps.sort(key=lambda one: (one.start_time is None, one.start_time or 0, one.task_id))
    return tuple(
        Task(
            id=one.task_id,
            name=one.display_name,
            state=_task_state(one),
            seconds=_seconds(one.start_time, one.end_time),
            error=_message(one.error),
        )
        for one in steps
    )


def _task_state(task: Any) -> str:
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
