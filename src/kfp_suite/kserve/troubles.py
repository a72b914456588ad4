"""Troubles that keep the pods of an endpoint from starting, by kind.

Each kind has a time limit of its own. An image may still be pushed, a node added, a Secret
created, so none is final at once; but none is worth the whole time of a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

IMAGE, NODE, CONFIGURATION, VOLUME, CREATION, CRASH = (
    "image",
    "node",
    "configuration",
    "volume",
    "creation",
    "crash",
)
MAX_SECONDS: Mapping[str, float] = {
    IMAGE: 120.0,
    CONFIGURATION: 120.0,
    VOLUME: 180.0,
    CREATION: 180.0,
    NODE: 300.0,
}
"""How long a kind of trouble may last before waiting is given up; a cluster's autoscaler takes
minutes to add a node. A crash is counted in restarts, not in seconds."""
MIN_RESTARTS = 3
"""From how many restarts on a server that ends is given up: about a minute and a half of
back-off, in which what may pass by itself has had its chance."""
_IMAGE = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull")
_CONFIGURATION = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_VOLUME = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
_STARTING = ("PodInitializing", "ContainerCreating", None)
# A pod's name in a message changes with every pod that is tried.
_POD = re.compile(r'pods? "[^"]*"')


@dataclass(frozen=True)
class Trouble:
    """One thing that keeps a pod from starting.

    Attributes:
        kind: One of this module's constants.
        said: The cluster's message.
        final: Whether waiting cannot help.
    """

    kind: str
    said: str
    final: bool = False


def of_container(container: Any) -> Trouble | None:
    """The trouble of a container by its status; None: none."""
    state, last = container.state, container.last_state
    waiting = state.waiting if state else None
    ended = (state and state.terminated) or (last and last.terminated)
    parts = []
    if waiting and waiting.reason not in _STARTING:
        parts.append(f"{waiting.reason} {waiting.message or ''}".strip())
    if ended and (ended.exit_code or ended.reason not in ("Completed", None)):
        parts.append(f"{ended.reason or 'ended'}, exit code {ended.exit_code}")
    if not parts:
        return None
    reason = waiting.reason if waiting else None
    kinds = {**dict.fromkeys(_IMAGE, IMAGE), **dict.fromkeys(_CONFIGURATION, CONFIGURATION)}
    crashes = reason == "CrashLoopBackOff" and (container.restart_count or 0) >= MIN_RESTARTS
    return Trouble(kinds.get(str(reason), CRASH), "; ".join(parts), final=crashes)


def of_pod(pod: Any) -> Iterator[tuple[str, Trouble]]:
    """The troubles of a pod by its status, with the container's name, empty for the pod itself.
    None for a pod that is about to end."""
    if pod.status is None or pod.metadata.deletion_timestamp is not None:
        return
    for one in pod.status.conditions or ():
        if one.type == "PodScheduled" and one.status == "False":
            yield "", Trouble(NODE, f"{one.reason or 'not scheduled'}: {one.message or ''}")
    for container in (
        *(pod.status.init_container_statuses or ()),
        *(pod.status.container_statuses or ()),
    ):
        if (trouble := of_container(container)) is not None:
            yield container.name, trouble


def of_volumes(events: list[Any]) -> Iterator[Trouble]:
    """The troubles with volumes and network in the events of a pod that does not start."""
    found = {one.reason: one for one in events if one.reason in _VOLUME}
    for reason, event in found.items():
        yield Trouble(VOLUME, f"{reason}: {event.message}")


def of_deployment(deployment: Any) -> Iterator[Trouble]:
    """Why a Deployment's pods cannot be made at all: a quota, a policy, a webhook."""
    for one in (deployment.status and deployment.status.conditions) or ():
        if one.type == "ReplicaFailure" and one.status == "True":
            said = _POD.sub("pods", one.message or "")
            yield Trouble(CREATION, f"{one.reason or 'FailedCreate'}: {said}")


def starts(pod: Any) -> bool:
    """Whether a pod waits for the creation of its containers; only its events have reasons."""
    containers = [
        *(pod.status.init_container_statuses or ()),
        *(pod.status.container_statuses or ()),
    ]
    waiting = [one.state.waiting for one in containers if one.state and one.state.waiting]
    return len(waiting) == len(containers) > 0 and all(
        one.reason in ("PodInitializing", "ContainerCreating") for one in waiting
    )
