"""The kinds of objects that the server knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

Json = dict[str, Any]

SERVING = "serving.kserve.io"
KNATIVE = "serving.knative.dev"
GATEWAY = "gateway.networking.k8s.io"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        group: Of its API; empty for the core group.
        version: Of its API.
        plural: Its name in paths.
        kind: Its name in objects.
        namespaced: Whether it lives in a namespace.
        status: Whether its status is written through a subresource of its own.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Its plural and group, as the server names it in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition made it."""
        return self.group in (SERVING, KNATIVE, GATEWAY)


NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False, status=True)
NODE = Kind("", "v1", "nodes", "Node", namespaced=False, status=True)
POD = Kind("", "v1", "pods", "Pod", status=True)
EVENT = Kind("", "v1", "events", "Event")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment", status=True)
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet", status=True)
INFERENCE_SERVICE = Kind(SERVING, "v1beta1", "inferenceservices", "InferenceService", status=True)
INFERENCE_GRAPH = Kind(SERVING, "v1alpha1", "inferencegraphs", "InferenceGraph", status=True)
TRAINED_MODEL = Kind(SERVING, "v1alpha1", "trainedmodels", "TrainedModel", status=True)
SERVING_RUNTIME = Kind(SERVING, "v1alpha1", "servingruntimes", "ServingRuntime")
CLUSTER_SERVING_RUNTIME = Kind(
    SERVING, "v1alpha1", "clusterservingruntimes", "ClusterServingRuntime", namespaced=False
)
KNATIVE_SERVICE = Kind(KNATIVE, "v1", "services", "Service", status=True)
HTTP_ROUTE = Kind(GATEWAY, "v1", "httproutes", "HTTPRoute", status=True)
REVISION = Kind(KNATIVE, "v1", "revisions", "Revision", status=True)
ACCESS_REVIEW = Kind(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)
USER_REVIEW = replace(ACCESS_REVIEW, plural="subjectaccessreviews", kind="SubjectAccessReview")

KINDS: tuple[Kind, ...] = (
    NAMESPACE,
    POD,
    EVENT,
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "services", "Service", status=True),
    Kind("", "v1", "serviceaccounts", "ServiceAccount"),
    DEPLOYMENT,
    REPLICA_SET,
    Kind(_RBAC, "v1", "roles", "Role"),
    Kind(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Kind(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    ACCESS_REVIEW,
    USER_REVIEW,
    NODE,
    INFERENCE_SERVICE,
    INFERENCE_GRAPH,
    SERVING_RUNTIME,
    CLUSTER_SERVING_RUNTIME,
    TRAINED_MODEL,
    KNATIVE_SERVICE,
    REVISION,
    HTTP_ROUTE,
)


def clone(value: Any) -> Any:
    """A deep copy of JSON."""
    if isinstance(value, dict):
        return {key: clone(one) for key, one in value.items()}
    if isinstance(value, list):
        return [clone(one) for one in value]
    return value


def split_key(key: str) -> tuple[str, str]:
    """Namespace and name of `namespace/name`, or of a `name` without a namespace."""
    namespace, _, name = key.rpartition("/")
    return namespace, name
