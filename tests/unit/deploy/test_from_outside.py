"""From outside a cluster its names are unknown: said before anything changes, and no version's
fault."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kfp_suite.cli.main import cli
from kfp_suite.components.deploy.graph.executor import GraphParameters, deploy_graph
from kfp_suite.components.rollout.targets import ClusterTarget
from kfp_suite.contracts.errors import EndpointError, ParameterError
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.manifests import VERSION
from kfp_suite.kserve.smoke import check_askable
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from tests.unit.deploy.conftest import on
from tests.unit.deploy.deploying import Deployer
from tests.unit.deploy.fleet import Fleet

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
_WHY = "ingress: the endpoint could not be asked from here: its name is known inside the cluster"
_INSIDE = "http://wings-predictor.models.svc.cluster.local"
_NODES = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "wings"}]}}


@pytest.fixture(autouse=True)
def unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the inside of clusters are unknown here, wherever the tests run."""
    found = socket.getaddrinfo

    def look_up(host: Any, *more: Any, **options: Any) -> Any:
        if str(host).endswith((".svc", ".local")):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def outside(double: KubernetesDouble) -> Cluster:
    return Cluster(double.client(), on(double).sleep, is_outside=True)


@pytest.fixture
def deployer(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, tmp_path: Path
) -> Deployer:
    return Deployer(double, models, tmp_path)


def applied(double: KubernetesDouble) -> list[str]:
    """The InferenceServices, Graphs and routes that were written; dry runs are no writes."""
    writes = [one for one in double.requests if one.method in ("PATCH", "POST", "PUT")]
    return [one.path for one in writes if "dryRun" not in one.path]


def move(double: KubernetesDouble, address: str) -> None:
    """Let KServe say that endpoints are asked at another address."""
    double.endpoint = address
    double.behave("*", Behaviour())


def test_a_first_version_is_not_applied(
    double: KubernetesDouble, deployer: Deployer, outside: Cluster
) -> None:
    with pytest.raises(ParameterError, match=_WHY) as caught:
        deployer.deploy(1, cluster=outside)
    assert "got none, and kubernetes.default.svc has no address here" in str(caught.value)
    assert "--param ingress=https://HOST" in str(caught.value)
    assert applied(double) == []


def test_a_version_that_answers_is_left_alone(
    double: KubernetesDouble, deployer: Deployer, outside: Cluster, models: ModelStore
) -> None:
    deployer.deploy(1)
    move(double, _INSIDE)
    before = applied(double)
    with pytest.raises(ParameterError, match=_WHY) as caught:
        deployer.deploy(2, cluster=outside)
    assert "wings-predictor.models.svc.cluster.local has no address" in str(caught.value)
    assert applied(double) == before
    assert models.alias("wings", CHAMPION) == 1


def test_through_the_ingress_both_versions_are_deployed(
    double: KubernetesDouble,
    fleet: Fleet,
    deployer: Deployer,
    outside: Cluster,
    models: ModelStore,
) -> None:
    for version in (1, 2):
        deployer.deploy(version, cluster=outside, ingress=fleet.url)
        assert models.alias("wings", CHAMPION) == version


def test_an_address_that_is_known_needs_no_ingress(
    deployer: Deployer, outside: Cluster, models: ModelStore
) -> None:
    deployer.deploy(1)
    deployer.deploy(2, cluster=outside)
    assert models.alias("wings", CHAMPION) == 2


def test_a_version_that_nobody_could_ask_is_not_taken_back(
    double: KubernetesDouble, fleet: Fleet, deployer: Deployer, models: ModelStore
) -> None:
    """It may be good: its pods are ready, and only its name is unknown."""
    deployer.deploy(1)
    double.endpoint = _INSIDE
    with pytest.raises(EndpointError, match="version 2 runs and stays") as caught:
        deployer.deploy(2)
    assert "Name or service not known" in str(caught.value)
    assert "set ingress" in str(caught.value)
    live = double.get("inferenceservices", "models/wings")
    assert live["metadata"]["annotations"][VERSION] == "2"
    assert fleet.split() == {"2": 100}
    assert models.alias("wings", CHAMPION) == 1
    move(double, fleet.url)
    deployer.deploy(2)
    assert models.alias("wings", CHAMPION) == 2


def test_a_rollout_and_a_graph_are_refused_alike(
    double: KubernetesDouble, deployer: Deployer, outside: Cluster, tmp_path: Path
) -> None:
    deployer.deploy(1)
    move(double, _INSIDE)
    before = applied(double)
    with pytest.raises(ParameterError, match=_WHY):
        ClusterTarget(outside, "wings", "models", timeout=3)
    graph = GraphParameters("chain", _NODES, target="cluster", namespace="models")
    with pytest.raises(ParameterError, match=_WHY):
        deploy_graph(graph, tmp_path / "graph", cluster=outside)
    assert applied(double) == before
    check_askable(outside, None, "http://127.0.0.1:30080")


def test_who_has_a_kubeconfig_is_outside(
    double: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(double.kubeconfig(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
    assert Cluster().is_outside
    assert not Cluster(double.client()).is_outside


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_a_run_is_refused_before_its_first_step(
    double: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(double.kubeconfig(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
    (tmp_path / "rows.csv").write_text("length,kind\n1,a\n2,b\n")
    given = {
        "model_name": "wings",
        "sources": f'{{"rows": "{tmp_path}/rows.csv"}}',
        "label": "kind",
        "target": "cluster",
    }
    named = [part for item in given.items() for part in ("--param", "=".join(item))]
    root = tmp_path / "runs"
    ended = CliRunner().invoke(cli, ["run", "train_and_deploy", "--root", str(root), *named])
    assert isinstance(ended.exception, ParameterError)
    assert str(ended.exception).startswith(_WHY)
    assert not list(root.glob("*/*/record.json"))
    assert "resolve" not in ended.output


@pytest.mark.parametrize("pipeline", sorted(GOLDEN.glob("*.yaml")), ids=lambda one: one.stem)
def test_every_step_that_asks_an_endpoint_is_told_the_ingress(pipeline: Path) -> None:
    spec = next(yaml.safe_load_all(pipeline.read_text()))
    components = spec["components"]
    tasks = [
        (name, task)
        for component in (spec["root"], *components.values())
        for name, task in component.get("dag", {}).get("tasks", {}).items()
    ]
    for name, task in tasks:
        takes = components[task["componentRef"]["name"]].get("inputDefinitions", {})
        if "ingress" in takes.get("parameters", {}):
            given = task["inputs"]["parameters"]
            # A step that is never told of a cluster has no namespace either.
            assert "componentInputParameter" in given.get("ingress", {}) or (
                "namespace" not in given
            ), name
