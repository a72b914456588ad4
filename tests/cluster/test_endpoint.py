"""An endpoint's life: deployed, rolled out to the next version, taken back, deleted.

On a real cluster this needs KServe's controller, the suite's images, and a store that the
cluster can read:

    KFP_SUITE_KUBECONFIG=~/.kube/config KFP_SUITE_STORE=gs://bucket/test \\
    KFP_SUITE_SERVING_IMAGE=registry/kfp-suite-python-serving@sha256:… \\
    KFP_SUITE_INGRESS=http://203.0.113.7 pytest tests/cluster/test_endpoint.py
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from kubernetes import config

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.components.rollout.executor import rollout
from kfp_suite.components.rollout.outcome import Outcome
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.targets import ClusterTarget
from kfp_suite.contracts.errors import EndpointError, MissingError
from kfp_suite.kserve.canary import split_of
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.smoke import address_of
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.runtimes.http_client import ask
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS
from tests.serving.conftest import publish
from tests.unit.deploy.fleet import fleet_of

# Small enough for a cluster of one node, which has two servers while a version rolls out.
SETTINGS = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


@dataclass(frozen=True)
class Place:
    """Where endpoints live: the cluster, its namespace, its ingress, and the store."""

    cluster: Cluster
    namespace: str
    ingress: str
    models: ModelStore
    timeout: float


@pytest.fixture(params=["double", "real"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    if request.param == "real":
        kubeconfig, store = (os.environ.get(f"KFP_SUITE_{n}") for n in ("KUBECONFIG", "STORE"))
        if not (kubeconfig and store):
            pytest.skip("no cluster with a store: KFP_SUITE_KUBECONFIG=… KFP_SUITE_STORE=gs://…")
        models = filled(ModelStore(open_store(store)), tmp_path)
        client = config.new_client_from_config(kubeconfig)
        namespace = os.environ.get("KFP_SUITE_NAMESPACE", "kfp-suite-test")
        found = Place(
            Cluster(client), namespace, os.environ.get("KFP_SUITE_INGRESS", ""), models, 600
        )
        yield found
        with suppress(MissingError):
            found.cluster.delete("wings", namespace)
        return
    monkeypatch.setenv(IMAGE_VARIABLES["serving"], "registry.example.com/server@sha256:1")
    monkeypatch.setenv(STORE_VARIABLE, "pvc://claim/store")
    models = filled(ModelStore(open_store(str(tmp_path / "store"))), tmp_path)
    double = KubernetesDouble(crds=CRDS, mode="Standard")
    with running(double), fleet_of(models, double):
        cluster = Cluster(double.client(), sleep=lambda seconds: time.sleep(seconds / 20))
        yield Place(cluster, "models", "", models, 10)


def filled(models: ModelStore, folder: Path) -> ModelStore:
    """Two versions; the same again where they are there already."""
    for number, estimator in enumerate(("logistic_regression", "random_forest"), 1):
        publish(models, "wings", folder / f"made-{number}", estimator)
    return models


@contextmanager
def asked(place: Place) -> Iterator[list[str]]:
    """Constant requests, and what failed of them."""
    ended, failed = threading.Event(), []
    deployable = Deployable.find(place.models, "wings", 1)

    def run() -> None:
        while not ended.wait(0.01):
            try:
                service = place.cluster.get("wings", place.namespace)
                base, headers = address_of(service, place.ingress)
                ask(base, deployable.question(service)[1], headers=headers)
            except EndpointError as error:
                failed.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failed
    finally:
        ended.set()
        thread.join()


def deployed(place: Place, folder: Path, version: int) -> str:
    pushed = folder / f"pushed-{version}"
    pushed.mkdir(parents=True)
    content = {"store": place.models.store.uri, "model": "wings", "version": version}
    (pushed / "pushed.json").write_text(json.dumps(content))
    parameters = DeployParameters(
        target="cluster",
        namespace=place.namespace,
        ingress=place.ingress,
        timeout_seconds=place.timeout,
        settings=SETTINGS,
    )
    return str(deploy(parameters, pushed, folder / "endpoint", cluster=place.cluster)["url"])


def rolled(place: Place, folder: Path, version: int) -> Outcome:
    parameters = RolloutParameters(
        store=place.models.store.uri,
        model_name="wings",
        version=str(version),
        target="cluster",
        namespace=place.namespace,
        steps=(0, 50, 100),
        step_seconds=60,
        look_seconds=0.5,
        undecided="go_on",
        settings=SETTINGS,
    )
    target = ClusterTarget(
        place.cluster, "wings", place.namespace, timeout=place.timeout, ingress=place.ingress
    )
    return rollout(parameters, folder, target=target)


def test_an_endpoint_is_deployed_rolled_out_and_deleted(place: Place, tmp_path: Path) -> None:
    assert deployed(place, tmp_path / "a", 1).startswith("http")
    assert place.models.aliases("wings")[CHAMPION] == 1
    with asked(place) as failed:
        outcome = rolled(place, tmp_path / "rollout", 2)
    assert failed == []
    assert outcome.promoted, outcome.why
    split = split_of(place.cluster.get("wings", place.namespace))
    assert (split.stable.version, split.candidate) == (2, None)
    assert place.models.aliases("wings")[CHAMPION] == 2
    place.cluster.delete("wings", place.namespace)
    deadline = time.monotonic() + place.timeout
    while place.cluster.find("wings", place.namespace) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
