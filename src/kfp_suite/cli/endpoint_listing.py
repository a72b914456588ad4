"""What is on a cluster of the suite's, as `kfp-suite endpoints` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kfp_suite.contracts.errors import ContractError, MissingError, ParameterError

if TYPE_CHECKING:
    from kfp_suite.kserve.cluster import Cluster

_SERVING = "serving.kserve.io"
KINDS = {
    "endpoint": (_SERVING, "v1beta1", "inferenceservices"),
    "model": (_SERVING, "v1alpha1", "trainedmodels"),
    "graph": (_SERVING, "v1alpha1", "inferencegraphs"),
}
"""What has a name on a cluster: an InferenceService, a TrainedModel, an InferenceGraph."""


def listed(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """What the suite made in a namespace: each shared server before its models, graphs last."""
    from kfp_suite.kserve.manifests import OWNER

    selector = ",".join(f"{key}={value}" for key, value in OWNER.items())

    def of(kind: str) -> list[dict[str, Any]]:
        try:
            return cluster.services(namespace, selector, KINDS[kind])
        except MissingError:  # a KServe without it
            return []

    services, models, graphs = of("endpoint"), of("model"), of("graph")
    found = []
    for service in services:
        own = [one for one in models if _server(one) == service["metadata"]["name"]]
        found += [described(service), *map(_model, own)]
    names = {service["metadata"]["name"] for service in services}
    found += [_model(one) for one in models if _server(one) not in names]
    return [*found, *map(_graph, graphs)]


def kind_of(cluster: Cluster, name: str, namespace: str) -> str:
    """The kind of the one object called `name`: a key of `KINDS`.

    Raises:
        MissingError: there is none.
        ParameterError: there are several.
    """
    there = [kind for kind, path in KINDS.items() if cluster.find(name, namespace, path)]
    if not there:
        raise MissingError("not there", where=f"{namespace}/{name}", expected=", ".join(KINDS))
    if len(there) > 1:
        raise ParameterError(
            "several have this name",
            where=f"{namespace}/{name}",
            got=", ".join(there),
            fix="say which with --kind",
        )
    return there[0]


def explained(
    cluster: Cluster, name: str, namespace: str, kind: str
) -> tuple[dict[str, Any], list[str]]:
    """One object, as it is listed, and why it is not ready; empty where it is.

    Raises:
        MissingError: there is no such one.
    """
    from kfp_suite.kserve import diagnosis, multi_model, routing

    tell, why = {
        "endpoint": (described, diagnosis.reasons),
        "model": (_model, multi_model.reasons),
        "graph": (_graph, routing.reasons),
    }[kind]
    found = cluster.get(name, namespace, KINDS[kind])
    told = tell(found)
    return told, [] if told["ready"] else why(cluster, found)


def described(service: Mapping[str, Any]) -> dict[str, Any]:
    """An InferenceService: what it serves, or that models of their own do."""
    from kfp_suite.kserve.canary import split_of
    from kfp_suite.kserve.manifests import is_ready
    from kfp_suite.kserve.trials import RUN, is_trial

    labels = service["metadata"].get("labels", {})
    found = {
        "name": service["metadata"]["name"],
        "kind": "trial" if is_trial(service) else "endpoint",
        "model": None,
        "version": None,
        "candidate": None,
        "percent": 0,
        "runtime": None,
        "ready": is_ready(service),
        "url": service.get("status", {}).get("url", ""),
    }
    if is_trial(service):
        return found | {"run": labels.get(RUN, "")}
    if "storageUri" not in service["spec"]["predictor"].get("model", {}):
        return found | {"kind": "shared"}
    try:
        split = split_of(service)
    except ContractError as error:  # somebody has edited it: the others are to be seen
        return found | {"why": str(error)}
    return found | {
        "model": split.stable.model,
        "version": split.stable.version,
        "candidate": split.candidate.version if split.candidate else None,
        "percent": split.percent,
        "runtime": split.stable.runtime,
    }


def in_words(one: Mapping[str, Any]) -> str:
    """A line of the list."""
    name, ready = one["name"], "ready" if one["ready"] else "not ready"
    if one["kind"] == "shared":
        return f"{name}: shared by models, {ready}, {one['url']}"
    if one["kind"] == "model":
        return f"  {name}: version {one['version']}, in {one['server']}, {ready}"
    if one["kind"] == "graph":
        return f"{name}: graph of {', '.join(one['services'])}, {ready}, {one['url']}"
    if one["kind"] == "trial":
        return f"{name}: trial of run {one['run'] or 'unknown'}, {ready}"
    if one["version"] is None:
        return f"{name}: {one['why']}"
    share = f", version {one['candidate']} gets {one['percent']} %" if one["candidate"] else ""
    return f"{name}: version {one['version']}{share}, {ready}, {one['url']}"


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    from kfp_suite.kserve.manifests import MODEL, VERSION, is_ready

    annotations = model["metadata"].get("annotations", {})
    version = annotations.get(VERSION, "")
    return {
        "name": model["metadata"]["name"],
        "kind": "model",
        "model": annotations.get(MODEL),
        "version": int(version) if version.isdigit() else None,
        "server": _server(model),
        "ready": is_ready(model),
        "url": model.get("status", {}).get("url", ""),
    }


def _graph(graph: Mapping[str, Any]) -> dict[str, Any]:
    from kfp_suite.kserve.manifests import is_ready

    steps = [step for node in graph["spec"]["nodes"].values() for step in node.get("steps", ())]
    return {
        "name": graph["metadata"]["name"],
        "kind": "graph",
        "services": sorted({step["serviceName"] for step in steps if step.get("serviceName")}),
        "ready": is_ready(graph),
        "url": graph.get("status", {}).get("url", ""),
    }


def _server(model: Mapping[str, Any]) -> str:
    return str(model["spec"]["inferenceService"])
