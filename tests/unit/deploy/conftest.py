"""Two published versions, a cluster in either of KServe's modes, and its servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.config import load_kube_config

from kfp_suite.kserve.canary import Mode
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.manifests import inference_service
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.kserve.waiting import wait_until_serving
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS
from tests.serving.conftest import publish
from tests.unit.deploy.fleet import Fleet, fleet_of

IMAGE = "registry.example.com/kfp-suite-python-serving@sha256:" + "5" * 64
CLAIM = "pvc://claim/store"


@pytest.fixture(autouse=True)
def in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step is told on a cluster: the image lock's image, and the folder's claim."""
    monkeypatch.setenv(IMAGE_VARIABLES["serving"], IMAGE)
    monkeypatch.setenv(STORE_VARIABLE, CLAIM)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("deploy")
    found = ModelStore(FolderStore(folder / "store"))
    for number, estimator in enumerate(("logistic_regression", "random_forest"), 1):
        publish(found, "wings", folder / str(number), estimator)
    return found


@pytest.fixture
def models(store: ModelStore) -> ModelStore:
    """Version 1 is the champion, whatever a test before has made of it."""
    store.set_alias("wings", CHAMPION, 1, "a test begins")
    return store


@pytest.fixture(params=["Standard", "Knative"])
def double(request: pytest.FixtureRequest) -> Iterator[KubernetesDouble]:
    with running(KubernetesDouble(crds=CRDS, mode=request.param)) as found:
        yield found


@pytest.fixture
def mode(double: KubernetesDouble) -> Mode:
    """How KServe runs what does not say how; Knative is there in either."""
    return double.controller.mode


@pytest.fixture
def fleet(models: ModelStore, double: KubernetesDouble) -> Iterator[Fleet]:
    with fleet_of(models, double) as found:
        yield found


@pytest.fixture
def served(double: KubernetesDouble, fleet: Fleet, models: ModelStore) -> Fleet:
    """Version 1 serves."""
    cluster, first = on(double), Deployable.find(models, "wings", 1).served
    applied = cluster.apply(inference_service(first, namespace="models"))
    wait_until_serving(cluster, applied, 5)
    fleet.watch()
    return fleet


def in_a_pod(monkeypatch: pytest.MonkeyPatch, credentials: Path) -> None:
    """Let a pod's own credentials be those of a kubeconfig."""
    monkeypatch.setattr(
        "kubernetes.config.load_incluster_config",
        lambda: load_kube_config(str(credentials)),
    )


def on(double: KubernetesDouble, token: str | None = None) -> Cluster:
    """The double's cluster, for which time passes twenty times as fast between two looks."""
    return Cluster(double.client(token), sleep=lambda seconds: time.sleep(seconds / 20))
