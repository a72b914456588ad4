"""RBAC for the accounts of deploy and rollout, with no wider rights than they need."""

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
_LIST_REVISIONS = ("serving.knative.dev", ("revisions",), ("list",))
_RBAC = "rbac.authorization.k8s.io"
_KFP_NAMESPACE = "kubeflow"
_INSTALLED = ("pipeline-runner", "default-editor")
"""The accounts that KFP and Kubeflow's profiles install, with the rights to run."""


def access(
    namespace: str,
    service_account: str,
    *,
    metrics: bool = False,
    by_header: bool = False,
    graphs: bool = False,
    delete: bool = False,
    listing: bool = False,
    runs_in: str = "",
) -> list[dict[str, Any]]:
    """A Role where endpoints are, and the account that runs pipelines bound to it.

    Args:
        namespace: The namespace of the endpoints.
        service_account: The account of the pipeline's deploy and rollout steps.
        metrics: A rollout that reads the servers' own metrics, without a Prometheus.
        by_header: A rollout that lets requests choose a version by header.
        graphs: A rollout that updates graphs with the address of a promoted version.
        delete: `kfp-suite endpoints delete`, and infra_validate on a cluster, too.
        listing: `kfp-suite endpoints list`, too.
        runs_in: The namespace that pipelines run in, which the account belongs to; empty: the
            endpoints' own, for an account that KFP's drivers do not run as.

    Returns:
        A ServiceAccount, unless it is one that Kubeflow installs; a Role and its RoleBinding;
        and, with `runs_in`, a RoleBinding to the role that KFP's own pods need there.
    """
    wanted = (
        (metrics, _METRICS),
        (by_header, _BY_HEADER),
        (graphs, _GRAPHS),
        (delete, _DELETE),
        (listing, _LIST),
        (listing, _LIST_REVISIONS),
    )
    rules = [*_RULES, *(rule for given, rule in wanted if given)]
    metadata = {"name": service_account, "namespace": namespace, "labels": dict(OWNER)}
    account = {**metadata, "namespace": runs_in or namespace}
    found: list[dict[str, Any]] = [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [
                {"apiGroups": [api], "resources": list(resources), "verbs": list(verbs)}
                for api, resources, verbs in rules
            ],
        },
        _binding(metadata, "Role", service_account, account),
    ]
    if service_account in _INSTALLED:
        return found
    if runs_in:
        kind, role = (
            ("Role", "pipeline-runner")
            if runs_in == _KFP_NAMESPACE
            else ("ClusterRole", "kubeflow-edit")
        )
        found.append(
            _binding({**account, "name": f"{service_account}-{role}"}, kind, role, account)
        )
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, *found]


def _binding(
    metadata: dict[str, Any], kind: str, role: str, account: dict[str, Any]
) -> dict[str, Any]:
    """A RoleBinding of a ServiceAccount."""
    subject = {
        "kind": "ServiceAccount",
        "name": account["name"],
        "namespace": account["namespace"],
    }
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [subject],
    }
