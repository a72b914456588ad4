"""Argo's own view of a run: reasons for waiting and failure, cached tasks, URIs of outputs.

KFP's second API has the states of tasks without reasons, and no tasks of a workflow that Argo
compresses (above 1 MiB). Its first API keeps the workflow itself.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.task import CACHED, Task, is_step

_STATES = {
    "Pending": "PENDING",
    "Running": "RUNNING",
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Error": "FAILED",
    "Skipped": "SKIPPED",
    "Omitted": "SKIPPED",
}
_DRIVER = "-driver"
_FAILED = ("Failed", "Error")
_WAITS = ("Pending",)
Node = Mapping[str, Any]


class Workflow:
    """The workflow of a run.

    Args:
        manifest: As KFP keeps it.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        status = manifest.get("status") or {}
        packed = status.get("compressedNodes")
        nodes = status.get("nodes") or {}
        self.is_compressed = bool(packed)
        if packed and not nodes:
            nodes = json.loads(gzip.decompress(base64.b64decode(packed)))
        self._nodes: list[Node] = sorted(nodes.values(), key=_order)
        self._name = str(manifest.get("metadata", {}).get("name", ""))
        # It is how KFP's API server terminates a workflow.
        self.is_terminated = manifest.get("spec", {}).get("activeDeadlineSeconds") == 0

    def tasks(self, names: Container[str] | None) -> tuple[Task, ...]:
        """The tasks, in the order in which they started.

        Args:
            names: Of the pipeline's tasks; None if they are not known.
        """
        tasks = [self._task(node) for node in self._nodes if is_step(_shown(node), names)]
        drivers = {
            name: node
            for node in self._nodes
            if (name := _shown(node).removesuffix(_DRIVER)) != _shown(node) and is_step(name, names)
        }
        told = [self._with_driver(task, drivers.get(task.name)) for task in tasks]
        begun = {task.name for task in tasks}
        coming = [
            Task(node["id"], name, "PENDING", None, reason=reason)
            for name, node in drivers.items()
            if name not in begun and (reason := self._last_reason(node, _WAITS))
        ]
        return (*told, *coming)

    @property
    def error(self) -> str:
        """Why a pod of no task failed, as the driver of a condition; empty if none did."""
        for node in self._nodes:
            if _shown(node).endswith(_DRIVER) and (why := self._last_reason(node, _FAILED)):
                return f"{_shown(node)}: {why}"
        return ""

    def outputs(self) -> list[tuple[str, str, str]]:
        """The outputs of the tasks that ran, in the order of their starts: the task, the name of
        the output, and its URI. Without cached tasks."""
        found = []
        for node in self._nodes:
            outputs = _executor_input(node).get("outputs", {}).get("artifacts", {})
            for name, given in outputs.items():
                for one in given.get("artifacts", ()):
                    found.append((_shown(node), str(name), str(one["uri"])))
        return found

    def pods(self, task: str) -> list[str]:
        """The names of the pods of a task, that of its driver first and the last try last."""
        return [
            self._pod(pod)
            for shown in (f"{task}{_DRIVER}", task)
            for node in self._nodes
            if _shown(node) == shown
            for pod in self._inside(node)
            if pod.get("type") == "Pod"
        ]

    def _with_driver(self, task: Task, driver: Node | None) -> Task:
        """The driver in place of its task, if the driver failed."""
        why = self._last_reason(driver, _FAILED) if driver else ""
        if task.state != "SKIPPED" or not why:
            return task
        return replace(task, state="FAILED", error=f"its driver: {why}")

    def _task(self, node: Node) -> Task:
        began, ended = _time(node, "startedAt"), _time(node, "finishedAt")
        state = _STATES.get(node.get("phase", ""), "PENDING")
        if state == "SUCCEEDED" and _input(node, "cached-decision") == "true":
            state = CACHED
        return Task(
            id=node["id"],
            name=_shown(node),
            state=state,
            seconds=(ended - began).total_seconds() if began and ended else None,
            error=self._last_reason(node, _FAILED) if state == "FAILED" else "",
            reason=self._last_reason(node, _WAITS) if state in ("RUNNING", "PENDING") else "",
        )

    def _last_reason(self, node: Node, phases: tuple[str, ...]) -> str:
        reasons = [_reason(one, phases) for one in self._inside(node)]
        return next(filter(None, reversed(reasons)), "")

    def _inside(self, node: Node) -> Iterator[Node]:
        """A node, its tries (`a(0)`), and what is in them."""
        # By their paths: the children of a node are also the tasks that come after it.
        path = _path(node)
        yield from (
            one
            for one in self._nodes
            if _path(one) == path or _path(one).startswith((f"{path}.", f"{path}("))
        )

    def _pod(self, node: Node) -> str:
        if ".inline" in _path(node):
            return str(node["id"])
        number = node["id"].rpartition("-")[2]
        return f"{self._name}-{node['templateName']}-{number}"


def workflow_of(backend: Backend, run_id: str) -> Workflow | None:
    """The workflow of a run; None if this installation does not serve it."""
    try:
        told = json.loads(backend.read(f"/apis/v1beta1/runs/{run_id}"))
        return Workflow(json.loads(told["pipeline_runtime"]["workflow_manifest"]))
    except (KfpSuiteError, ValueError, KeyError, TypeError):
        return None


def _reason(node: Node, phases: tuple[str, ...]) -> str:
    """Why a pod waits or failed, if it does."""
    fits = node.get("type") == "Pod" and node.get("phase") in phases
    return str(node.get("message") or "") if fits else ""


def _executor_input(node: Node) -> Mapping[str, Any]:
    """The input of a task's launcher from KFP's driver, in the command of its pod."""
    if not is_step(_shown(node), None):  # its tries and its pod have it once more
        return {}
    try:
        words = json.loads(_input(node, "pod-spec-patch"))["containers"][0]["command"]
        found: Mapping[str, Any] = json.loads(words[words.index("--executor_input") + 1])
        return found
    except (ValueError, LookupError, TypeError):
        return {}


def _input(node: Node, name: str) -> str:
    given = (node.get("inputs") or {}).get("parameters") or ()
    return next((str(one.get("value", "")) for one in given if one["name"] == name), "")


def _order(node: Node) -> tuple[str, str]:
    return node.get("startedAt") or "", _path(node)


def _time(node: Node, key: str) -> datetime | None:
    told = node.get(key)
    return datetime.fromisoformat(told) if told else None


def _shown(node: Node) -> str:
    return str(node.get("displayName") or "")


def _path(node: Node) -> str:
    return str(node.get("name") or "")
