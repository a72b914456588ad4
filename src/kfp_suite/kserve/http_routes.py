"""HTTPRoutes of ours, which go before KServe's own for the same hosts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kfp_suite.kserve.manifests import OWNER


def route_before(
    route: Mapping[str, Any], service: Mapping[str, Any], name: str, rules: list[dict[str, Any]]
) -> dict[str, Any]:
    """An HTTPRoute for the hosts and the gateways of KServe's own.

    Args:
        route: KServe's HTTPRoute for the InferenceService.
        service: The InferenceService: the route goes with it.
        name: Of the new route.
        rules: Matches of requests, and their backends.

    Returns:
        The manifest.
    """
    metadata = service["metadata"]
    owner = {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": dict(OWNER),
            "ownerReferences": [owner],
        },
        "spec": {
            "parentRefs": copy.deepcopy(route["spec"]["parentRefs"]),
            "hostnames": list(route["spec"]["hostnames"]),
            "rules": rules,
        },
    }


def backends_of(route: Mapping[str, Any]) -> set[str]:
    """The names of the Kubernetes Services that a route leads to."""
    return {
        backend["name"]
        for rule in route["spec"].get("rules", ())
        for backend in rule.get("backendRefs", ())
    }
