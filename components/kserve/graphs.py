"""InferenceGraph: several endpoints as one, by KServe's router or the gateway of `serve`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.components.contracts.errors import (
    EndpointError,
    KfpSuiteError,
    ParameterError,
    did_you_mean,
)
from kfp_suite.components.contracts.parameters import whole_numbers
from kfp_suite.components.kserve.cluster import GRAPHS, SERVICES, Cluster
from kfp_suite.components.kserve.manifests import OWNER, is_ready, merged
from kfp_suite.components.kserve.patience import Missing, wait_for

ROOT = "root"
ROUTERS = ("Sequence", "Switch", "Ensemble", "Splitter")
_STEP: dict[str, type] = {
    "name": str,
    "serviceName": str,
    "nodeName": str,
    "serviceUrl": str,
    "data": str,
    "condition": str,
    "dependency": str,
    "weight": int,
    "mapPredictionsToInstances": bool,
}
_TARGETS = ("serviceName", "nodeName", "serviceUrl")
_DEPENDENCIES = ("Soft", "Hard")


def inference_graph(
    name: str, namespace: str, nodes: Mapping[str, Any], overlay: Mapping[str, Any]
) -> dict[str, Any]:
    """The InferenceGraph of some nodes.

    Args:
        name: What it is called.
        namespace: The Kubernetes namespace, of its endpoints, too.
        nodes: As KServe writes them; one is `root`.
        overlay: Merged over the manifest last.

    Raises:
        ParameterError: KServe's router could not follow it.
    """
    found = whole_numbers(nodes)
    check_nodes(found)
    manifest = {
        "apiVersion": "/".join(GRAPHS[:2]),
        "kind": "InferenceGraph",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(OWNER)},
        "spec": {"nodes": dict(found)},
    }
    return merged(manifest, whole_numbers(overlay))


def check_nodes(nodes: Mapping[str, Any]) -> None:
    """Raises ParameterError where KServe's router could not follow the nodes from `root`."""
    for name, node in nodes.items():
        where = f"nodes.{name}"
        if not isinstance(node, Mapping) or node.get("routerType") not in ROUTERS:
            raise ParameterError(
                "not a node", where=where, got=node, expected=f"routerType {', '.join(ROUTERS)}"
            )
        if unknown := sorted(set(node) - {"routerType", "steps"}):
            raise ParameterError("unknown key", where=where, got=unknown[0], expected="steps")
        if not isinstance(node.get("steps"), list) or not node["steps"]:
            raise ParameterError("no steps", where=where, got=node, expected="a list of steps")
        for position, step in enumerate(node["steps"]):
            _check_step(step, node["routerType"], f"{where}.steps[{position}]")
        weights = sum(step.get("weight", 0) for step in node["steps"])
        if node["routerType"] == "Splitter" and weights != 100:
            raise ParameterError("weights that are not 100", where=where, got=weights)
    _check_way(nodes, ROOT, ())


def _check_step(step: Any, router: str, where: str) -> None:
    if not isinstance(step, Mapping):
        raise ParameterError("not a step", where=where, got=step, expected="a mapping")
    for key, value in step.items():
        if key not in _STEP:
            raise ParameterError(f"unknown key '{key}'", where=where, fix=did_you_mean(key, _STEP))
        if type(value) is not _STEP[key]:
            raise ParameterError(
                "of another type",
                where=f"{where}.{key}",
                got=value,
                expected=_STEP[key].__name__,
            )
    if sum(bool(step.get(key)) for key in _TARGETS) != 1:
        raise ParameterError(
            "a step asks one", where=where, got=dict(step), expected=" or ".join(_TARGETS)
        )
    if step.get("dependency", "Soft") not in _DEPENDENCIES:
        raise ParameterError(
            "not allowed",
            where=f"{where}.dependency",
            got=step["dependency"],
            expected=" or ".join(_DEPENDENCIES),
        )
    if router == "Switch" and not step.get("condition"):
        raise ParameterError(
            "a step of a switch that is never taken", where=where, expected="condition"
        )


def _check_way(nodes: Mapping[str, Any], name: str, above: tuple[str, ...]) -> None:
    if name in above:
        raise ParameterError("nodes go round", where="nodes", got=" → ".join((*above, name)))
    if name not in nodes:
        raise ParameterError(f"no node '{name}'", where="nodes", got=", ".join(nodes) or "none")
    for step in nodes[name]["steps"]:
        if step.get("nodeName"):
            _check_way(nodes, step["nodeName"], (*above, name))


def services_of(graph: Mapping[str, Any]) -> list[str]:
    """The endpoints that a graph asks, the first that it can ask first."""
    nodes = graph["spec"]["nodes"]

    def below(name: str) -> list[str]:
        found = []
        for step in nodes[name]["steps"]:
            if step.get("nodeName"):
                found += below(step["nodeName"])
            elif step.get("serviceName"):
                found.append(step["serviceName"])
        return found

    return list(dict.fromkeys(below(ROOT)))


def wait_until_routing(
    cluster: Cluster,
    applied: Mapping[str, Any],
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Wait until KServe routes by what was applied.

    Args:
        cluster: Where.
        applied: The InferenceGraph as `Cluster.apply` gave it back.
        timeout_seconds: How long it may take.
        clock: Monotonic seconds.

    Returns:
        The InferenceGraph when it is ready.

    Raises:
        EndpointError: it is not in time, with the reasons.
    """
    name, namespace = applied["metadata"]["name"], applied["metadata"]["namespace"]
    found = dict(applied)

    def look(_: float) -> dict[str, Any]:
        nonlocal found
        found = cluster.get(name, namespace, GRAPHS)
        status = found.get("status", {})
        if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
            raise Missing("the controller")
        if not (is_ready(found) and status.get("url")):
            raise Missing("Ready")
        return found

    try:
        return wait_for(cluster, look, f"{namespace}/{name}", timeout_seconds, clock)
    except Missing as missing:
        raise EndpointError(
            f"the graph is not ready in time: {'; '.join(_reasons(cluster, found))}",
            where=f"InferenceGraph {namespace}/{name}",
            got=f"waits for {missing}",
            expected=f"ready within {timeout_seconds:g} s",
            fix=f"kubectl describe inferencegraph {name} -n {namespace}",
        ) from missing


def _reasons(cluster: Cluster, graph: Mapping[str, Any]) -> list[str]:
    namespace, name = graph["metadata"]["namespace"], graph["metadata"]["name"]
    found = [
        f"{c['type']}: {c.get('reason', '')} {c.get('message', '')}".strip()
        for c in graph.get("status", {}).get("conditions", ())
        if c["status"] != "True"
    ]
    try:
        for service in services_of(graph):
            live = cluster.find(service, namespace, SERVICES)
            if live is None or not is_ready(live):
                found.append(f"endpoint {service} is {'not ready' if live else 'not there'}")
        events = cluster.events("InferenceGraph", name, namespace)
    except KfpSuiteError as error:
        return [*found, f"its endpoints cannot be read: {error}"]
    found += [f"{event.reason}: {event.message}" for event in events if event.type == "Warning"][
        -2:
    ]
    return found or ["no status: KServe's controller does not run, or does not see the namespace"]
