"""The layers of a compiled pipeline by their names: its conditions, loops and exit handlers.

KFP gives a layer's name to the picture alone. Its breadcrumb, its executions and Argo's nodes have
the key of the task, which KFP numbers: `condition-2` (kfp 2.17.0, pipeline_spec_builder.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]
_NUMBERED = re.compile(r"(condition(-branches)?|for-loop|exit-handler)-\d+")
_KEY = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_PRODUCERS = ("producerTask", "producerSubtask")


def name_layers(spec: Json) -> None:
    """Give each layer that has a name the key of this name; all that refers to it follows.

    A name that another task of the same layer has, or that Argo would refuse, stays a name.

    Args:
        spec: The compiled pipeline; it is changed.
    """
    for component in (spec["root"], *spec.get("components", {}).values()):
        if "dag" not in component:
            continue
        dag = component["dag"]
        keys = dict(_keys(dag["tasks"]))
        tasks = {keys.get(key, key): task for key, task in dag["tasks"].items()}
        dag["tasks"] = {key: tasks[key] for key in sorted(tasks)}
        _refer(dag, keys)


def _keys(tasks: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    taken = set(tasks)
    for key, task in tasks.items():
        name = task.get("taskInfo", {}).get("name", key)
        if _NUMBERED.fullmatch(key) and _KEY.fullmatch(name) and name not in taken:
            taken.add(name)
            yield key, name


def _refer(node: Any, keys: Mapping[str, str]) -> None:
    """Let all below a node refer to tasks by their new keys."""
    if isinstance(node, list):
        for one in node:
            _refer(one, keys)
        return
    if not isinstance(node, dict):
        return
    for field, value in node.items():
        if field in _PRODUCERS and isinstance(value, str):
            node[field] = keys.get(value, value)
        elif field == "dependentTasks":
            node[field] = sorted(keys.get(one, one) for one in value)
        elif field != "runtimeValue":
            _refer(value, keys)
