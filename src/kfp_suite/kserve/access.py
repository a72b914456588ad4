"""What deploy and rollout may do on a cluster, and nothing wider."""

from __future__ import annotations

from typing import Any

from kfp_suite.kserve.manifests import OWNER

_NAMED = ("inferenceservices", "trainedmodels", "inferencegraphs")
_RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("serving.kserve.io", (*_NAMED, "servingruntimes"), ("get", "create", "patch")),
    ("apps", ("deployments",), ("list",)),
    ("serving.knative.dev", ("revisions", "services"), ("get",)),
    ("", ("pods", "events"), ("list",)),
    ("", ("pods/log",), ("get",)),
)
_METRICS = ("", ("pods/proxy",), ("get",))
_BY_HEADER = (
    "gateway.networking.k8s.io",
    ("httproutes",),
    ("get", "create", "patch", "delete"),
)
_GRAPHS = ("serving.kserve.io", ("inferencegraphs",), ("list",))
_DELETE = ("serving.kserve.io", _NAMED, ("delete",))
_LIST = ("serving.kserve.io", _NAMED, ("list",))


def access(
    namespace: str,
    service_account: str,
    *,
    metrics: bool = False,
    by_header: bool = False,
    graphs: bool = False,
    delete: bool = False,
    listing: bool = False,
) -> list[dict[str, Any]]:
    """A ServiceAccount, a Role and their RoleBinding, in one namespace.

    Args:
        namespace: Where endpoints are.
        service_account: What the pipeline's deploy and rollout steps run as.
        metrics: A rollout that reads the servers' own metrics, without a Prometheus.
        by_header: A rollout that lets requests choose a version by header.
        graphs: A rollout that lets graphs know where a promoted version is asked.
        delete: `kfp-suite endpoints delete`, and infra_validate on a cluster, too.
        listing: `kfp-suite endpoints list`, too.
    """
    wanted = (
        (metrics, _METRICS),
        (by_header, _BY_HEADER),
        (graphs, _GRAPHS),
        (delete, _DELETE),
        (listing, _LIST),
    )
    rules = [*_RULES, *(rule for given, rule in wanted if given)]
    metadata = {"name": service_account, "namespace": namespace, "labels": dict(OWNER)}
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [
                {"apiGroups": [api], "resources": list(resources), "verbs": list(verbs)}
                for api, resources, verbs in rules
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": service_account},
            "subjects": [
                {"kind": "ServiceAccount", "name": service_account, "namespace": namespace}
            ],
        },
    ]
