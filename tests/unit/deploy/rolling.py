"""Rollouts of the endpoint `models/wings`, and what became of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kfp_suite.components.rollout.executor import rollout
from kfp_suite.components.rollout.outcome import Outcome
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.targets import ClusterTarget
from kfp_suite.kserve.canary import Split, split_of
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import inference_service
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble
from tests.unit.deploy.conftest import on

Event = Callable[[dict[str, Any]], None]


class Watched(Cluster):
    """A cluster where something happens before or after an InferenceService is applied."""

    def __init__(self, cluster: Cluster, before: Event | None, after: Event | None) -> None:
        super().__init__(cluster._api, cluster.sleep)
        self._before, self._after = before, after

    def apply(
        self, manifest: Mapping[str, Any], *, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        ours = manifest["kind"] == "InferenceService"
        if ours and self._before is not None:
            self._before(dict(manifest))
        found = super().apply(manifest, force=force, dry_run=dry_run)
        if ours and self._after is not None:
            self._after(dict(manifest))
        return found


def manifest(models: ModelStore, version: int) -> dict[str, Any]:
    served = Deployable.find(models, "wings", version).served
    return inference_service(served, namespace="models")


def roll(
    models: ModelStore,
    double: KubernetesDouble,
    folder: Path,
    version: str = "2",
    *,
    prometheus: str = "",
    timeout: float = 3,
    token: str | None = None,
    by_header: bool = False,
    before: Event | None = None,
    after: Event | None = None,
    between: Callable[[], None] | None = None,
    **more: Any,
) -> Outcome:
    """Roll out: `before` and `after` an InferenceService is applied something happens, and
    `between` two looks."""
    given = {"step_seconds": 15, "look_seconds": 0.02, **more}
    parameters = RolloutParameters(
        store=models.store.uri,
        model_name="wings",
        version=version,
        target="cluster",
        namespace="models",
        **given,
    )
    target = ClusterTarget(
        Watched(on(double, token), before, after),
        "wings",
        "models",
        timeout=timeout,
        prometheus=prometheus,
        by_header=by_header,
    )

    def sleep(seconds: float) -> None:
        if between is not None:
            between()
        time.sleep(min(seconds, 0.2))

    outcome = rollout(parameters, folder / "rollout", target=target, sleep=sleep)
    written = json.loads((folder / "rollout" / "endpoint.json").read_text())
    assert written["promoted"] == outcome.promoted
    return outcome


def share_of(manifest: dict[str, Any]) -> int | None:
    """Percent of the requests that a manifest gives a candidate, None where it has none."""
    split = split_of(manifest)
    return split.percent if split.candidate is not None else None


def live(double: KubernetesDouble) -> Split:
    return split_of(double.get("inferenceservices", "models/wings"))


def alone(double: KubernetesDouble, models: ModelStore, version: int) -> bool:
    """Whether a version serves everybody, and nothing else is left running."""
    running = {
        pod["metadata"]["annotations"]["kfp-suite.io/version"]
        for pod in double.objects("pods", "models")
    }
    split = live(double)
    return (
        (split.stable.version, split.candidate) == (version, None)
        and running == {str(version)}
        and models.aliases("wings")[CHAMPION] == version
    )
