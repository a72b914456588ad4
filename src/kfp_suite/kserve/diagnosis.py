"""Reasons that an endpoint does not serve: conditions, pods, events and the end of a log.

The most specific comes first: those of the newest version's pods, then KServe's. Past failures,
and KServe's messages about retried writes, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.restarts import pod_digests
from kfp_suite.kserve.troubles import CRASH, Trouble, of_deployment, of_volumes, starts
from kfp_suite.kserve.troubles import of_pod as troubles_of
from kfp_suite.kserve.workloads import Workloads, digest_of, is_ending, pod_is_ready

_LINES = 5
_MAX_CHARACTERS = 300
"""Of a line, or a message."""
_READ_LINES = 80
_INITIALIZER = "storage-initializer"
_WARNINGS = 2
# Containers that others put before a server. In Knative mode the first of them probes the
# server, and is not ready itself until the server is.
_PROXIES = ("queue-proxy", "istio-proxy")
# A write of a controller that met another one and is tried again: nothing is wrong.
_CONFLICT = "please apply your changes to the latest version"
# KServe warns of this at each look, of every endpoint of a cluster without Istio.
_ALWAYS = ("VirtualServiceCRDNotFound",)
# A failed pull has one event with the reason; these follow it.
_EMPTY = ("Error: ErrImagePull", "Error: ImagePullBackOff", "Back-off pulling image")
_PYTHON_ERROR = re.compile(r"([A-Za-z_][\w.]*\.)?[A-Za-z_]\w*(Error|Exception|Exit|Refused)(:|$)")
_FAILED_MODEL = ("BlockedByFailedLoad", "InvalidSpec")
NO_STATUS = "no status: KServe's controller does not run, or does not see the namespace"


def reasons(workloads: Workloads, service: Mapping[str, Any]) -> list[str]:
    """The known reasons, the most specific first; empty if there are none.

    Args:
        workloads: Those of the endpoint.
        service: The InferenceService as it is.
    """
    cluster, namespace = workloads.cluster, workloads.namespace
    name, status = service["metadata"]["name"], service.get("status", {})
    found: list[str] = []
    try:
        found += [one.said for one in _uncreated(workloads, service)]
        for pod in _newest_first(workloads.pods(name), service):
            found += of_pod(cluster, pod, namespace)
        # Failures of KServe itself are reported here alone.
        found += warnings(cluster, "InferenceService", name, namespace)
    except KfpSuiteError as error:
        found.append(f"the pods and events cannot be read: {error}")
    found += _of_model(status.get("modelStatus", {}), found)
    found += of_conditions(service)
    if not status:
        found.append(NO_STATUS)
    return list(dict.fromkeys(found))


def of_conditions(service: Mapping[str, Any]) -> list[str]:
    """KServe's conditions of an InferenceService in words, those with a message first."""
    found = [
        c
        for c in service.get("status", {}).get("conditions", ())
        if c["status"] != "True"
        and (c.get("reason") or c.get("message"))
        and _CONFLICT not in c.get("message", "")
    ]
    return [in_words(c).rstrip(":") for c in sorted(found, key=lambda c: not c.get("message"))]


def _of_model(model: Mapping[str, Any], told: list[str]) -> list[str]:
    """KServe's report of a model's failure. KServe keeps it after the model has loaded, and while
    another version loads, so it counts only if the present version is reported as failed, and is
    left out if a pod reported the same."""
    failure = model.get("lastFailureInfo") or {}
    if not failure or model.get("transitionStatus") not in _FAILED_MODEL:
        return []
    message = last_error(str(failure.get("message", "")))
    if message and any(message in one for one in told):
        return []
    return [f"model: {failure.get('reason', '')} {message}".strip()]


def _newest_first(pods: list[Any], service: Mapping[str, Any]) -> list[Any]:
    """The pods of the service's present spec, before the others."""
    digests = tuple(pod_digests(service).values())
    return sorted(pods, key=lambda pod: digest_of(pod) not in digests)


def in_words(condition: Mapping[str, Any]) -> str:
    """A condition of any object: its type, and its reason and message."""
    said = f"{condition.get('reason', '')} {condition.get('message', '')}"
    return f"{condition['type']}: {said}".strip()


def given_up(
    workloads: Workloads, service: Mapping[str, Any], digests: Container[str], *, trusted: bool
) -> bool:
    """Whether waiting longer is of no use.

    Args:
        workloads: Those of the endpoint.
        service: The InferenceService as it is.
        digests: Of the manifests whose servers count.
        trusted: Whether KServe's status is about these manifests, and not about a former one.
    """
    pods = workloads.pods(service["metadata"]["name"])
    ours = [pod for pod in pods if digest_of(pod) in digests]
    transition = service.get("status", {}).get("modelStatus", {}).get("transitionStatus")
    if transition == "InvalidSpec":
        return trusted
    seen = [trouble for pod in ours for _, trouble in troubles_of(pod)]
    if transition == "BlockedByFailedLoad" and ours and len(ours) == len(pods):
        # KServe may not have looked since the servers before these failed.
        return trusted or any(trouble.kind == CRASH for trouble in seen)
    return any(trouble.final for trouble in seen)


def troubles(
    workloads: Workloads,
    service: Mapping[str, Any],
    digests: Container[str],
    *,
    with_events: bool = True,
) -> Iterator[tuple[str, Trouble]]:
    """The troubles that keep the servers of some manifests from starting, with their places.

    Args:
        workloads: Those of the endpoint.
        service: The InferenceService as it is.
        digests: Of the manifests whose servers count.
        with_events: Whether the events of pods that do not start are read, a request for each:
            they alone tell of volumes.
    """
    for one in _uncreated(workloads, service):
        yield "", one
    for pod in workloads.pods(service["metadata"]["name"]):
        if digest_of(pod) not in digests or pod_is_ready(pod):
            continue
        where = f"pod {pod.metadata.name}"
        for container, trouble in troubles_of(pod):
            yield f"{where}, {container}" if container else where, trouble
        if with_events and pod.status is not None and starts(pod):
            events = workloads.cluster.events("Pod", pod.metadata.name, workloads.namespace)
            for trouble in of_volumes(events):
                yield where, trouble


def _uncreated(workloads: Workloads, service: Mapping[str, Any]) -> Iterator[Trouble]:
    """Why pods cannot be made, by the Deployments, which Knative's revisions have, too."""
    for deployment in workloads.deployments(service["metadata"]["name"]):
        yield from of_deployment(deployment)


def of_pod(cluster: Cluster, pod: Any, namespace: str) -> list[str]:
    """The troubles of one pod; empty if it serves, or is about to end."""
    if pod.status is None or is_ending(pod):
        return []
    name, found = pod.metadata.name, []
    for container, said in _told(pod):
        found.append(f"pod {name}, {container}: {said}")
        if "Pull" not in said and "CreateContainer" not in said:
            found += _last_lines(cluster, name, namespace, container)
    if found or not pod_is_ready(pod):
        found += [f"pod {name}: {said}" for said in warnings(cluster, "Pod", name, namespace)]
    return found


def warnings(cluster: Cluster, kind: str, name: str, namespace: str) -> list[str]:
    """The last telling warnings among the events of an object, each once."""
    said = [
        f"{event.reason}: {_short(event.message or '')}"
        for event in cluster.events(kind, name, namespace)
        if event.type == "Warning"
        and event.reason not in _ALWAYS
        and _CONFLICT not in (event.message or "")
        and not (event.message or "").startswith(_EMPTY)
    ]
    return list(dict.fromkeys(reversed(said)))[:_WARNINGS][::-1]


def _told(pod: Any) -> list[tuple[str, str]]:
    """The states of its containers in words: the failures, else that the unready ones run."""
    before, servers = pod.status.init_container_statuses, pod.status.container_statuses
    failed = [(name, trouble.said) for name, trouble in troubles_of(pod) if name]
    if failed or pod_is_ready(pod):
        return failed
    for one in before or ():
        if _runs(one) and not one.ready:
            return [(one.name, "has not ended yet")]
    own = [one for one in servers or () if one.name not in _PROXIES]
    return [(one.name, "runs, and is not ready") for one in own if _runs(one)]


def _runs(container: Any) -> bool:
    return bool(container.state and container.state.running)


def last_error(text: str) -> str:
    """The line of a log with the reason: Python's last error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _PYTHON_ERROR.match(line)]
    return _short((errors or lines)[-1]) if lines else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_CHARACTERS else f"{line[:_MAX_CHARACTERS]}…"


def _last_lines(cluster: Cluster, pod: str, namespace: str, container: str) -> list[str]:
    """The error that a container ended with, or the last lines that it wrote."""
    try:
        text = cluster.log(pod, namespace, container, _READ_LINES)
    except KfpSuiteError:
        return []
    lines = [_short(line) for line in text.splitlines() if line.strip()]
    whose = "the storage initializer's" if container == _INITIALIZER else "its"
    if any(_PYTHON_ERROR.match(line) for line in lines):
        return [f"{whose} last error: {last_error(text)}"]
    told = " | ".join(lines[-_LINES:])
    return [f"{whose} last lines: {told}"] if told else []
