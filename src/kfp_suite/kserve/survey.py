"""The capabilities of a cluster, as far as the present account may read them; read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from kubernetes.utils.quantity import parse_quantity

from kfp_suite.contracts.errors import MissingError
from kfp_suite.kserve.cluster import Cluster

CONTROLLER = "kserve-controller-manager"
CONTROLLER_IN = ("kserve", "kubeflow")
"""The namespaces that KServe is installed in: alone, and with a whole Kubeflow."""
_SECONDS = (3, 10)
"""To connect, and to answer."""
_STORAGE = ("cpu", "memory", "pods", "ephemeral-storage")


@dataclass(frozen=True)
class Controller:
    """KServe's controller.

    Attributes:
        version: By its image; empty if that has no tag.
        is_ready: Whether it runs.
    """

    version: str
    is_ready: bool


@dataclass(frozen=True)
class Node:
    """The resources of a node that pods can use.

    Attributes:
        name: Of the node.
        cpu: CPUs.
        memory: Bytes.
        devices: Accelerators by resource name.
        labels: Of the node.
    """

    name: str
    cpu: float
    memory: float
    devices: Mapping[str, float]
    labels: Mapping[str, str]


class Survey:
    """The questions about a cluster before a run.

    Every method raises StoreError if the account may not read the answer, and TransientError if
    the API does not answer.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def version(self) -> str:
        """Kubernetes' version."""
        found = self._ask(
            "version", lambda api: client.VersionApi(api).get_code(_request_timeout=_SECONDS)
        )
        return str(found.git_version)

    def groups(self) -> frozenset[str]:
        """The groups of its API."""
        found = self._ask(
            "API groups",
            lambda api: client.ApisApi(api).get_api_versions(_request_timeout=_SECONDS),
        )
        return frozenset(group.name for group in found.groups)

    def controller(self) -> Controller | None:
        """KServe's controller; None if it is in none of the usual namespaces."""
        for namespace in CONTROLLER_IN:
            try:
                found = self._controller(namespace)
            except MissingError:
                continue
            containers = found.spec.template.spec.containers
            image = next((one.image for one in containers if one.name == "manager"), "")
            version = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
            return Controller(version, bool(found.status and found.status.ready_replicas))
        return None

    def has_namespace(self, name: str) -> bool:
        """Whether there is a namespace."""
        return self._is_there(
            f"namespace {name}",
            lambda api: client.CoreV1Api(api).read_namespace(name, _request_timeout=_SECONDS),
        )

    def has_account(self, namespace: str, name: str) -> bool:
        """Whether there is a service account."""
        return self._is_there(
            f"service account {namespace}/{name}",
            lambda api: client.CoreV1Api(api).read_namespaced_service_account(
                name, namespace, _request_timeout=_SECONDS
            ),
        )

    def missing_rights(
        self, namespace: str, rules: Iterable[Mapping[str, Any]], user: str = ""
    ) -> dict[str, list[str]]:
        """The rights that an account lacks in a namespace.

        Args:
            namespace: The namespace.
            rules: As a Role has them.
            user: `system:serviceaccount:NAMESPACE:NAME`; empty: the present account.

        Returns:
            The verbs of each resource, `resource.group`, that are missing.
        """
        missing: dict[str, list[str]] = {}
        for verb, group, resource in _actions(rules):
            plural, _, subresource = resource.partition("/")
            attributes = client.V1ResourceAttributes(
                namespace=namespace,
                verb=verb,
                group=group,
                resource=plural,
                subresource=subresource or None,
            )
            if not self._may(attributes, user):
                missing.setdefault(f"{resource}.{group}" if group else resource, []).append(verb)
        return missing

    def nodes(self) -> list[Node]:
        """The nodes that take pods."""
        found = self._ask(
            "nodes", lambda api: client.CoreV1Api(api).list_node(_request_timeout=_SECONDS)
        )
        return [_node(one) for one in found.items if not one.spec.unschedulable]

    def _may(self, attributes: Any, user: str) -> bool:
        if not user:
            own = client.V1SelfSubjectAccessReview(
                spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
            )
            found = self._ask(
                "your rights",
                lambda api: client.AuthorizationV1Api(api).create_self_subject_access_review(
                    own, _request_timeout=_SECONDS
                ),
            )
            return bool(found.status.allowed)
        namespace = user.split(":")[2]
        groups = ["serviceaccounts", f"serviceaccounts:{namespace}", "authenticated"]
        review = client.V1SubjectAccessReview(
            spec=client.V1SubjectAccessReviewSpec(
                user=user,
                groups=[f"system:{one}" for one in groups],
                resource_attributes=attributes,
            )
        )
        found = self._ask(
            f"rights of {user}",
            lambda api: client.AuthorizationV1Api(api).create_subject_access_review(
                review, _request_timeout=_SECONDS
            ),
        )
        return bool(found.status.allowed)

    def _controller(self, namespace: str) -> Any:
        return self._ask(
            f"deployment {namespace}/{CONTROLLER}",
            lambda api: client.AppsV1Api(api).read_namespaced_deployment(
                CONTROLLER, namespace, _request_timeout=_SECONDS
            ),
        )

    def _is_there(self, what: str, ask: Callable[[Any], Any]) -> bool:
        try:
            self._ask(what, ask)
        except MissingError:
            return False
        return True

    def _ask(self, what: str, ask: Callable[[Any], Any]) -> Any:
        return self._cluster.ask(what, ask)


def _actions(rules: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield verb, group, resource


def _node(one: Any) -> Node:
    amounts = {name: float(parse_quantity(value)) for name, value in one.status.allocatable.items()}
    devices = {
        name: value
        for name, value in amounts.items()
        if name not in _STORAGE and not name.startswith("hugepages-")
    }
    labels = dict(one.metadata.labels or {})
    return Node(one.metadata.name, amounts["cpu"], amounts["memory"], devices, labels)
