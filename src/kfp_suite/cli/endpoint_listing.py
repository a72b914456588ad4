"""What is on a cluster of the suite's, as `kfp-suite endpoints` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kfp_suite.contracts.errors import (
    ContractError,
    KfpSuiteError,
    MissingError,
    ParameterError,
    StoreError,
    TransientError,
)

if TYPE_CHECKING:
    from kfp_suite.kserve.cluster import Cluster
    from kfp_suite.kserve.workloads import Workloads

_SERVING = "serving.kserve.io"
KINDS = {
    "endpoint": (_SERVING, "v1beta1", "inferenceservices"),
    "model": (_SERVING, "v1alpha1", "trainedmodels"),
    "graph": (_SERVING, "v1alpha1", "inferencegraphs"),
}
"""What has a name on a cluster: an InferenceService, a TrainedModel, an InferenceGraph."""


def listed(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """What the suite made in a namespace: each shared server before its models, graphs last.

    However many there are, each kind of object is listed once.
    """
    from kfp_suite.kserve.cluster import OF_GRAPH
    from kfp_suite.kserve.manifests import OWNER
    from kfp_suite.kserve.workloads import Workloads

    selector = ",".join(f"{key}={value}" for key, value in OWNER.items())

    def of(kind: str) -> list[dict[str, Any]]:
        try:
            return cluster.services(namespace, selector, KINDS[kind])
        except MissingError:  # a KServe without it
            return []

    services, models, graphs = of("endpoint"), of("model"), of("graph")
    found = []
    told_of = _with_answers(Workloads(cluster, namespace), services)
    for service, told in zip(services, told_of, strict=True):
        own = [one for one in models if _server(one) == service["metadata"]["name"]]
        found += [told, *map(_model, own)]
    names = {service["metadata"]["name"] for service in services}
    found += [_model(one) for one in models if _server(one) not in names]
    routers = Workloads(cluster, namespace, label=OF_GRAPH)
    return [*found, *(_graph(routers, one) for one in graphs)]


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
    """One object, as it is listed, and why it is not ready; empty if it is.

    Raises:
        MissingError: there is no such one.
    """
    from kfp_suite.kserve import diagnosis, multi_model, routing
    from kfp_suite.kserve.cluster import OF_GRAPH, OF_SERVICE
    from kfp_suite.kserve.workloads import Workloads

    found = cluster.get(name, namespace, KINDS[kind])
    workloads = Workloads(cluster, namespace, name, OF_GRAPH if kind == "graph" else OF_SERVICE)
    if kind == "endpoint":
        (told,) = _with_answers(workloads, [found])
    else:
        told = _model(found) if kind == "model" else _graph(workloads, found)
    if told.get("answers") == []:
        told["answered_last"] = _answered_last(found)
    said: list[str] = told.pop("why", [])
    if told["ready"]:
        return told, said
    if kind == "endpoint":
        return told, diagnosis.reasons(workloads, found) or said
    why = {"model": multi_model.reasons, "graph": routing.reasons}[kind]
    return told, why(cluster, found) or said


def _answered_last(service: Mapping[str, Any]) -> int | None:
    """The version that a deployment or a rollout has last heard an answer of, by the records
    beside the versions; None: nobody knows, or the store cannot be read from here."""
    from kfp_suite.kserve.canary import split_of
    from kfp_suite.kserve.served import ServedRecords
    from kfp_suite.stores.store import open_store
    from kfp_suite.stores.versions import ModelStore

    try:
        stable = split_of(service).stable
        records = ServedRecords(ModelStore(open_store(stable.store)), stable.model, service)
        last = records.newest()
        return split_of(last).stable.version if last else None
    except KfpSuiteError:
        return None


def _with_answers(workloads: Workloads, services: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each InferenceService with the versions that answer, and why, if these are not what is
    wanted; with KServe's word alone, if the account may not see what runs."""
    from kfp_suite.kserve.answering import answering, why_not
    from kfp_suite.kserve.manifests import is_ready

    hidden = ""
    for service in services:
        told = described(service)
        if not hidden:
            try:
                found = answering(workloads, service)
                told |= {"answers": list(found.versions), "ready": found.as_wanted}
                if not found.as_wanted:
                    told["why"].append(why_not(workloads, service))
            except TransientError:
                raise
            except StoreError as error:
                hidden = f"which versions answer cannot be seen: {error}"
        if hidden:
            told |= {"answers": None, "ready": is_ready(service)}
            told["why"].append(hidden)
        yield told


def described(service: Mapping[str, Any]) -> dict[str, Any]:
    """An InferenceService: what its spec wants to be served, or that models of their own are."""
    from kfp_suite.kserve.canary import split_of
    from kfp_suite.kserve.trials import RUN, is_trial

    labels = service["metadata"].get("labels", {})
    found = {
        "name": service["metadata"]["name"],
        "kind": "trial" if is_trial(service) else "endpoint",
        "model": None,
        "version": None,
        "candidate": None,
        "percent": 0,
        "answers": None,
        "runtime": None,
        "ready": False,
        "url": service.get("status", {}).get("url", ""),
        "why": [],
    }
    if is_trial(service):
        return found | {"run": labels.get(RUN, "")}
    if "storageUri" not in service["spec"]["predictor"].get("model", {}):
        return found | {"kind": "shared"}
    try:
        split = split_of(service)
    except ContractError as error:  # somebody has edited it: the others are to be seen
        return found | {"why": [str(error)]}
    return found | {
        "model": split.stable.model,
        "version": split.stable.version,
        "candidate": split.candidate.version if split.candidate else None,
        "percent": split.percent,
        "runtime": split.stable.runtime,
    }


def in_words(one: Mapping[str, Any]) -> str:
    """An entry of the list: a line, and one more for each reason why it is not as it should be."""
    return "\n".join([_line(one), *(f"  why: {reason}" for reason in one.get("why", ()))])


def _line(one: Mapping[str, Any]) -> str:
    name, ready = one["name"], "ready" if one["ready"] else "not ready"
    said = {
        "shared": f"{name}: shared by models, {ready}, {one['url']}",
        "model": f"  {name}: version {one.get('version')}, in {one.get('server')}, {ready}",
        "graph": f"{name}: graph of {', '.join(one.get('services', ()))}, {ready}, {one['url']}",
        "trial": f"{name}: trial of run {one.get('run') or 'unknown'}, {ready}",
    }
    return said.get(one["kind"]) or f"{name}: {_versions(one, ready)}, {one['url']}"


def _versions(one: Mapping[str, Any], ready: str) -> str:
    """The versions that an endpoint's spec wants; if others answer, these before."""
    if one["version"] is None:
        return f"not a version's, {ready}"
    share = f", version {one['candidate']} gets {one['percent']} %" if one["candidate"] else ""
    wanted = f"version {one['version']}{share}"
    if one["ready"] or one["answers"] is None:
        return f"{wanted}, {ready}"
    return f"{_answers(one['answers'])}; wanted: {wanted}"


def _answers(versions: list[int]) -> str:
    if not versions:
        return "no version answers"
    if len(versions) == 1:
        return f"version {versions[0]} answers"
    return f"versions {', '.join(map(str, versions))} answer"


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


def _graph(routers: Workloads, graph: Mapping[str, Any]) -> dict[str, Any]:
    from kfp_suite.kserve.manifests import is_ready
    from kfp_suite.kserve.routing import missing_of_router

    steps = [step for node in graph["spec"]["nodes"].values() for step in node.get("steps", ())]
    try:
        missing = missing_of_router(routers, graph)
        ready, why = not missing, f"waits for {missing}" if missing else ""
    except TransientError:
        raise
    except StoreError as error:
        ready, why = is_ready(graph), f"its router cannot be seen: {error}"
    return {
        "name": graph["metadata"]["name"],
        "kind": "graph",
        "services": sorted({step["serviceName"] for step in steps if step.get("serviceName")}),
        "ready": ready,
        "url": graph.get("status", {}).get("url", ""),
        "why": [why] if why else [],
    }


def _server(model: Mapping[str, Any]) -> str:
    return str(model["spec"]["inferenceService"])
