"""A run as its Argo workflow shows it: a node for each task, and those of Kubeflow around it.

What runs in a container is a node that holds an `executor` (with retries, one a try), beside
a `…-driver`; a condition, a loop and an exit handler are nodes with a driver, too, which fail
with what is in them. A node tells no reason and no parent, as KFP's API tells none.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_AT_THE_END = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass
class Behaviour:
    """What becomes of runs.

    Attributes:
        seconds: That each try of a task takes.
        fails: The task that fails, in each try; empty: none.
        message: Told of it; empty, as Kubeflow Pipelines up to 2.17 leaves it.
        hangs: The task that never ends.
        skips: Conditions that do not hold: `if-valid`.
        retried: How often a task fails before it goes well; its `backoffMaxDuration` ends the
            tries, as it does on Argo.
        iterations: Of each loop.
        terminated: How a run ends that was terminated: FAILED, or CANCELED.
    """

    seconds: float = 1.0
    fails: str = ""
    message: str = ""
    hangs: str = ""
    skips: tuple[str, ...] = ()
    retried: Mapping[str, int] = field(default_factory=dict)
    iterations: int = 2
    terminated: str = "FAILED"


class Workflow:
    """A run's nodes at one time; its tasks run one after the other.

    Args:
        spec: The compiled pipeline.
        run_id: Of the run.
        behaviour: What becomes of it.
        began: When it began.
        now: The time.

    Attributes:
        nodes: As `task_details` has them.
        state: Of the run.
    """

    def __init__(
        self, spec: Json, run_id: str, behaviour: Behaviour, began: datetime, now: datetime
    ) -> None:
        self._components, self._run_id, self._does = spec["components"], run_id, behaviour
        self._began, self._now, self._clock = began, now, began
        self.nodes: list[Json] = []
        whole = self._open(f"{spec['pipelineInfo']['name']}-{run_id[:5]}")
        self._driver("root")
        self.state = self._closed(self._open("root"), self._dag(spec["root"]["dag"]))
        self._closed(whole, self.state)

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
                self._closed(self._open(f"{name}-driver"), "RUNTIME_STATE_UNSPECIFIED")
                states[name] = self._closed(self._open(name), "RUNTIME_STATE_UNSPECIFIED")
            elif name in last:
                hook = self._open(f"{next(iter(_needed(task)))}.onExit")
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
        self._driver(name)
        node = self._open(name)
        if name in self._does.skips:
            return self._closed(node, "SKIPPED")
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
            states.append(self._closed(one, self._closed(item, self._dag(dag))))
        return self._closed(whole, self._closed(group, _worst(states)))

    def _container(self, name: str, task: Json) -> str:
        self._driver(name)
        node = self._open(name)
        policy = task.get("retryPolicy", {})
        tries = 1 + int(policy.get("maxRetryCount", 0))
        if tries == 1:
            return self._closed(node, self._try(name, "executor", 0), self._does.message)
        # As Argo means it: from the first try on, and a later one is ended there.
        most = policy["backoffMaxDuration"].removesuffix("s")
        until = self._clock + timedelta(seconds=float(most))
        whole, state = self._open("executor"), ""
        for number in range(tries):
            state = self._try(name, f"executor({number})", number, until if number else None)
            if state != "FAILED" or self._clock >= until:
                break
        return self._closed(node, self._closed(whole, state), self._does.message)

    def _try(self, name: str, shown: str, number: int, until: datetime | None = None) -> str:
        node, end = self._open(shown), self._clock + timedelta(seconds=self._does.seconds)
        cut = until is not None and until < end
        end = min(end, until or end)
        if self._now < end or name == self._does.hangs:
            return self._closed(node, "RUNNING")
        self._clock = end
        failed = cut or name == self._does.fails or number < self._does.retried.get(name, 0)
        return self._closed(node, "FAILED" if failed else "SUCCEEDED")

    def _driver(self, name: str) -> None:
        self._closed(self._open(f"{name}-driver"), "SUCCEEDED")

    def _open(self, name: str) -> Json:
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._run_id}/{len(self.nodes)}")
        node = {
            "run_id": self._run_id,
            "task_id": str(identity),
            "display_name": name,
            "create_time": _told(self._began),
            "start_time": _told(self._clock),
            "end_time": _told(_NEVER),
            "state": "RUNNING",
        }
        self.nodes.append(node)
        return node

    def _closed(self, node: Json, state: str, message: str = "") -> str:
        node["state"] = state
        if state != "RUNNING":
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
