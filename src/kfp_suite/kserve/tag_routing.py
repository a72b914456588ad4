"""A/B by header in Knative mode: a request with a tag in its header goes to that revision.

KServe tags the newest revision `latest` and the former one `prev` if an InferenceService has an
annotation for it; routing by a header with the tag is a feature of Knative that is off by default.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.errors import MissingError, ParameterError, StoreError, TransientError
from kfp_suite.kserve.cluster import Cluster

HEADER = "Knative-Serving-Tag"
ENABLED = "serving.kserve.io/enable-tag-routing"
"""The annotation by which KServe tags revisions."""
_NAMESPACE, _FEATURES, _FEATURE = "knative-serving", "config-features", "tag-header-based-routing"
_PATCH = (
    f"kubectl patch configmap {_FEATURES} -n {_NAMESPACE} --type merge "
    f"""-p '{{"data": {{"{_FEATURE}": "enabled"}}}}'"""
)

log = logging.getLogger(__name__)


def check_tag_routing(cluster: Cluster, service: Mapping[str, Any] | None) -> None:
    """Raises ParameterError if requests to an endpoint could not choose a version by header.

    Args:
        cluster: In Knative mode.
        service: The InferenceService as it is; None: it does not exist yet.
    """
    _check_feature(cluster)
    if service is None:
        return
    annotations = service["metadata"].get("annotations", {})
    if annotations.get(ENABLED) != "true":
        raise ParameterError(
            "KServe does not tag the versions of the endpoint, so no header can choose one",
            where="by_header",
            got=f"{ENABLED}: {annotations.get(ENABLED, 'not set')}",
            expected="true",
            fix="deploy the version that serves with endpoint: "
            f'{{annotations: {{{ENABLED}: "true"}}}}, and roll out with the same',
        )


def _check_feature(cluster: Cluster) -> None:
    try:
        features = cluster.config_map(_FEATURES, _NAMESPACE)
    except MissingError:
        features = {}
    except TransientError:
        raise
    except StoreError as error:
        log.warning("cannot see whether Knative routes by header: %s; %s lets it", error, _PATCH)
        return
    found = features.get(_FEATURE, "disabled")
    if found.lower() != "enabled":
        raise ParameterError(
            "Knative does not let a header choose a version",
            where="by_header",
            got=f"{_FEATURE}: {found} in ConfigMap {_NAMESPACE}/{_FEATURES}",
            expected="enabled",
            fix=_PATCH,
        )
