"""The steps that talk to a cluster or a store, each in its own image, with what it talks to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.deploy.component import deploy
from kfp_suite.components.deploy.graph.component import deploy_graph
from kfp_suite.components.infra_validate.component import infra_validate
from kfp_suite.components.rollout.component import rollout
from kfp_suite.contracts.run_record import ERROR
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.kserve.trials import trial_name
from kfp_suite.runtimes.launching import Loaded, start
from kfp_suite.runtimes.runtime import SUITE
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble, running
from tests.container.conftest import Image
from tests.container.steps import Ended, run_step
from tests.schemas import CRDS
from tests.serving.conftest import publish
from tests.unit.deploy.fleet import Fleet, fleet_of

IMAGE = "registry.example.com/kfp-suite-python-serving@sha256:" + "5" * 64


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    found = ModelStore(FolderStore(tmp_path / "store"))
    for number, estimator in enumerate(("logistic_regression", "random_forest"), 1):
        publish(found, "wings", tmp_path / str(number), estimator)
    return found


class Place:
    """A cluster, a store and the deploy image."""

    def __init__(
        self,
        client: Any,
        models: ModelStore,
        double: KubernetesDouble,
        fleet: Fleet,
        folder: Path,
    ) -> None:
        self.models, self.double, self.fleet = models, double, fleet
        self._client, self.folder = client, folder
        self._config = double.kubeconfig(folder / "kubeconfig")
        self._config.chmod(0o644)
        self._steps = 0

    def run(self, component: Any, artifacts: dict[str, Path], **parameters: Any) -> Ended:
        """A step that changes the cluster, and asks the fleet."""
        given = {"target": "cluster", "ingress": self.fleet.url, "timeout_seconds": 30}
        return self.start(component, artifacts, **{**given, **parameters})

    def start(self, component: Any, artifacts: dict[str, Path], **parameters: Any) -> Ended:
        self._steps += 1
        store = Path(self.models.store.uri)
        return run_step(
            self._client,
            component,
            self.folder / f"step-{self._steps}",
            {"namespace": "models", **parameters},
            artifacts,
            volumes={store: "rw", self._config: "ro"},
            environment={
                "KUBECONFIG": str(self._config),
                IMAGE_VARIABLES["serving"]: IMAGE,
                STORE_VARIABLE: "pvc://claim/store",
            },
        )

    def deploy(self, number: int, **parameters: Any) -> Ended:
        pushed = self.folder / f"version-{number}"
        pushed.mkdir(exist_ok=True)
        content = {"store": self.models.store.uri, "model": "wings", "version": number}
        (pushed / "pushed.json").write_text(json.dumps(content))
        return self.run(deploy, {"version": pushed}, **parameters)


@pytest.fixture(params=["Standard", "Knative"])
def place(
    client: Any,
    image: Image,
    models: ModelStore,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Place]:
    image("deploy")
    with (
        running(KubernetesDouble(crds=CRDS, mode=request.param)) as double,
        fleet_of(models, double) as fleet,
    ):
        yield Place(client, models, double, fleet, tmp_path)


def test_deploy_and_rollout_serve_a_version(place: Place) -> None:
    first = place.deploy(1)
    assert first.code == 0, first.log
    told = json.loads((first.folder / "endpoint" / "endpoint.json").read_text())
    assert told["url"] == place.fleet.url
    assert place.models.alias("wings", CHAMPION) == 1

    again = place.deploy(1)
    assert again.code == 0, again.log

    second = place.run(
        rollout,
        {},
        store=place.models.store.uri,
        model_name="wings",
        version="2",
        steps=[50, 100],
        step_seconds=60.0,
        look_seconds=0.1,
    )
    assert second.code == 0, second.log
    assert second.outputs == {"Output": True}, second.log
    assert place.fleet.split() == {"2": 100}
    assert place.models.alias("wings", CHAMPION) == 2


def test_deploy_graph_routes_to_what_serves(place: Place) -> None:
    first = place.deploy(1)
    assert first.code == 0, first.log
    nodes = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "wings"}]}}
    done = place.run(
        deploy_graph, {}, name="alone", nodes=nodes, ingress=place.fleet.url, timeout_seconds=30
    )
    assert done.code == 0, done.log
    told = json.loads((done.folder / "graph" / "graph.json").read_text())
    assert told["url"] == place.fleet.url
    assert place.double.get("inferencegraphs", "models/alone")["spec"]["nodes"] == nodes

    nodes["root"]["steps"] = [{"serviceName": "feet"}]
    refused = place.run(deploy_graph, {}, name="alone", nodes=nodes, ingress=place.fleet.url)
    assert refused.code == 2
    assert "feet" in json.loads((refused.folder / ERROR).read_text())["message"]


def test_infra_validate_tries_a_candidate_on_the_cluster(place: Place, image: Image) -> None:
    image("serving")
    made = place.folder / "1"  # what version 1 was published from
    trial = trial_name("wings", place.models.manifest("wings", 1).digest, "0f3a")
    with start(SUITE, Loaded(trial, 1, made / "model")) as server:
        server.wait(120)
        place.double.endpoint = server.base
        done = place.start(
            infra_validate,
            {"model": made / "model", "dataset": made / "dataset"},
            name="wings",
            place="cluster",
            ingress=server.base,
            store=place.models.store.uri,
            run_id="0f3a",
            rows=5,
            limits={"start_seconds": 60},
        )
    assert done.code == 0, done.log
    assert done.outputs == {"Output": True}, done.log
    assert [one.method for one in place.double.requests].count("DELETE") == 1
    assert place.double.objects("inferenceservices") == []


def test_a_version_that_does_not_serve_is_taken_back(place: Place) -> None:
    assert place.deploy(1).code == 0
    place.double.behave("*", Behaviour("crash_loop"))
    failed = place.deploy(2, timeout_seconds=20)
    assert failed.code == 1, failed.log
    error = json.loads((failed.folder / ERROR).read_text())
    assert "KServe cannot serve the version" in error["message"]
    assert place.models.alias("wings", CHAMPION) == 1
