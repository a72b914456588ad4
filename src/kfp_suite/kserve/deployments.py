"""The state of a Deployment's rolling update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfp_suite.kserve.manifests import SPEC_DIGEST


def made_of(deployment: Any) -> str:
    """The digest of the manifest that its pods are made of; empty if it has no annotation."""
    annotations = deployment.spec.template.metadata.annotations or {}
    digest: str = annotations.get(SPEC_DIGEST, "")
    return digest


def rolling(deployment: Any) -> Iterator[str]:
    """The missing parts of its rolling update, in the words of `kubectl rollout status`."""
    name, status = deployment.metadata.name, deployment.status
    wanted = deployment.spec.replicas if deployment.spec.replicas is not None else 1
    updated, available = status.updated_replicas or 0, status.available_replicas or 0
    if (status.observed_generation or 0) < deployment.metadata.generation:
        yield f"deployment {name}"
    elif updated < wanted:
        yield f"deployment {name}: {updated} of {wanted} servers are new"
    elif (status.replicas or 0) > updated:
        yield f"deployment {name}: {(status.replicas or 0) - updated} old servers to end"
    elif available < updated:
        yield f"deployment {name}: {available} of {updated} servers are available"
