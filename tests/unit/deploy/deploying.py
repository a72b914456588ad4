"""Deployments of the two published versions, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble
from tests.unit.deploy.conftest import on


class Deployer:
    """Deploys versions to `models/wings` of a double, as the pipeline's step does."""

    def __init__(self, double: KubernetesDouble, models: ModelStore, folder: Path) -> None:
        self.cluster, self._models, self._folder = on(double), models, folder
        self._deployed = 0

    def deploy(
        self, version: int, *, cluster: Cluster | None = None, seconds: float = 3, **more: Any
    ) -> dict[str, Any]:
        """Deploy a version; what the step writes into `endpoint.json`."""
        self._deployed += 1
        place = self._folder / str(self._deployed)
        place.mkdir()
        content = {"store": self._models.store.uri, "model": "wings", "version": version}
        (place / "pushed.json").write_text(json.dumps(content))
        given = DeployParameters(
            target="cluster", namespace="models", timeout_seconds=seconds, **more
        )
        return deploy(given, place, place / "endpoint", cluster=cluster or self.cluster)
