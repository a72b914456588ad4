"""The changes that applying a manifest would make."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from kfp_suite.kserve.cluster import KINDS, Cluster
from kfp_suite.kserve.manifests import to_yaml


def changes(cluster: Cluster, manifest: Mapping[str, Any], *, force: bool) -> str:
    """A unified diff of YAML, as the cluster itself would merge it; empty: no change.

    Args:
        cluster: The cluster.
        manifest: The manifest to apply.
        force: Take fields that others have set.

    Raises:
        AlreadyExistsError: another manager set a field to another value.
    """
    metadata, kind = manifest["metadata"], manifest["kind"]
    live = cluster.find(metadata["name"], metadata["namespace"], KINDS[kind])
    planned = cluster.apply(manifest, force=force, dry_run=True)
    lines = difflib.unified_diff(
        to_yaml(_told(live)).splitlines() if live else [],
        to_yaml(_told(planned)).splitlines(),
        f"{kind} {metadata['name']}, live",
        f"{kind} {metadata['name']}, after deploy",
        lineterm="",
    )
    return "\n".join(lines)


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the cluster's own fields."""
    metadata = {
        key: value
        for key, value in found["metadata"].items()
        if key in ("name", "namespace", "labels", "annotations")
    }
    return {"metadata": metadata, "spec": found["spec"]}
