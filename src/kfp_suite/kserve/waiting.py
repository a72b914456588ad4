"""Wait until an endpoint serves the applied manifest, and no longer the former one.

KServe's status is not enough: Ready, and the model's state, may belong to the former servers
(kserve#1739, #4626), and `observedGeneration` is that of another object. So the workloads below
it are checked, as in `kubectl rollout status`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kfp_suite.contracts.errors import EndpointError, SupersededError
from kfp_suite.kserve.canary import Mode, silenced, with_mode, without_candidate
from kfp_suite.kserve.cluster import SERVICES, Cluster
from kfp_suite.kserve.deletion import is_dying
from kfp_suite.kserve.deployments import made_of, rolling
from kfp_suite.kserve.diagnosis import given_up, reasons, troubles
from kfp_suite.kserve.manifests import MANIFEST_DIGEST, SPEC_DIGEST, VERSION
from kfp_suite.kserve.patience import GivenUp, Missing, patiently, wait_for
from kfp_suite.kserve.restarts import pod_digests, same_pods
from kfp_suite.kserve.troubles import MAX_SECONDS, Trouble
from kfp_suite.kserve.version_choice import end_choice
from kfp_suite.kserve.workloads import Workloads

_CONTROLLER = "the controller"
_KINDS = ("predictor", "transformer")
# Until then a refusal may concern the former manifest.
_STALE_SECONDS = 30.0

log = logging.getLogger(__name__)


def wait_until_serving(
    cluster: Cluster,
    applied: Mapping[str, Any],
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Wait until every server is made of `applied`, and ready.

    Args:
        cluster: The cluster.
        applied: The InferenceService as `Cluster.apply` returned it.
        timeout_seconds: The time limit.
        clock: Monotonic seconds.

    Returns:
        The InferenceService when it serves.

    Raises:
        EndpointError: it does not in time, its servers fail for good, or a trouble lasts longer
            than the limit of its kind; with the reasons. Or it was deleted.
        SupersededError: another version was deployed there meanwhile, or this one again.
    """
    name, namespace = applied["metadata"]["name"], applied["metadata"]["namespace"]
    found, lasting = dict(applied), _Lasting(f"{namespace}/{name}")

    def look(passed: float) -> dict[str, Any]:
        nonlocal found
        found, workloads = in_place(cluster, applied), Workloads(cluster, namespace, name)
        if missing := waiting_for(workloads, applied, found):
            trusted = passed >= _STALE_SECONDS or _new(applied)
            hopeless = given_up(workloads, found, _digests(applied), trusted=trusted)
            if lasting.too_long(passed, troubles(workloads, found, _digests(applied))) or hopeless:
                raise GivenUp(missing)
            raise Missing(missing)
        return found

    try:
        return wait_for(cluster, look, f"{namespace}/{name}", timeout_seconds, clock)
    except Missing as missing:
        never = isinstance(missing, GivenUp)
        what = "KServe cannot serve the version" if never else "does not serve the version in time"
        why = reasons(Workloads(cluster, namespace, name), found)
        raise EndpointError(
            f"{what}: {'; '.join(why) or f'waits for {missing}'}",
            where=f"InferenceService {namespace}/{name}",
            expected=f"ready within {timeout_seconds:g} s",
            fix=f"kubectl describe inferenceservice {name} -n {namespace}",
        ) from missing


class _Lasting:
    """The troubles that keep servers from starting, logged at once, and their durations."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def too_long(self, passed: float, found: Iterable[tuple[str, Trouble]]) -> bool:
        """Whether one kind of trouble has lasted for its longest, `passed` seconds from the
        start."""
        kinds = set()
        for where, trouble in found:
            kinds.add(trouble.kind)
            line = f"{where}: {trouble.said}" if where else trouble.said
            if line not in self._told:
                self._told.add(line)
                log.warning("%s: %s", self._where, line)
        self._since = {kind: self._since.get(kind, passed) for kind in kinds}
        return any(
            passed - since >= MAX_SECONDS[kind]
            for kind, since in self._since.items()
            if kind in MAX_SECONDS
        )


def in_place(
    cluster: Cluster, applied: Mapping[str, Any], kind: tuple[str, str, str] = SERVICES
) -> dict[str, Any]:
    """The object as it is now, if it is still the applied one.

    Args:
        cluster: The cluster.
        applied: The InferenceService or TrainedModel, as `Cluster.apply` returned it.
        kind: Which of them.

    Raises:
        SupersededError: another version was deployed there, or this one in another way.
        EndpointError: it was deleted.
    """
    metadata = applied["metadata"]
    where = f"{applied['kind']} {metadata['namespace']}/{metadata['name']}"
    found = cluster.find(metadata["name"], metadata["namespace"], kind)
    if found is None or is_dying(found):
        raise EndpointError(
            "somebody deleted it meanwhile",
            where=where,
            expected="there until its version has answered",
            fix="deploy it again when it is gone",
        )
    ours, its = (service["metadata"].get("annotations", {}) for service in (applied, found))
    expected = f"version {ours.get(VERSION, '?')}"
    if ours.get(MANIFEST_DIGEST) != its.get(MANIFEST_DIGEST):
        raise SupersededError(
            f"version {its.get(VERSION, '?')} was deployed there meanwhile",
            where=where,
            expected=expected,
        )
    if kind == SERVICES and not same_pods(applied, found):
        raise SupersededError(
            f"{expected} was deployed there again meanwhile, in another way",
            where=where,
            expected=expected,
            fix="the deployment that came last tells what became of it",
        )
    return found


def roll_back(
    cluster: Cluster,
    live: Mapping[str, Any],
    mode: Mode,
    timeout_seconds: float,
    *,
    force: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Remove a candidate without losing a request.

    Args:
        cluster: The cluster.
        live: The InferenceService, ready to apply.
        mode: KServe's mode of it.
        timeout_seconds: The time limit of each of the two steps.
        force: Take fields that others have set.
        clock: Monotonic seconds.

    Returns:
        The InferenceService when the stable version alone serves.

    Raises:
        EndpointError: the stable version does not serve in time.
    """

    def apply(manifest: dict[str, Any]) -> dict[str, Any]:
        wanted = with_mode(manifest, mode)
        return patiently(
            cluster, lambda: cluster.apply(wanted, force=force), timeout_seconds, clock
        )

    name, namespace = live["metadata"]["name"], live["metadata"]["namespace"]
    if mode == "Standard":
        patiently(cluster, lambda: end_choice(cluster, name, namespace), timeout_seconds, clock)
    silent = silenced(live, mode)
    applied = apply(silent)
    if mode == "Knative":
        wait_until_serving(cluster, applied, timeout_seconds, clock)
    else:
        # The candidate may be broken: that it gets nothing is all that is waited for.
        def look(_: float) -> None:
            sides = cluster.get(name, namespace).get("status", {}).get("canaryStatuses", ())
            if any(side["ready"] and side["trafficPercent"] for side in sides):
                raise Missing("the candidate to get no requests")

        try:
            wait_for(cluster, look, f"{namespace}/{name}", timeout_seconds, clock)
        except Missing:
            log.warning("KServe does not take the candidate's requests away; it goes")
    alone = apply(without_candidate(silent, mode))
    return wait_until_serving(cluster, alone, timeout_seconds, clock)


def unserved(cluster: Cluster, service: Mapping[str, Any]) -> str:
    """The condition that an InferenceService's present spec waits for, in words; empty: none.
    KServe's Ready may belong to the former servers.

    Args:
        cluster: The cluster.
        service: As the API gives it.
    """
    metadata = service["metadata"]
    workloads = Workloads(cluster, metadata["namespace"], metadata["name"])
    return waiting_for(workloads, service, service)


def waiting_for(
    workloads: Workloads, applied: Mapping[str, Any], service: Mapping[str, Any]
) -> str:
    """The condition that does not hold yet, in words; empty if the applied manifest serves.

    Args:
        workloads: Those of the endpoint.
        applied: The applied manifest.
        service: The InferenceService as it is.
    """
    if not service.get("status", {}).get("deploymentMode"):
        return _CONTROLLER
    in_knative = workloads.cluster.mode(service) == "Knative"
    missing = _of_revisions if in_knative else _of_deployments
    if found := next(missing(workloads, applied, service), ""):
        return found
    conditions = {c["type"]: c["status"] for c in service["status"].get("conditions", ())}
    return "" if conditions.get("Ready") == "True" else "Ready"


def _of_revisions(
    workloads: Workloads, applied: Mapping[str, Any], service: Mapping[str, Any]
) -> Iterator[str]:
    for kind, wanted in pod_digests(applied).items():
        status = service["status"].get("components", {}).get(kind, {})
        created = status.get("latestCreatedRevision", "")
        if not created or _digest_of_revision(workloads, created) != wanted:
            yield _CONTROLLER
        if created != status.get("latestReadyRevision"):
            yield f"revision {created}"
        percent = applied["spec"][kind].get("canaryTrafficPercent", 100)
        share = sum(
            target.get("percent", 0)
            for target in status.get("traffic", ())
            if target.get("revisionName") == created
        )
        if share != percent:
            yield f"revision {created} to get {percent} % of the requests"


def _digest_of_revision(workloads: Workloads, name: str) -> str | None:
    revision = workloads.revision(name)
    if revision is None:
        return None
    found: str = revision["metadata"].get("annotations", {}).get(SPEC_DIGEST, "")
    return found


def _of_deployments(
    workloads: Workloads, applied: Mapping[str, Any], service: Mapping[str, Any]
) -> Iterator[str]:
    sides = [*pod_digests(applied).items(), *_canaries(applied)]
    found = {
        ((one.metadata.labels or {}).get("component", ""), made_of(one)): one
        for one in workloads.deployments(service["metadata"]["name"])
    }
    for side in sides:
        if side not in found:
            yield _CONTROLLER
            return
        yield from rolling(found[side])
    # KServe ends the servers of a removed side; until then they may get requests.
    for (kind, digest), one in found.items():
        if kind in _KINDS and (kind, digest) not in sides:
            yield f"deployment {one.metadata.name} to go"
    shares = {
        side["name"]: side["trafficPercent"]
        for side in service["status"].get("canaryStatuses", ())
        if side["ready"]
    }
    for side in applied["spec"].get("canary", ()):
        if shares.get(side["predictor"]["name"]) != side["trafficPercent"]:
            yield f"canary {side['predictor']['name']}"


def _canaries(applied: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for side in applied["spec"].get("canary", ()):
        yield "predictor", side["predictor"].get("annotations", {}).get(SPEC_DIGEST, "")


def _digests(applied: Mapping[str, Any]) -> list[str]:
    return [*pod_digests(applied).values(), *(digest for _, digest in _canaries(applied))]


def _new(applied: Mapping[str, Any]) -> bool:
    """Whether there was nothing before it."""
    return not applied.get("status")
