"""A compiled pipeline without what no step reads.

Argo keeps six to eight copies of a component's command and interface for each task, and
compresses the nodes of a workflow above 1 MiB, where KFP's API no longer sees its tasks. The
pipeline's own description, and those of its parameters, stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp_suite.local.catalog import components

Json = dict[str, Any]
_FUNCTION = "--function_to_execute"
_CHANNEL = "pipelinechannel--"
_SIDES = ("inputDefinitions", "outputDefinitions")


def trim(spec: Json) -> None:
    """Drop sources that images have, descriptions of components, and inputs that nobody gives.

    Args:
        spec: A compiled pipeline of the suite; it is changed.
    """
    modules = {entry.name: entry.module for entry in components().values()}
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        arguments = container["args"]
        module = modules[arguments[arguments.index(_FUNCTION) + 1]]
        package, _, name = module.removesuffix(".component").partition(".components.")
        container["command"] = ["python3", "-m", f"{package}.components", name]
    spec["components"] = _rename(spec["components"])
    spec["root"]["dag"] = _rename(spec["root"]["dag"])
    for name, component in spec["components"].items():
        for side in _SIDES:
            for kind in component.get(side, {}).values():
                for definition in kind.values():
                    definition.pop("description", None)
        if "executorLabel" in component:
            _drop_inputs(component, spec, name)


def _rename(node: Any) -> Any:
    """What is handed from layer to layer without the prefix that kfp gives its names."""
    if isinstance(node, dict):
        return {
            key.replace(_CHANNEL, ""): value if key == "runtimeValue" else _rename(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_rename(one) for one in node]
    return node.replace(_CHANNEL, "") if isinstance(node, str) else node


def _drop_inputs(component: Json, spec: Json, name: str) -> None:
    """Leave out the inputs that no task gives: the function has their defaults. One that every
    task gives needs none."""
    definitions = component.get("inputDefinitions", {})
    parameters = definitions.get("parameters", {})
    given = [set(task.get("inputs", {}).get("parameters", {})) for task in _tasks(spec, name)]
    for key in [key for key, one in parameters.items() if one.get("isOptional")]:
        if not any(key in one for one in given):
            del parameters[key]
        elif all(key in one for one in given):
            parameters[key] = {"parameterType": parameters[key]["parameterType"]}
    if not parameters:
        definitions.pop("parameters", None)


def _tasks(spec: Json, component: str) -> list[Mapping[str, Any]]:
    dags = [one["dag"] for one in (spec["root"], *spec["components"].values()) if "dag" in one]
    return [
        task
        for dag in dags
        for task in dag["tasks"].values()
        if task["componentRef"]["name"] == component
    ]
