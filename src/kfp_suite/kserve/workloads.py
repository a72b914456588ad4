"""The workloads of endpoints at one moment: Deployments, pods and Knative revisions.

Each kind is listed once, when it is first needed: a look at an endpoint costs one listing of its
pods, and so does a look at a whole namespace.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from kfp_suite.contracts.errors import MissingError
from kfp_suite.kserve.cluster import OF_SERVICE, REVISIONS, Cluster
from kfp_suite.kserve.manifests import SPEC_DIGEST


class Workloads:
    """The workloads of one endpoint, or of every endpoint of a namespace.

    Args:
        cluster: The cluster.
        namespace: The Kubernetes namespace.
        name: Of the InferenceService; empty: of all.
        label: The label of workloads with the name of their object.

    Every method raises StoreError if the API refuses, and TransientError if it does not answer.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, name: str = "", label: str = OF_SERVICE
    ) -> None:
        self.cluster, self.namespace = cluster, namespace
        self._name, self._label = name, label
        self._revisions: dict[str, dict[str, Any] | None] = {}

    def deployments(self, name: str) -> list[Any]:
        """The Deployments of an endpoint: Standard mode has one for each side."""
        return self._of(name, self._deployments)

    def pods(self, name: str) -> list[Any]:
        """The pods of an endpoint."""
        return self._of(name, self._pods)

    def revision(self, name: str) -> dict[str, Any] | None:
        """A Knative revision; None if it is not there."""
        if not self._name:
            return self._all_revisions.get(name)
        if name not in self._revisions:
            self._revisions[name] = self.cluster.find(name, self.namespace, REVISIONS)
        return self._revisions[name]

    def _of(self, name: str, found: list[Any]) -> list[Any]:
        return [one for one in found if (one.metadata.labels or {}).get(self._label) == name]

    @cached_property
    def _deployments(self) -> list[Any]:
        return self.cluster.deployments(self._name, self.namespace, self._label)

    @cached_property
    def _pods(self) -> list[Any]:
        return self.cluster.pods(self._name, self.namespace, self._label)

    @cached_property
    def _all_revisions(self) -> dict[str, dict[str, Any]]:
        try:
            found = self.cluster.services(self.namespace, self._label, REVISIONS)
        except MissingError:  # a cluster without Knative
            return {}
        return {one["metadata"]["name"]: one for one in found}


def digest_of(pod: Any) -> str:
    """The digest of the manifest that a pod is made of; empty if it has no annotation."""
    digest: str = (pod.metadata.annotations or {}).get(SPEC_DIGEST, "")
    return digest


def is_ending(pod: Any) -> bool:
    """Whether a pod is about to end: requests go to the others."""
    return pod.metadata.deletion_timestamp is not None


def pod_is_ready(pod: Any) -> bool:
    """Whether a pod says that it is ready."""
    conditions = (pod.status and pod.status.conditions) or ()
    return any(one.type == "Ready" and one.status == "True" for one in conditions)
