"""An endpoint's life from this machine, under load: deployed, changed, rolled out, killed, deleted.

On a real cluster this needs KServe's controller, the suite's images, and a store that the
cluster can read: see docs/cluster.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.kserve.canary import split_of
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.cluster.exam import SMALL, Exam, assignments
from tests.cluster.load import Load, asking, constant_load, wait_for_requests
from tests.cluster.removal import delete
from tests.local.command import COMMAND
from tests.schemas import CRDS
from tests.serving.conftest import publish
from tests.unit.deploy.fleet import fleet_of

pytestmark = pytest.mark.timeout(1800)
Record = Any  # pytest's `record_property`


@dataclass(frozen=True)
class Rollout:
    """A command that runs, and the file that it writes to."""

    process: subprocess.Popen[bytes]
    output: Path

    def kill(self) -> None:
        """Kill it and the steps that it runs."""
        with suppress(psutil.NoSuchProcess):
            steps = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for step in steps:
                with suppress(psutil.NoSuchProcess):
                    step.kill()
        self.process.wait()

    def check_running(self) -> None:
        """Fail if it has ended."""
        assert self.process.poll() is None, self.output.read_text()[-3000:]

    def finish(self) -> None:
        """Wait for its end, which must be a good one."""
        assert self.process.wait() == 0, self.output.read_text()[-3000:]


@dataclass(frozen=True)
class Place:
    """The endpoint of a model with two versions, whose first one is deployed."""

    cluster: Cluster
    namespace: str
    model: str
    models: ModelStore
    ingress: str = ""
    timeout: int = 10
    settings: Mapping[str, Any] = field(default_factory=lambda: SMALL)

    @property
    def stable(self) -> int:
        """The version that serves alone."""
        split = split_of(self.cluster.get(self.model, self.namespace))
        assert split.candidate is None
        return split.stable.version

    @property
    def champion(self) -> int:
        """The champion."""
        return self.models.aliases(self.model)[CHAMPION]


@pytest.fixture(params=["double", "real"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    if request.param == "real":
        exam: Exam = request.getfixturevalue("exam")
        if not exam.has_kserve:
            pytest.skip("no KServe in this cluster: install it, and run make test-cluster again")
        for name, value in exam.environment.items():
            monkeypatch.setenv(name, value)
        model = exam.name(f"life-{len(exam.models.models())}")
        found = exam.installation
        place = Place(
            exam.cluster, found.namespace, model, exam.models, found.ingress, 600, exam.endpoint
        )
        publish_two(place, tmp_path)
        deploy_version(place, tmp_path / "first", 1)
        yield place
        return
    monkeypatch.setenv(IMAGE_VARIABLES["serving"], "registry.example.com/server@sha256:1")
    monkeypatch.setenv(STORE_VARIABLE, "pvc://claim/store")
    models = ModelStore(open_store(str(tmp_path / "store")))
    double = KubernetesDouble(crds=CRDS, mode="Standard")
    with running(double):
        monkeypatch.setenv("KUBECONFIG", str(double.kubeconfig(tmp_path / "kubeconfig")))
        cluster = Cluster(double.client(), sleep=lambda seconds: time.sleep(seconds / 20))
        place = Place(cluster, "models", "wings", models)
        publish_two(place, tmp_path)
        with fleet_of(models, double):
            deploy_version(place, tmp_path / "first", 1)
            yield place


def publish_two(place: Place, folder: Path) -> None:
    """Publish two versions."""
    for number, estimator in enumerate(("logistic_regression", "random_forest"), 1):
        publish(place.models, place.model, folder / f"made-{number}", estimator)


def deploy_version(place: Place, folder: Path, version: int) -> None:
    """Deploy a version as the component does."""
    pushed = folder / "pushed"
    pushed.mkdir(parents=True)
    content = {"store": place.models.store.uri, "model": place.model, "version": version}
    (pushed / "pushed.json").write_text(json.dumps(content))
    parameters = DeployParameters(
        target="cluster",
        namespace=place.namespace,
        ingress=place.ingress,
        timeout_seconds=place.timeout,
        settings=place.settings,
    )
    made = deploy(parameters, pushed, folder / "endpoint", cluster=place.cluster)
    assert str(made["url"]).startswith("http")


@pytest.fixture
def load(place: Place, record_property: Record) -> Iterator[Load]:
    """Constant requests to the endpoint."""
    service = place.cluster.get(place.model, place.namespace)
    deployable = Deployable.find(place.models, place.model, 1)
    with constant_load(asking(service, deployable, place.ingress)) as found:
        yield found
    for name, value in found.figures().items():
        record_property(name, value)


@contextmanager
def rolling_out(place: Place, folder: Path, version: int) -> Iterator[Rollout]:
    """A rollout from this machine, by the command; killed with its steps if it still runs."""
    parameters = {
        "model_name": place.model,
        "store": place.models.store.uri,
        "version": str(version),
        "target": "cluster",
        "namespace": place.namespace,
        "ingress": place.ingress,
        "endpoint": place.settings,
        "steps": [50, 100],
        "step_seconds": 60,
        "look_seconds": 0.5,
        "undecided": "go_on",
        "limits": {"latency_seconds": 10},
        "timeout_seconds": place.timeout,
    }
    words = ["run", "progressive_delivery", *assignments(parameters), "--json"]
    known = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    folder.mkdir()
    with (folder / "output.txt").open("w+") as output:
        process = subprocess.Popen(
            [*COMMAND, *words, "--root", str(folder)], stdout=output, stderr=output, env=known
        )
        rollout = Rollout(process, folder / "output.txt")
        try:
            yield rollout
        finally:
            rollout.kill()


@pytest.mark.entry("from this machine: another version deployed under load")
def test_changed_under_load(place: Place, load: Load, tmp_path: Path) -> None:
    wait_for_requests(load, 20)
    deploy_version(place, tmp_path / "second", 2)
    wait_for_requests(load, 20)
    assert (place.stable, place.champion) == (2, 2)
    assert load.failed == []


@pytest.mark.entry("from this machine: a rollout killed (kill -9) under load, and run again")
def test_killed_and_run_again(place: Place, load: Load, tmp_path: Path) -> None:
    with rolling_out(place, tmp_path / "killed", 2) as rollout:
        while not split_of(place.cluster.get(place.model, place.namespace)).percent:
            rollout.check_running()
            time.sleep(0.05)
        rollout.kill()
    split = split_of(place.cluster.get(place.model, place.namespace))
    assert split.stable.version == 1 and split.candidate is not None
    wait_for_requests(load, 20)
    with rolling_out(place, tmp_path / "again", 2) as rollout:
        rollout.finish()
    assert (place.stable, place.champion) == (2, 2)
    assert load.failed == []


@pytest.mark.entry("from this machine: rolled out and deleted")
def test_rolled_out_and_deleted(place: Place, load: Load, tmp_path: Path) -> None:
    with rolling_out(place, tmp_path / "rollout", 2) as rollout:
        rollout.finish()
    assert (place.stable, place.champion) == (2, 2)
    assert load.failed == []
    delete(place.cluster, place.model, place.namespace)
