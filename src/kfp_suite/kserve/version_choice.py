"""A/B by header: a request that names a version in its header gets that version.

In Standard mode KServe splits requests in an HTTPRoute of the Gateway API. A second route for
the same hosts, which also matches the header, takes precedence: of two routes the one that
matches more headers wins (Gateway API, HTTPRouteRule).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.contracts.errors import (
    EndpointError,
    MissingError,
    StoreError,
    TransientError,
)
from kfp_suite.kserve.cluster import HTTP_ROUTES, Cluster
from kfp_suite.kserve.http_routes import backends_of, route_before
from kfp_suite.kserve.manifests import VERSION
from kfp_suite.kserve.patience import Missing, wait_for
from kfp_suite.kserve.traffic_split import split_name
from kfp_suite.runtimes.http_client import VERSION_CHOICE

log = logging.getLogger(__name__)


def offer_choice(
    cluster: Cluster,
    service: Mapping[str, Any],
    timeout_seconds: float,
    clock: Callable[[], float],
) -> None:
    """Let requests choose between the stable version and the candidate.

    Args:
        cluster: In Standard mode, with the Gateway API.
        service: The InferenceService as it is, with a ready canary.
        timeout_seconds: How long KServe may take to route to both.
        clock: Monotonic seconds.

    Raises:
        EndpointError: KServe does not route by the Gateway API, or not to both in time.
    """
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    versions = _versions(service)

    def look(_: float) -> dict[str, Any]:
        try:
            # Ours, if KServe does not split requests: it goes before KServe's own.
            route = cluster.find(split_name(name), namespace, HTTP_ROUTES)
            route = route or cluster.get(name, namespace, HTTP_ROUTES)
        except MissingError as error:
            raise Missing("KServe's route") from error
        if not versions.keys() <= backends_of(route):
            raise Missing("KServe's route to lead to both versions")
        return route

    try:
        route = wait_for(cluster, look, f"{namespace}/{name}", timeout_seconds, clock)
    except Missing as missing:
        raise EndpointError(
            "requests cannot choose a version by header",
            where=f"HTTPRoute {namespace}/{name}",
            got=f"waits for {missing}",
            expected=f"KServe's own route, to {', '.join(sorted(versions))}",
            fix="set ingress.enableGatewayApi in KServe's configuration, or by_header to False",
        ) from missing
    cluster.apply(choice_route(service, route), force=True)


def end_choice(cluster: Cluster, name: str, namespace: str) -> None:
    """Delete the routes by header and by share, if there are any: they lead to servers that go.
    An account without rights to routes has made none."""
    for route in (_name(name), split_name(name)):
        try:
            cluster.delete(route, namespace, HTTP_ROUTES)
        except MissingError:
            continue
        except TransientError:
            raise
        except StoreError as error:
            log.info("routes are left as they are: %s", error)
            return


def choice_route(service: Mapping[str, Any], route: Mapping[str, Any]) -> dict[str, Any]:
    """The HTTPRoute by header beside KServe's own.

    Args:
        service: The InferenceService, with a canary.
        route: KServe's HTTPRoute for it.
    """
    versions = _versions(service)
    rules = []
    for rule in route["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            if backend["name"] not in versions:
                continue
            chosen = {"type": "Exact", "name": VERSION_CHOICE, "value": versions[backend["name"]]}
            one = copy.deepcopy(dict(rule))
            for match in one["matches"]:
                match["headers"] = [*match.get("headers", ()), chosen]
            one["backendRefs"] = [{key: v for key, v in backend.items() if key != "weight"}]
            rules.append(one)
    return route_before(route, service, _name(service["metadata"]["name"]), rules)


def _name(service: str) -> str:
    return f"{service}-by-version"


def _versions(service: Mapping[str, Any]) -> dict[str, str]:
    """The Kubernetes Services of both sides, and the version behind each."""
    sides = [service["spec"]["predictor"]]
    sides += [canary["predictor"] for canary in service["spec"].get("canary", ())]
    return {
        side_service(service["metadata"]["name"], side): side["annotations"][VERSION]
        for side in sides
    }


def side_service(name: str, side: Mapping[str, Any]) -> str:
    """The Kubernetes Service of a predictor of the endpoint `name`, as KServe names it."""
    own = side.get("name")
    return f"{name}-{own}-predictor" if own else f"{name}-predictor"
