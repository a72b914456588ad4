"""Restart a version that fails if it is deployed again.

Credentials and configuration are read when a pod is created: pods that failed for want of a
Secret go on failing after it is corrected. To KServe the same manifest is no change, so its pods
get an annotation with the number of restarts, and a new digest.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.digests import digest_value
from kfp_suite.kserve.manifests import PREFIX, SPEC_DIGEST

RESTARTS = f"{PREFIX}/restarts"
"""Of a predictor or transformer: how often its pods were started anew by a deployment."""
_SIDES = ("predictor", "transformer")


def restarts_of(service: Mapping[str, Any]) -> int:
    """How often an InferenceService was started anew."""
    text = str(service["spec"]["predictor"].get("annotations", {}).get(RESTARTS, "0"))
    return int(text) if text.isdigit() else 0


def with_restarts(manifest: Mapping[str, Any], count: int) -> dict[str, Any]:
    """`manifest`, as this module's functions have not seen it yet, with pods of the `count`-th
    restart; 0: as it is."""
    found = copy.deepcopy(dict(manifest))
    for side in (found["spec"][one] for one in _SIDES if one in found["spec"] and count):
        annotations = side.setdefault("annotations", {})
        annotations[RESTARTS] = str(count)
        annotations[SPEC_DIGEST] = digest_value([annotations.get(SPEC_DIGEST, ""), count])
    return found


def same_pods(manifest: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    """Whether applying a manifest would leave the pods of an InferenceService as they are."""
    return pod_digests(manifest) == pod_digests(service)


def pod_digests(service: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each component's pods."""
    return {
        kind: service["spec"][kind].get("annotations", {}).get(SPEC_DIGEST, "")
        for kind in _SIDES
        if kind in service["spec"]
    }
