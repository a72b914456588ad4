"""Which versions of an endpoint answer, and whether these are the ones that its spec wants.

KServe's Ready is of the endpoint and not of its newest spec: in Standard mode it stays True as
long as the servers before answer, whatever becomes of the new ones.
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
    """What answers at an endpoint.

    Attributes:
        versions: Of the predictors that answer, ascending; empty: none does.
        as_wanted: Whether the spec as it is now answers, all of it, and nothing else.
    """

    versions: tuple[int, ...]
    as_wanted: bool


def answering(workloads: Workloads, service: Mapping[str, Any]) -> Answering:
    """What answers at an endpoint now.

    Args:
        workloads: Those of the endpoint, or of its namespace.
        service: The InferenceService as the API gives it.

    Raises:
        StoreError: the API refuses to tell.
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
    """The most telling reason for which what is wanted does not answer, by what is listed
    already; `diagnosis.reasons` asks further.

    Args:
        workloads: Those of the endpoint, or of its namespace.
        service: The InferenceService as the API gives it.

    Raises:
        StoreError: the API refuses to tell.
    """
    digests = [digest for _, digest in _wanted(service)]
    for where, trouble in troubles(workloads, service, digests, with_events=False):
        return f"{where}: {trouble.said}" if where else trouble.said
    if not service.get("status"):
        return NO_STATUS
    return next(iter(of_conditions(service)), "its servers are being started")


@dataclass(frozen=True)
class _Side:
    """Servers of one component that are sent requests: what they are made of."""

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
    """The components that requests should reach, and what each is made of."""
    found = {one for one in pod_digests(service).items() if one[0] != PREDICTOR}
    return found | {(PREDICTOR, _digest(side)) for side, percent in shares_of(service) if percent}


def _silent(service: Mapping[str, Any]) -> set[str]:
    """The digests of predictors that run and are sent no request."""
    return {_digest(side) for side, percent in shares_of(service) if not percent}


def _digest(side: Mapping[str, Any]) -> str:
    return str(side.get("annotations", {}).get(SPEC_DIGEST, ""))
