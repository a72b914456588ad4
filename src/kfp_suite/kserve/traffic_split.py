"""Shares of requests on a KServe that accepts canaries and does not split requests.

In Standard mode KServe 0.20 starts the servers of `spec.canary`, and its HTTPRoute leads to the
stable ones alone. A second HTTPRoute for the same hosts, whose path is matched by a longer
expression, goes before it: of two routes the one with the longer match wins (Gateway API,
HTTPRouteRule).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.contracts.errors import EndpointError, MissingError, StoreError, TransientError
from kfp_suite.kserve.cluster import HTTP_ROUTES, Cluster
from kfp_suite.kserve.http_routes import backends_of, route_before
from kfp_suite.kserve.patience import Missing, wait_for

log = logging.getLogger(__name__)

_MAX_ROUTING_SECONDS = 15.0
"""A KServe that splits requests adds the candidate to its route within a few seconds."""


def split_requests(
    cluster: Cluster,
    service: Mapping[str, Any],
    sides: tuple[str, str],
    timeout_seconds: float,
    clock: Callable[[], float],
) -> None:
    """Split the requests of an endpoint by a route of our own, unless KServe does.

    Args:
        cluster: In Standard mode.
        service: The InferenceService as it is, with a ready canary that has a share.
        sides: The Kubernetes Services of the stable version and of the candidate.
        timeout_seconds: How long KServe may take to route to both, at most 15.
        clock: Monotonic seconds.

    Raises:
        EndpointError: KServe does not split, and its route cannot be copied.
    """
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]

    def look(_: float) -> None:
        if not set(sides) <= backends_of(cluster.get(name, namespace, HTTP_ROUTES)):
            raise Missing("KServe's route to lead to both versions")

    try:
        if cluster.find(split_name(name), namespace, HTTP_ROUTES) is None:
            seconds = min(timeout_seconds, _MAX_ROUTING_SECONDS)
            wait_for(cluster, look, f"{namespace}/{name}", seconds, clock)
            return
    except Missing:
        log.info("KServe does not split requests to %s: a route of ours does", name)
    except TransientError:
        raise
    except MissingError:
        log.info("no route of the Gateway API leads to %s", name)
        return
    except StoreError as error:
        log.warning("cannot see whether KServe splits requests to %s: %s", name, error)
        return
    route = cluster.get(name, namespace, HTTP_ROUTES)
    cluster.apply(split_route(service, route, sides), force=True)


def split_route(
    service: Mapping[str, Any], route: Mapping[str, Any], sides: tuple[str, str]
) -> dict[str, Any]:
    """The HTTPRoute that goes before KServe's own and splits requests.

    Args:
        service: The InferenceService, with a canary.
        route: KServe's HTTPRoute for it.
        sides: The Kubernetes Services of the stable version and of the candidate.

    Returns:
        KServe's rules for the stable version, each with a longer expression for the same paths,
        and with both versions by their shares.

    Raises:
        EndpointError: a path that is matched in another way than by KServe 0.20.
    """
    metadata = service["metadata"]
    percent = int(service["spec"]["canary"][0]["trafficPercent"])
    shares = dict(zip(sides, (100 - percent, percent), strict=True))
    rules = []
    for rule in copy.deepcopy(route["spec"]["rules"]):
        backend = next((one for one in rule["backendRefs"] if one["name"] == sides[0]), None)
        if backend is None:
            continue
        for match in rule["matches"]:
            match["path"]["value"] = _lengthen(match["path"], metadata["name"])
        rule["backendRefs"] = [
            {**backend, "name": name, "weight": weight} for name, weight in shares.items()
        ]
        rules.append(rule)
    return route_before(route, service, split_name(metadata["name"]), rules)


def split_name(service: str) -> str:
    """The name of the HTTPRoute that splits requests to the endpoint `service`."""
    return f"{service}-by-share"


def _lengthen(path: Mapping[str, str], service: str) -> str:
    """A longer expression for the same paths: `^(/.*)$` for `^/.*$`."""
    value = path["value"]
    is_anchored = value.startswith("^") and value.endswith("$")
    if path["type"] != "RegularExpression" or not is_anchored:
        raise EndpointError(
            "KServe does not split requests, and no route of ours can go before its own",
            where=f"HTTPRoute {service}",
            got=f"{path['type']} {value}",
            expected="RegularExpression ^…$",
            fix="roll out in Knative mode, or deploy the version",
        )
    return f"^({value[1:-1]})$"
