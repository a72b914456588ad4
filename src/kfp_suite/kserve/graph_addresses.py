"""Update graphs after a promotion has moved an endpoint to another address.

In Standard mode a promoted predictor has another name, and so another Service; the former one
goes. KServe writes the addresses of a graph's endpoints into its router when it reconciles the
graph, and a changed InferenceService does not trigger that: the graph itself has to change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.contracts.errors import MissingError, StoreError
from kfp_suite.kserve.cluster import GRAPHS, Cluster
from kfp_suite.kserve.manifests import PREFIX
from kfp_suite.kserve.patience import Missing, wait_for
from kfp_suite.kserve.version_choice import side_service

ASKED_AT = f"{PREFIX}/asked-at"
"""Of a graph: the Service of the endpoint that moved last. Nobody reads it; it changes."""

log = logging.getLogger(__name__)


def tell_graphs(
    cluster: Cluster,
    applied: Mapping[str, Any],
    timeout_seconds: float,
    clock: Callable[[], float],
) -> None:
    """Make the graphs of a namespace use an endpoint's present address. They fail between KServe's
    move and this update, so call it at once, not when the former servers have ended.

    Args:
        cluster: In Standard mode.
        applied: The InferenceService as it was applied last, without a candidate.
        timeout_seconds: How long KServe may take to move it.
        clock: Monotonic seconds.
    """
    name, namespace = applied["metadata"]["name"], applied["metadata"]["namespace"]
    predictor = applied["spec"]["predictor"]
    if not predictor.get("name"):
        return  # it has never moved
    service = side_service(name, predictor)

    def look(_: float) -> None:
        # KServe writes them and the address at once.
        if cluster.get(name, namespace).get("status", {}).get("canaryStatuses"):
            raise Missing("KServe to move the endpoint")

    try:
        wait_for(cluster, look, f"{namespace}/{name}", timeout_seconds, clock)
        for graph in cluster.services(namespace, kind=GRAPHS):
            if _asks(graph, name) and _told(graph) != service:
                log.info("graph %s asks %s", graph["metadata"]["name"], service)
                cluster.annotate(graph["metadata"]["name"], namespace, {ASKED_AT: service}, GRAPHS)
    except (Missing, MissingError):
        return  # it is not moved, or there are no graphs
    except StoreError as error:
        log.warning(
            "graphs that ask %s may ask an address that is gone, and cannot be told: %s. "
            "Let the step do it (kfp-suite endpoints access --graphs), or annotate each: "
            "kubectl annotate inferencegraph NAME -n %s --overwrite %s=%s",
            name,
            error,
            namespace,
            ASKED_AT,
            service,
        )


def _asks(graph: Mapping[str, Any], name: str) -> bool:
    nodes = graph["spec"].get("nodes", {}).values()
    return any(step.get("serviceName") == name for node in nodes for step in node.get("steps", ()))


def _told(graph: Mapping[str, Any]) -> str:
    return str(graph["metadata"].get("annotations", {}).get(ASKED_AT, ""))
