"""The end of a run on a cluster: its record or, without one, the last words of its tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kfp_suite.contracts.errors import KfpSuiteError, RunError
from kfp_suite.contracts.run_record import SUCCEEDED
from kfp_suite.kubeflow.argo import Workflow, workflow_of
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.listing import ClusterRun
from kfp_suite.kubeflow.records import record_of
from kfp_suite.kubeflow.run_state import RunState
from kfp_suite.kubeflow.submitting import run_link
from kfp_suite.kubeflow.ui import read_log
from kfp_suite.local.conclusion import Conclusion, conclude
from kfp_suite.local.history import PastRun, Step

_RECORD = "record"
_REPORT = "_report"
_ERROR = "error: "
_ARGO = re.compile(r"time=.* argo=true|Error: exit status \d+")
_KFP = re.compile(r"[IWEF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")
_FATAL = re.compile(r"F\d{4} ")
_EXITED = re.compile(r"exit status \d+$")  # the launcher of what a step's code printed before
_MAX_WORDS = 150


@dataclass(frozen=True)
class There:
    """A run on a cluster, by its page in the UI."""

    link: str
    command: str = "submit"

    def show(self, step: str) -> str:
        """See `Place`."""
        return f"{self.link}, step {step}"

    def repeat(self, run: PastRun) -> dict[str, str]:
        """See `Place`."""
        return {"go on from what is cached": f"Clone run, in {self.link}"}

    def name_version(self, version: Mapping[str, Any]) -> str:
        """See `Place`."""
        return str(version["uri"])


@dataclass(frozen=True)
class Ending:
    """The end of a run.

    Attributes:
        state: The run, which is over.
        link: Its page in the UI.
        past: The run with its record; None if that is not known.
        unread: Why the record is not known; empty if it is, or the pipeline leaves none.
        reports: The names of its reports, which are artifacts.
        words: The last line that each failed task printed, if the record does not have its error.
    """

    state: RunState
    link: str
    past: PastRun | None = None
    unread: str = ""
    reports: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def conclusion(self) -> Conclusion | None:
        """The conclusion of its record, as of a run on this machine; None without a record."""
        return conclude(self.past, There(self.link)) if self.past else None

    @property
    def aliases(self) -> tuple[str, ...]:
        """Of the version that it published: deploy makes it the champion, unless it refuses."""
        endpoint = (self.past.record.endpoint if self.past else None) or {}
        made = endpoint and not endpoint.get("dry_run") and endpoint.get("promoted") is not False
        return ("champion",) if made else ()

    @property
    def failure(self) -> KfpSuiteError | None:
        """The error of a run that did not go well, with the step's own exit code; else None."""
        if self.state.succeeded:
            return None
        if self.state.state == "CANCELED":
            running = [task.name for task in self.state.tasks if task.state == "FAILED"]
            return RunError(
                "the run was terminated",
                where=self.state.name,
                got=f"it was at {', '.join(dict.fromkeys(running))}" if running else None,
                fix=f"to start it again: Clone run, in {self.link}",
            )
        told = self.past.record.failure(self.state.name, f"see {self.link}") if self.past else None
        return told or RunError(
            f"the run ended as {self.state.state.lower()}",
            where=self.state.name,
            got="; ".join(self._failures) or self.state.error or None,
            fix=f"see {self.link}",
        )

    @property
    def _failures(self) -> list[str]:
        return [
            ": ".join(filter(None, (told, self.words.get(told.partition(":")[0], ""))))
            for told in self.state.failures
        ]


def ending_of(backend: Backend, run: ClusterRun) -> Ending:
    """The end of a run that is over, as far as it can be known from here.

    Args:
        backend: The Kubeflow of the run.
        run: With its root.
    """
    past, unread = None, ""
    if _leaves_record(run.state):
        try:
            past = past_run(backend, run)
        except KfpSuiteError as error:
            unread = str(error)
    workflow = workflow_of(backend, run.state.id)
    outputs = workflow.outputs() if workflow else []
    reports = [name for _, name, _ in outputs if name.endswith(_REPORT)]
    words: dict[str, str] = {}
    if run.state.state == "FAILED" and workflow and not (past and past.record.errors):
        words = _last_words(backend, run.state, workflow)
    return Ending(
        run.state,
        run_link(backend, run.state.id),
        past,
        unread,
        tuple(dict.fromkeys(reports)),
        words,
    )


def past_run(backend: Backend, run: ClusterRun) -> PastRun:
    """A run with its record, as one on this machine. Raises as `record_of`."""
    steps = tuple(
        Step(task.name, task.state.lower(), task.seconds)
        for task in run.state.tasks
        if task.seconds is not None
    )
    return PastRun(record_of(backend, run), run.parameters, steps)


def _leaves_record(run: RunState) -> bool:
    seen = [task.state for task in run.tasks if task.name == _RECORD]
    return SUCCEEDED in seen or _RECORD in run.unseen


def _last_words(backend: Backend, run: RunState, workflow: Workflow) -> dict[str, str]:
    """The last line of each failed task: the error of a step of ours, else the last of any."""
    found = {}
    for name in {task.name for task in run.tasks if task.state == "FAILED"}:
        pods = workflow.pods(name)
        if not pods:
            continue
        try:
            found[name] = _last_line(read_log(backend, run.id, pods[-1]))
        except KfpSuiteError:
            continue
    return found


def _last_line(log: str) -> str:
    """The last error of a step of ours; else that of KFP's driver or launcher; else the last line
    of the step's own code. Argo's own lines follow all of them."""
    lines = [line.strip() for line in log.split("\n") if line.strip() and not _ARGO.match(line)]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    fatal = [line for line in lines if _FATAL.match(line) and not _EXITED.search(line)]
    own = [line for line in lines if not _KFP.match(line)]
    told = next(iter((errors or fatal or own or lines)[-1:]), "")
    told = _KFP.sub("", told)
    return told if len(told) <= _MAX_WORDS else f"…{told[-_MAX_WORDS:]}"
