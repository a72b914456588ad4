"""InferenceGraph: several endpoints as one, by KServe's router or the gateway of `serve`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kfp_suite.contracts.digests import digest_value
from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.parameters import whole_numbers
from kfp_suite.kserve.manifests import OWNER, SPEC_DIGEST, merged
from kfp_suite.kserve.secrecy import check_no_secrets

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
        name: Its name.
        namespace: The Kubernetes namespace, of its endpoints, too.
        nodes: As KServe writes them; one is `root`.
        overlay: Merged over the manifest last.

    Raises:
        ParameterError: KServe's router cannot execute it, or it contains a secret.
    """
    manifest = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(OWNER)},
        "spec": {"nodes": dict(whole_numbers(nodes))},
    }
    found = merged(manifest, whole_numbers(overlay))
    check_nodes((found.get("spec") or {}).get("nodes"))
    check_no_secrets(found, "InferenceGraph")
    metadata = found["metadata"]
    made_of = [metadata.get("labels"), metadata.get("annotations"), found["spec"]]
    return merged(found, {"metadata": {"annotations": {SPEC_DIGEST: digest_value(made_of)}}})


def check_nodes(nodes: Any) -> None:
    """Raises ParameterError if KServe's router could not follow the nodes from `root`."""
    if not isinstance(nodes, Mapping):
        raise ParameterError("not nodes", where="nodes", got=nodes, expected="a mapping")
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
        _check_names(node["steps"], where)
        if node["routerType"] == "Splitter":
            _check_weights(node["steps"], where)
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


def _check_names(steps: Sequence[Mapping[str, Any]], where: str) -> None:
    names = Counter(step["name"] for step in steps if step.get("name"))
    if twice := [name for name, times in names.items() if times > 1]:
        raise ParameterError("two steps with one name", where=where, got=twice[0])


def _check_weights(steps: Sequence[Mapping[str, Any]], where: str) -> None:
    for position, step in enumerate(steps):
        if not 0 <= step.get("weight", -1) <= 100:
            raise ParameterError(
                "not a share",
                where=f"{where}.steps[{position}].weight",
                got=step.get("weight"),
                expected="percent, 0 to 100",
            )
    if (sum_of := sum(step["weight"] for step in steps)) != 100:
        raise ParameterError("weights that are not 100", where=where, got=sum_of)


def _check_way(nodes: Mapping[str, Any], name: str, above: tuple[str, ...]) -> None:
    if name in above:
        raise ParameterError("nodes go round", where="nodes", got=" → ".join((*above, name)))
    if name not in nodes:
        raise ParameterError(f"no node '{name}'", where="nodes", got=", ".join(nodes) or "none")
    for step in nodes[name]["steps"]:
        if step.get("nodeName"):
            _check_way(nodes, step["nodeName"], (*above, name))


def services_of(graph: Mapping[str, Any]) -> list[str]:
    """The endpoints of a graph, in the order in which it may send them requests."""
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
