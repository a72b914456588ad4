"""A run as its Argo workflow shows it: a node for each task, and those of Kubeflow around it.

What runs in a container is a node that holds an `executor` (with retries, one a try), beside
a `…-driver`; a condition, a loop and an exit handler are nodes with a driver, too, which fail
with what is in them. As stock KFP 2.17 sets retries for everything, each is beside its try:
`ingest` and `ingest(0)`. A node tells no reason and no parent, as KFP's API tells none: the
workflow itself has them, which KFP keeps as `manifest`.
"""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
_ROOT = "minio://mlpipeline/v2/artifacts"
_EXECUTOR, _IMPL = "system-container-executor", "system-container-impl"
_DRIVER = "system-container-driver"
_OMITTED = "RUNTIME_STATE_UNSPECIFIED"
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_AT_THE_END = "ALL_UPSTREAM_TASKS_COMPLETED"
_PHASES = {
    "PENDING": "Pending",
    "RUNNING": "Running",
    "SUCCEEDED": "Succeeded",
    "FAILED": "Failed",
    "SKIPPED": "Skipped",
    _OMITTED: "Omitted",
}


@dataclass
class Behaviour:
    """What becomes of runs.

    Attributes:
        seconds: That each try of a task takes.
        fails: The task that fails, in each try; empty: none.
        message: Told of it; empty, as Kubeflow Pipelines up to 2.17 leaves it.
        driver_fails: The task, or condition, whose driver fails; empty: none.
        why: Of the pod that failed, as Argo tells it.
        hangs: The task that never ends.
        waits: Tasks whose pod never starts, and why.
        cached: Tasks that KFP takes from its cache.
        skips: Conditions that do not hold: `if-valid`.
        retried: How often a task fails before it goes well; its `backoffMaxDuration` ends the
            tries, as it does on Argo.
        iterations: Of each loop.
        terminated: How a run ends that was terminated: FAILED, or CANCELED.
        compressed_after: The number of nodes from which on Argo compresses them, and KFP's API
            shows no more of them; 0: never.
        logs: The log of a task.
    """

    seconds: float = 1.0
    fails: str = ""
    message: str = ""
    driver_fails: str = ""
    why: str = "Error (exit code 1)"
    hangs: str = ""
    waits: Mapping[str, str] = field(default_factory=dict)
    cached: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    retried: Mapping[str, int] = field(default_factory=dict)
    iterations: int = 2
    terminated: str = "FAILED"
    compressed_after: int = 0
    logs: Mapping[str, str] = field(default_factory=dict)


class Workflow:
    """A run's nodes at one time; its tasks run one after the other.

    Args:
        spec: The compiled pipeline.
        run_id: Of the run.
        behaviour: What becomes of it.
        began: When it began.
        now: The time.
        root: The pipeline root; empty: the installation's.

    Attributes:
        nodes: As `task_details` has them.
        state: Of the run.
    """

    def __init__(
        self,
        spec: Json,
        run_id: str,
        behaviour: Behaviour,
        began: datetime,
        now: datetime,
        root: str = "",
    ) -> None:
        self._components, self._run_id, self._does = spec["components"], run_id, behaviour
        self._began, self._now, self._clock = began, now, began
        pipeline = spec["pipelineInfo"]["name"]
        self._root = f"{root or _ROOT}/{pipeline}/{run_id}"
        self._argo: dict[str, Json] = {}
        self._path: list[str] = []
        self._nodes: list[Json] = []
        self._tries: dict[str, Json] = {}
        self.name = f"{pipeline}-{run_id[:5]}"
        whole = self._open(self.name, is_retried=True)
        with self._within(f"{self.name}(0)"):
            self._driver("root")
            node = self._open("root", is_retried=True)
            with self._within("root(0)"):
                self.state = self._closed(node, self._dag(spec["root"]["dag"]))
        self._closed(whole, self.state)

    @property
    def nodes(self) -> list[Json]:
        """As `task_details` has them: without those that it never saw, for Argo had compressed
        them by then; what they are in goes on for ever."""
        most = self._does.compressed_after
        seen, unseen = self._nodes[:most], self._nodes[most:]
        if not most or not unseen:
            return self._nodes
        paths = [self._argo_of(one)["name"] for one in unseen]
        return [
            {**one, "state": "RUNNING", "end_time": _told(_NEVER)}
            if any(path.startswith(self._inner(one)) for path in paths)
            else one
            for one in seen
        ]

    def _inner(self, node: Json) -> tuple[str, str]:
        path = self._argo_of(node)["name"]
        return f"{path}.", f"{path}("

    def _argo_of(self, node: Json) -> Json:
        return self._argo[self._key(node)]

    def _key(self, node: Json) -> str:
        return f"{self.name}-{node['task_id'][:8]}"

    def manifest(self, terminated: bool) -> Json:
        """The workflow as Argo has it.

        Args:
            terminated: Whether KFP's API server was told to end it.
        """
        nodes = {
            self._key(one): {
                **self._argo_of(one),
                "id": self._key(one),
                "displayName": one["display_name"],
                "phase": _PHASES[one["state"]],
                "startedAt": one["start_time"],
                "finishedAt": None if one["end_time"] == _told(_NEVER) else one["end_time"],
            }
            for one in self._nodes
        }
        status: Json = {"nodes": nodes}
        most = self._does.compressed_after
        if most and len(nodes) > most:
            packed = gzip.compress(json.dumps(nodes).encode())
            status = {"compressedNodes": base64.b64encode(packed).decode()}
        spec = {"activeDeadlineSeconds": 0} if terminated else {}
        return {"metadata": {"name": self.name}, "spec": spec, "status": status}

    def end(self) -> None:
        """End what runs: the run was terminated."""
        for node in self._nodes:
            if node["state"] in ("RUNNING", "PENDING"):
                self._closed(node, "FAILED")

    def task_of(self, pod: str) -> str:
        """The task that runs in a pod; empty: there is no such pod."""
        name, _, number = pod.rpartition("-")
        path = str(self._argo.get(f"{self.name}-{number}", {}).get("name", ""))
        fits = name == f"{self.name}-{_IMPL}"
        return path.split(".")[-2].removesuffix("(0)") if fits else ""

    @contextmanager
    def _within(self, name: str) -> Iterator[None]:
        self._path.append(name)
        yield
        self._path.pop()

    def _dag(self, dag: Json) -> str:
        """Its tasks in their order; what waits for a failed one is left out."""
        waiting: dict[str, Json] = dict(dag["tasks"])
        last = {name for name, task in waiting.items() if _ends(task)}
        states: dict[str, str] = {}
        while waiting:
            name = next(n for n, t in waiting.items() if not _needed(t) & set(waiting))
            task = waiting.pop(name)
            if "RUNNING" in states.values():
                continue  # one after the other: it is not there yet
            if "FAILED" in states.values() and name not in last:
                self._left_out(f"{name}-driver")
                states[name] = self._left_out(name)
            elif name in last:
                hook = self._open(f"{next(iter(_needed(task)))}.onExit")
                with self._within(hook["display_name"]):
                    states[name] = self._closed(hook, self._task(name, task))
            else:
                states[name] = self._task(name, task)
        return _worst(states.values())

    def _task(self, name: str, task: Json) -> str:
        component = self._components[task["componentRef"]["name"]]
        if "dag" not in component:
            return self._container(name, task)
        if "parameterIterator" in task:
            return self._loop(name, component["dag"])
        if self._driver(name) == "FAILED":
            return self._left_out(name, "FAILED")
        if name in self._does.skips:
            return self._closed(self._open(name), "SKIPPED")
        node = self._open(name, is_retried=True)
        with self._within(f"{name}(0)"):
            return self._closed(node, self._dag(component["dag"]))

    def _loop(self, name: str, dag: Json) -> str:
        whole = self._open(name)
        self._driver("iteration")
        group = self._open("iteration-iterations")
        states = []
        for number in range(self._does.iterations):
            if "RUNNING" in states:
                break
            one = self._open(f"iteration-iterations({number}:{number})")
            self._driver("iteration-item")
            item = self._open("iteration-item")
            with self._within(f"{name}.{one['display_name']}"):
                states.append(self._closed(one, self._closed(item, self._dag(dag))))
        return self._closed(whole, self._closed(group, _worst(states)))

    def _container(self, name: str, task: Json) -> str:
        if self._driver(name) == "FAILED":
            return self._left_out(name, "FAILED")
        node = self._open(name, is_retried=True, inputs=self._inputs(name, task))
        with self._within(f"{name}(0)"):
            return self._executed(node, name, task.get("retryPolicy", {}))

    def _left_out(self, name: str, state: str = _OMITTED) -> str:
        self._closed(self._open(name, type="Skipped"), _OMITTED)
        return state

    def _executed(self, node: Json, name: str, policy: Json) -> str:
        if name in self._does.cached:
            self._closed(self._open("executor", type="Skipped"), "SKIPPED")
            return self._closed(node, "SUCCEEDED")
        tries = 1 + int(policy.get("maxRetryCount", 0))
        if tries == 1:
            return self._closed(node, self._try(name, "executor", 0), self._does.message)
        # As Argo means it: from the first try on, and a later one is ended there.
        most = policy["backoffMaxDuration"].removesuffix("s")
        until = self._clock + timedelta(seconds=float(most))
        whole, state = self._open("executor", type="Retry"), ""
        for number in range(tries):
            state = self._try(name, f"executor({number})", number, until if number else None)
            if state != "FAILED" or self._clock >= until:
                break
        return self._closed(node, self._closed(whole, state), self._does.message)

    def _try(self, name: str, shown: str, number: int, until: datetime | None = None) -> str:
        node = self._open(shown, type="Pod", templateName=_IMPL)
        if why := self._does.waits.get(name, ""):
            self._told(node, why)
            self._closed(node, "PENDING")
            return "RUNNING"
        end = self._clock + timedelta(seconds=self._does.seconds)
        cut = until is not None and until < end
        end = min(end, until or end)
        if self._now < end or name == self._does.hangs:
            return self._closed(node, "RUNNING")
        self._clock = end
        failed = cut or name == self._does.fails or number < self._does.retried.get(name, 0)
        if failed:
            self._told(node, self._does.why)
        return self._closed(node, "FAILED" if failed else "SUCCEEDED")

    def _inputs(self, name: str, task: Json) -> Json:
        """What the driver found out: whether the task is cached, and where its outputs go."""
        outputs = self._components[task["componentRef"]["name"]].get("outputDefinitions", {})
        number = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._run_id}/{name}/{len(self._nodes)}")
        given = {
            "outputs": {
                "artifacts": {
                    one: {"artifacts": [{"uri": f"{self._root}/{name}/{number}/{one}"}]}
                    for one in outputs.get("artifacts", {})
                }
            }
        }
        command = ["/kfp-launcher/launch", "--executor_input", json.dumps(given), "--"]
        cached = name in self._does.cached
        patch = "" if cached else json.dumps({"containers": [{"command": command}]})
        return {
            "parameters": [
                {"name": "pod-spec-patch", "value": patch},
                {"name": "cached-decision", "value": "true" if cached else "false"},
            ]
        }

    def _driver(self, name: str) -> str:
        node = self._open(f"{name}-driver", is_retried=True, type="Pod", templateName=_DRIVER)
        if name != self._does.driver_fails:
            return self._closed(node, "SUCCEEDED")
        self._told(self._tries[node["task_id"]], self._does.why)
        return self._closed(node, "FAILED")

    def _open(self, name: str, is_retried: bool = False, **argo: Any) -> Json:
        if is_retried:
            node = self._open(name, **{**argo, "type": "Retry"})
            self._tries[node["task_id"]] = self._open(f"{name}(0)", **argo)
            return node
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._run_id}/{len(self._nodes)}")
        node = {
            "run_id": self._run_id,
            "task_id": str(identity),
            "display_name": name,
            "create_time": _told(self._began),
            "start_time": _told(self._clock),
            "end_time": _told(_NEVER),
            "state": "RUNNING",
        }
        self._nodes.append(node)
        self._argo[self._key(node)] = {
            "name": ".".join([*self._path, name]),
            "type": "DAG",
            "templateName": _EXECUTOR,
            **argo,
        }
        return node

    def _told(self, node: Json, why: str) -> None:
        self._argo_of(node)["message"] = why

    def _closed(self, node: Json, state: str, message: str = "") -> str:
        if tried := self._tries.get(node["task_id"]):
            self._closed(tried, state)
        node["state"] = state
        if state not in ("RUNNING", "PENDING"):
            node["end_time"] = _told(self._clock)
        if state == "FAILED" and message:
            node["error"] = {"code": 2, "message": message}
        return state


def _needed(task: Json) -> set[str]:
    return set(task.get("dependentTasks", ()))


def _ends(task: Json) -> bool:
    """Whether it runs however what it waits for ended: an exit handler's."""
    return bool(task.get("triggerPolicy", {}).get("strategy") == _AT_THE_END)


def _worst(states: Any) -> str:
    found = set(states)
    return next((state for state in ("RUNNING", "FAILED") if state in found), "SUCCEEDED")


def _told(time: datetime) -> str:
    """To the second, as the API tells it."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
