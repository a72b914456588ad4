"""The versions that answer at an endpoint, and whether they are those of its spec.

KServe's Ready is about the endpoint and not its newest spec: in Standard mode it stays True as
long as the former servers answer, even if the new ones never start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kfp_suite.kserve.canary import shares_of
from kfp_suite.kserve.diagnosis import NO_STATUS, of_conditions, troubles
from kfp_suite.kserve.manifests import SPEC_DIGEST, VERSION, is_ready
from kfp_suite.kserve.restarts import pod_digests
from kfp_suite.kserve.workloads import Workloads, digest_of, is_ending, pod_is_ready

PREDICTOR = "predictor"
_COMPONENT = "component"
"""The label of a pod, or of a revision, that KServe writes its component into."""


@dataclass(frozen=True)
class Answering:
    """The versions that answer at an endpoint.

    Attributes:
        versions: Of the predictors that answer, ascending; empty: none does.
        as_wanted: Whether exactly the present spec answers.
    """

    versions: tuple[int, ...]
    as_wanted: bool


def answering(workloads: Workloads, service: Mapping[str, Any]) -> Answering:
    """The versions that answer at an endpoint now.

    Args:
        workloads: Those of the endpoint, or of its namespace.
        service: The InferenceService as the API gives it.

    Raises:
        StoreError: the API refuses the request.
    """
    in_knative = workloads.cluster.mode(service) == "Knative"
    found = set((_of_traffic if in_knative else _of_pods)(workloads, service))
    found = {one for one in found if one.digest not in _silent(service)}
    versions = {one.version for one in found if one.component == PREDICTOR}
    return Answering(
        tuple(sorted(int(one) for one in versions if one.isdigit())),
        is_ready(service) and {(one.component, one.digest) for one in found} == _wanted(service),
    )


def why_not(workloads: Workloads, service: Mapping[str, Any]) -> str:
    """The best reason that the spec's version does not answer, from the objects listed so far;
    `diagnosis.reasons` sends further requests.

    Args:
        workloads: Those of the endpoint, or of its namespace.
        service: The InferenceService as the API gives it.

    Raises:
        StoreError: the API refuses the request.
    """
    digests = [digest for _, digest in _wanted(service)]
    for where, trouble in troubles(workloads, service, digests, with_events=False):
        return f"{where}: {trouble.said}" if where else trouble.said
    if not service.get("status"):
        return NO_STATUS
    return next(iter(of_conditions(service)), "its servers are being started")


@dataclass(frozen=True)
class _Side:
    """The servers of one component that get requests, by the digest of their manifest."""

    component: str
    digest: str
    version: str


def _of_pods(workloads: Workloads, service: Mapping[str, Any]) -> Iterator[_Side]:
    for pod in workloads.pods(service["metadata"]["name"]):
        if pod_is_ready(pod) and not is_ending(pod):
            labels, annotations = pod.metadata.labels or {}, pod.metadata.annotations or {}
            yield _Side(labels.get(_COMPONENT, ""), digest_of(pod), annotations.get(VERSION, ""))


def _of_traffic(workloads: Workloads, service: Mapping[str, Any]) -> Iterator[_Side]:
    """By revisions, for one that is sent requests may have no pod until the next of them."""
    for component, status in service.get("status", {}).get("components", {}).items():
        for target in status.get("traffic", ()):
            revision = workloads.revision(target.get("revisionName", ""))
            if revision is not None and target.get("percent"):
                annotations = revision["metadata"].get("annotations", {})
                yield _Side(
                    component, annotations.get(SPEC_DIGEST, ""), annotations.get(VERSION, "")
                )


def _wanted(service: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The components that requests should reach, with the digest of each one's manifest."""
    found = {one for one in pod_digests(service).items() if one[0] != PREDICTOR}
    return found | {(PREDICTOR, _digest(side)) for side, percent in shares_of(service) if percent}


def _silent(service: Mapping[str, Any]) -> set[str]:
    """The digests of predictors that run and are sent no request."""
    return {_digest(side) for side, percent in shares_of(service) if not percent}


def _digest(side: Mapping[str, Any]) -> str:
    return str(side.get("annotations", {}).get(SPEC_DIGEST, ""))
