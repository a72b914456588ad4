"""Wait until KServe routes by the applied graph, and no longer by the former one.

KServe's Ready does not show it: in Knative mode it is the Knative Service's, in Standard mode
it is True as soon as there is a Deployment, and `observedGeneration` is the Deployment's, or is
never set. So the router's own workload is checked, and then the graph gets a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.contracts.errors import EndpointError, KfpSuiteError, MissingError
from kfp_suite.kserve.canary import Mode, mode_of
from kfp_suite.kserve.cluster import (
    GRAPHS,
    KNATIVE_SERVICES,
    OF_GRAPH,
    SERVICES,
    Cluster,
)
from kfp_suite.kserve.deployments import made_of, rolling
from kfp_suite.kserve.diagnosis import NO_STATUS, in_words, of_pod, warnings
from kfp_suite.kserve.graphs import services_of
from kfp_suite.kserve.manifests import DEPLOYMENT_MODE, SPEC_DIGEST, is_ready
from kfp_suite.kserve.patience import Missing, wait_for
from kfp_suite.kserve.smoke import address_of
from kfp_suite.kserve.workloads import Workloads
from kfp_suite.runtimes.http_client import ask
from kfp_suite.runtimes.protocol import Question

_CONTROLLER = "the controller"


def wait_until_routing(
    cluster: Cluster,
    applied: Mapping[str, Any],
    request: Any,
    *,
    ingress: str = "",
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Wait until the router runs the applied graph, and has answered a request.

    Args:
        cluster: The cluster.
        applied: The InferenceGraph as `Cluster.apply` returned it.
        request: The body of the request.
        ingress: As `address_of`.
        timeout_seconds: The time limit.
        clock: Monotonic seconds.

    Returns:
        The InferenceGraph when it answers.

    Raises:
        EndpointError: it does not in time, with the reasons.
    """
    name, namespace = applied["metadata"]["name"], applied["metadata"]["namespace"]
    found = dict(applied)

    def look(_: float) -> dict[str, Any]:
        nonlocal found
        found = cluster.get(name, namespace, GRAPHS)
        if missing := _missing(cluster, applied):
            raise Missing(missing)
        if not (is_ready(found) and found["status"].get("url")):
            raise Missing("Ready")
        base, headers = address_of(_with_address(found), ingress)
        try:
            ask(base, Question("/", request), headers=headers)
        except EndpointError as error:
            raise Missing(f"an answer: {error}") from error
        return found

    try:
        return wait_for(cluster, look, f"{namespace}/{name}", timeout_seconds, clock)
    except Missing as missing:
        why = reasons(cluster, found)
        raise EndpointError(
            f"the graph is not ready in time{': ' if why else ''}{'; '.join(why)}",
            where=f"InferenceGraph {namespace}/{name}",
            got=f"waits for {missing}",
            expected=f"ready within {timeout_seconds:g} s",
            fix=f"kubectl describe inferencegraph {name} -n {namespace}",
        ) from missing


def missing_of_router(routers: Workloads, graph: Mapping[str, Any]) -> str:
    """The condition that a graph waits for, in words; empty: none. In Standard mode KServe
    reports a graph as ready even if its newest router has never run.

    Args:
        routers: The workloads of the graph, or of every graph of its namespace.
        graph: The InferenceGraph as the API gives it.
    """
    if not is_ready(graph):
        return "Ready"
    metadata, name = graph["metadata"], graph["metadata"]["name"]
    named = [one for one in routers.deployments(name) if one.metadata.name == name]
    digest = metadata.get("annotations", {}).get(SPEC_DIGEST)
    if not named or digest is None:
        return ""  # in Knative mode Deployments have other names, and Ready is of the newest
    ours = [one for one in named if made_of(one) == digest]
    return next(rolling(ours[0]), "") if ours else _CONTROLLER


def _missing(cluster: Cluster, applied: Mapping[str, Any]) -> str:
    """The condition that the router's workload waits for, in words; empty: none."""
    lacking = _of_service if _mode(cluster, applied) == "Knative" else _of_deployment
    metadata = applied["metadata"]
    digest = metadata["annotations"][SPEC_DIGEST]
    return lacking(cluster, metadata["name"], metadata["namespace"], digest)


def _mode(cluster: Cluster, graph: Mapping[str, Any]) -> Mode:
    """KServe never writes a graph's mode into its status."""
    said = graph["metadata"]["annotations"].get(DEPLOYMENT_MODE)
    return mode_of(said) if said else cluster.mode(None, graph["metadata"]["namespace"])


def _of_service(cluster: Cluster, name: str, namespace: str, digest: str) -> str:
    try:
        service = cluster.get(name, namespace, KNATIVE_SERVICES)
    except MissingError:
        return _CONTROLLER
    template, status = service["spec"]["template"]["metadata"], service.get("status", {})
    if template.get("annotations", {}).get(SPEC_DIGEST) != digest:
        return _CONTROLLER
    seen = status.get("observedGeneration", 0) >= service["metadata"]["generation"]
    return "" if seen and is_ready(service) else f"Knative service {name}"


def _of_deployment(cluster: Cluster, name: str, namespace: str, digest: str) -> str:
    routers = cluster.deployments(name, namespace, OF_GRAPH)
    ours = [one for one in routers if one.metadata.name == name and made_of(one) == digest]
    return next(rolling(ours[0]), "") if ours else _CONTROLLER


def _with_address(graph: Mapping[str, Any]) -> dict[str, Any]:
    """A graph with its address inside the cluster, the same in both modes. KServe does not set
    it, and in Standard mode its `url` leads nowhere without a route of your own."""
    name, namespace = graph["metadata"]["name"], graph["metadata"]["namespace"]
    inside = {"url": f"http://{name}.{namespace}.svc.cluster.local"}
    return {**graph, "status": {"address": inside, **graph["status"]}}


def reasons(cluster: Cluster, graph: Mapping[str, Any]) -> list[str]:
    """The reasons that a graph does not answer, the most specific first; empty if none is
    known."""
    namespace, name = graph["metadata"]["namespace"], graph["metadata"]["name"]
    found: list[str] = []
    try:
        for service in services_of(graph):
            live = cluster.find(service, namespace, SERVICES)
            if live is None or not is_ready(live):
                found.append(f"endpoint {service} is {'not ready' if live else 'not there'}")
        for pod in cluster.pods(name, namespace, OF_GRAPH):
            found += of_pod(cluster, pod, namespace)
        found += warnings(cluster, "InferenceGraph", name, namespace)
    except KfpSuiteError as error:
        found.append(f"its endpoints and router cannot be read: {error}")
    found += [
        in_words(c)
        for c in graph.get("status", {}).get("conditions", ())
        if c["status"] != "True" and c["type"] != "Stopped"
    ]
    if not found and not graph.get("status"):
        return [NO_STATUS]
    return found
