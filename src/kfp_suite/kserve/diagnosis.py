"""Why an endpoint does not serve: conditions, pods, events and the last lines of a log."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.manifests import SPEC_DIGEST

_LINES = 5
# About a minute and a half of back-off: what may pass by itself has had its chance.
_RESTARTS = 3
_INITIALIZER = "storage-initializer"
_WARNINGS = 2
# Containers that others put before a server. In Knative mode it is the first of them that asks
# the server whether it is ready, and is not ready itself until then.
_PROXIES = ("queue-proxy", "istio-proxy")
NO_STATUS = "no status: KServe's controller does not run, or does not see the namespace"


def reasons(cluster: Cluster, service: Mapping[str, Any]) -> list[str]:
    """What is known, the most telling first; empty where nobody says anything."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    status = service.get("status", {})
    found: list[str] = []
    try:
        for pod in cluster.pods(name, namespace):
            found += of_pod(cluster, pod, namespace)
        # What KServe could not do at all, it says here alone.
        found += warnings(cluster, "InferenceService", name, namespace)
    except KfpSuiteError as error:
        found.append(f"the pods and events cannot be read: {error}")
    failure = status.get("modelStatus", {}).get("lastFailureInfo", {})
    if failure:
        found.append(f"model: {failure.get('reason', '')} {failure.get('message', '')}".strip())
    found += [
        in_words(c).rstrip(":")
        for c in status.get("conditions", ())
        if c["status"] != "True" and (c.get("reason") or c.get("message"))
    ]
    if not status:
        found.append(NO_STATUS)
    return list(dict.fromkeys(found))


def in_words(condition: Mapping[str, Any]) -> str:
    """A condition of any object: its type, and what KServe says of it."""
    said = f"{condition.get('reason', '')} {condition.get('message', '')}"
    return f"{condition['type']}: {said}".strip()


def given_up(
    cluster: Cluster, service: Mapping[str, Any], digests: Container[str], *, trusted: bool
) -> bool:
    """Whether waiting longer is of no use.

    Args:
        cluster: Where.
        service: The InferenceService as it is.
        digests: Of the manifests whose servers count.
        trusted: Whether what KServe says of a manifest is of these, and not of one before.
    """
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    pods = cluster.pods(name, namespace)
    ours = [pod for pod in pods if (pod.metadata.annotations or {}).get(SPEC_DIGEST) in digests]
    transition = service.get("status", {}).get("modelStatus", {}).get("transitionStatus")
    if transition == "InvalidSpec":
        return trusted
    if transition == "BlockedByFailedLoad" and ours and len(ours) == len(pods):
        return True
    return any(_restarts(pod) >= _RESTARTS for pod in ours)


def _restarts(pod: Any) -> int:
    """How often a container that now waits for its next start has failed."""
    containers = [
        *(pod.status.init_container_statuses or ()),
        *(pod.status.container_statuses or ()),
    ]
    return max(
        (
            one.restart_count
            for one in containers
            if one.state and one.state.waiting and one.state.waiting.reason == "CrashLoopBackOff"
        ),
        default=0,
    )


def pod_is_ready(pod: Any) -> bool:
    """Whether a pod says that it is ready."""
    conditions = (pod.status and pod.status.conditions) or ()
    return any(one.type == "Ready" and one.status == "True" for one in conditions)


def of_pod(cluster: Cluster, pod: Any, namespace: str) -> list[str]:
    """What is known of one pod; empty where it serves, or is about to end."""
    if pod.status is None or pod.metadata.deletion_timestamp is not None:
        return []
    name, found = pod.metadata.name, []
    for container, said in _told(pod):
        found.append(f"pod {name}, {container}: {said}")
        if "Pull" not in said:
            found += _last_lines(cluster, name, namespace, container)
    if found or not pod_is_ready(pod):
        found += [f"pod {name}: {said}" for said in warnings(cluster, "Pod", name, namespace)]
    return found


def warnings(cluster: Cluster, kind: str, name: str, namespace: str) -> list[str]:
    """The last warnings among the events of an object."""
    events = [one for one in cluster.events(kind, name, namespace) if one.type == "Warning"]
    return [f"{event.reason}: {event.message}" for event in events[-_WARNINGS:]]


def _told(pod: Any) -> list[tuple[str, str]]:
    """What its containers say by their states: of what keeps it from being ready, if nothing
    failed, that it runs."""
    before, servers = pod.status.init_container_statuses, pod.status.container_statuses
    containers = [*(before or ()), *(servers or ())]
    failed = [(one.name, said) for one in containers if (said := _container(one))]
    if failed or pod_is_ready(pod):
        return failed
    for one in before or ():
        if _runs(one) and not one.ready:
            return [(one.name, "has not ended yet")]
    own = [one for one in servers or () if one.name not in _PROXIES]
    return [(one.name, "runs, and is not ready") for one in own if _runs(one)]


def _runs(container: Any) -> bool:
    return bool(container.state and container.state.running)


def _container(container: Any) -> str:
    state, last = container.state, container.last_state
    ended = (state and state.terminated) or (last and last.terminated)
    parts = []
    if state and state.waiting and state.waiting.reason not in ("PodInitializing", None):
        parts.append(f"{state.waiting.reason} {state.waiting.message or ''}".strip())
    if ended and (ended.exit_code or ended.reason not in ("Completed", None)):
        parts.append(f"{ended.reason or 'ended'}, exit code {ended.exit_code}")
    return "; ".join(parts)


def _last_lines(cluster: Cluster, pod: str, namespace: str, container: str) -> list[str]:
    try:
        text = cluster.log(pod, namespace, container, _LINES)
    except KfpSuiteError:
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = " | ".join(lines[-_LINES:])
    what = "its last lines" if container != _INITIALIZER else "the storage initializer's last lines"
    return [f"{what}: {told}"] if told else []
