"""Wait until an endpoint serves what was applied, and not what was there before."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.kserve.cluster import Cluster
from kfp_suite.components.kserve.diagnosis import hopeless, reasons

POLL_SECONDS = 2.0

log = logging.getLogger(__name__)


def wait_until_serving(
    cluster: Cluster,
    applied: Mapping[str, Any],
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Wait for the generation that `applied` is, and for its own revision.

    Args:
        cluster: Where.
        applied: The InferenceService as `Cluster.apply` gave it back.
        timeout_seconds: How long it may take.
        clock: Monotonic seconds.

    Returns:
        The InferenceService when it serves.

    Raises:
        EndpointError: it does not in time, or KServe has given up; with the reasons.
    """
    name, namespace = applied["metadata"]["name"], applied["metadata"]["namespace"]
    generation = applied["metadata"]["generation"]
    deadline, told = clock() + timeout_seconds, ""
    while True:
        found = cluster.get(name, namespace)
        waits_for = waiting_for(found, generation)
        if not waits_for:
            return found
        if waits_for != told:
            log.info("%s/%s: waiting for %s", namespace, name, waits_for)
            told = waits_for
        given_up = hopeless(found) and _observed(found) >= generation
        if given_up or clock() >= deadline:
            break
        cluster.sleep(min(POLL_SECONDS, max(0.0, deadline - clock())))
    what = "KServe cannot serve the version" if given_up else "does not serve the version in time"
    raise EndpointError(
        f"{what}: {'; '.join(reasons(cluster, found)) or f'waits for {told}'}",
        where=f"InferenceService {namespace}/{name}",
        expected=f"ready within {timeout_seconds:g} s",
        fix=f"kubectl describe inferenceservice {name} -n {namespace}",
    )


def waiting_for(service: Mapping[str, Any], generation: int) -> str:
    """What is still missing, in words; empty where the generation serves.

    Ready may belong to the revision before (kserve#1739): the controller must have seen
    this generation, and its newest revision must be the one that is ready.
    """
    status = service.get("status", {})
    if _observed(service) < generation:
        return "the controller"
    for predictor in status.get("components", {}).values():
        created = predictor.get("latestCreatedRevision")
        if created and created != predictor.get("latestReadyRevision"):
            return f"revision {created}"
    transition = status.get("modelStatus", {}).get("transitionStatus", "UpToDate")
    if transition not in ("", "UpToDate"):
        return f"the model ({transition})"
    for side in status.get("canaryStatuses", ()):
        if not side["ready"]:
            return f"canary {side['name']}"
    wanted = {side["predictor"]["name"] for side in service["spec"].get("canary", ())}
    if missing := wanted - {side["name"] for side in status.get("canaryStatuses", ())}:
        return f"canary {min(missing)}"
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    return "" if conditions.get("Ready") == "True" else "Ready"


def _observed(service: Mapping[str, Any]) -> int:
    return int(service.get("status", {}).get("observedGeneration", 0))
