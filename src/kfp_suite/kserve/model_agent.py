"""KServe's agent, which copies the models of a shared server from the store.

KServe hands it the settings of S3 from the Secret of the service account, as variables of its
container. Without a region its client reads nothing, and without path-style addresses it asks for
`bucket.host`, which few stores but Amazon's have. TrainedModels are ready all the same, so the
pods are read, for which deploy has the right; Secrets are not.
"""

from __future__ import annotations

from typing import Any

from kfp_suite.kserve.cluster import Cluster

_CONTAINER = "agent"
_REGION, _ENDPOINT, _VIRTUAL = "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "S3_USER_VIRTUAL_BUCKET"
REGION = "serving.kserve.io/s3-region"
PATH_STYLE = 'serving.kserve.io/s3-usevirtualbucket: "false"'


def missing_annotations(cluster: Cluster, server: str, namespace: str, uri: str) -> list[str]:
    """The annotations that the Secret of a shared server's service account lacks.

    Args:
        cluster: The cluster.
        server: The InferenceService of the shared server.
        namespace: Its namespace.
        uri: Of a model that it loads.

    Returns:
        Annotations, as `REGION` and `PATH_STYLE`; none if the model is not in S3, or no pod has
        an agent yet. Without `REGION` no model is loaded; without `PATH_STYLE` none is from a
        store that does not know virtual-hosted addresses.
    """
    if not uri.startswith("s3://"):
        return []
    found: set[str] = set()
    for pod in cluster.pods(server, namespace):
        if pod.metadata.deletion_timestamp is None:
            found.update(*(_missing(one) for one in pod.spec.containers if one.name == _CONTAINER))
    return sorted(found)


def _missing(agent: Any) -> list[str]:
    given = {one.name: one.value for one in agent.env or ()}
    lacks_path_style = _ENDPOINT in given and str(given.get(_VIRTUAL, "")).lower() != "false"
    return [
        *([] if _REGION in given else [REGION]),
        *([PATH_STYLE] if lacks_path_style else []),
    ]
