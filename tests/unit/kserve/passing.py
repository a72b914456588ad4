"""A cluster on which time passes as fast as it is waited for, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.manifests import Served, inference_service
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.kserve.waiting import wait_until_serving
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble

NAME, NAMESPACE = "late", "models"
KEY = f"{NAMESPACE}/{NAME}"


class Passing:
    """A double whose controller, and whoever waits for it, have one clock."""

    def __init__(self, double: KubernetesDouble) -> None:
        self.double, self.seconds = double, 0.0
        self.cluster = Cluster(double.client(), sleep=self._sleep)
        self._plan: list[tuple[float, Callable[[], Any]]] = []

    def at(self, seconds: float, do: Callable[[], Any]) -> None:
        """Let something happen after so many seconds."""
        self._plan.append((seconds, do))

    def behave(self, outcome: Any, **more: Any) -> None:
        """What becomes of the servers that are not ready yet, and of the next."""
        self.double.behave(KEY, Behaviour(outcome, **more))

    def apply(self, version: int) -> dict[str, Any]:
        """Apply a version of the endpoint."""
        served = Served(
            name=NAME,
            model=NAME,
            version=version,
            digest=f"sha256:{version}",
            manifest_digest=f"sha256:1{version}",
            store="gs://bucket/models",
            model_uri=f"gs://bucket/models/{NAME}/{version}/model-1",
        )
        settings = parse_settings({"image": "registry.example.com/server:1"})
        mode = self.double.controller.mode
        return self.cluster.apply(
            inference_service(served, namespace=NAMESPACE, settings=settings, mode=mode)
        )

    def wait(self, version: int, timeout: float = 600) -> dict[str, Any]:
        """Deploy a version and wait for it."""
        return wait_until_serving(self.cluster, self.apply(version), timeout, self._clock)

    def live(self) -> dict[str, Any]:
        """The InferenceService as it is."""
        return self.cluster.get(NAME, NAMESPACE)

    def pod(self) -> str:
        """The name of the pod that was made last."""
        pods = self.double.objects("pods", NAMESPACE)
        return str(
            max(pods, key=lambda one: int(one["metadata"]["resourceVersion"]))["metadata"]["name"]
        )

    def _clock(self) -> float:
        return self.seconds

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.double.advance(seconds)
        due = [one for one in self._plan if one[0] <= self.seconds]
        self._plan = [one for one in self._plan if one[0] > self.seconds]
        for _, do in due:
            do()
