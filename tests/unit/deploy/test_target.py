"""Nobody has to say where a model is deployed to: the place where the step runs decides."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfp_suite.components.deploy.component import deploy
from kfp_suite.components.deploy.executor import DeployParameters
from kfp_suite.components.deploy.executor import deploy as execute
from kfp_suite.components.deploy.graph.component import deploy_graph
from kfp_suite.components.rollout.component import rollout
from kfp_suite.contracts.errors import MissingError
from kfp_suite.contracts.run_record import RunRecord
from kfp_suite.kserve.target import target_of
from kfp_suite.local.conclusion import conclude
from kfp_suite.local.history import PastRun
from kfp_suite.pipelines import (
    progressive_delivery,
    retrain,
    train_and_deploy,
    tune,
)
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble
from tests.unit.deploy.conftest import in_a_pod
from tests.unit.deploy.fleet import Fleet
from tests.unit.deploy.test_deploy import pushed

BUCKET = "minio://mlpipeline/v2/artifacts/run/endpoint"


@pytest.fixture
def credentials(double: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_pod(monkeypatch, double.kubeconfig(tmp_path / "kubeconfig"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def artifact(path: Path, uri: str = "") -> Any:
    """An output as KFP gives it to a step: with a local URI, or one in a bucket."""
    return SimpleNamespace(path=str(path), uri=uri or str(path), metadata={})


def deployed(version: Path, folder: Path, uri: str = "", **given: Any) -> dict[str, Any]:
    """What the step writes, called as KFP calls it."""
    deploy.python_func(
        version=artifact(version),
        endpoint=artifact(folder / "endpoint", uri),
        namespace="models",
        timeout_seconds=5,
        **given,
    )
    found: dict[str, Any] = json.loads((folder / "endpoint" / "endpoint.json").read_text())
    return found


@pytest.mark.usefixtures("credentials", "fleet")
def test_a_step_on_a_cluster_deploys_to_it(
    double: KubernetesDouble, models: ModelStore, tmp_path: Path
) -> None:
    models.set_alias("wings", CHAMPION, 2, "a test begins")
    found = deployed(pushed(models, tmp_path, 1), tmp_path, BUCKET)
    assert found["target"] == "cluster"
    assert double.get("inferenceservices", "models/wings")
    assert models.aliases("wings")[CHAMPION] == 1


@pytest.mark.usefixtures("credentials")
def test_a_step_on_a_laptop_does_not(
    double: KubernetesDouble, models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of a notebook server, which is a pod."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    found = deployed(pushed(models, tmp_path, 2), tmp_path)
    assert (found["target"], double.requests) == ("local", [])
    assert models.aliases("wings")[CHAMPION] == 1  # until it is served and asked


def test_what_nobody_will_ask_is_the_champion_by_its_verdicts(
    models: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = deployed(pushed(models, tmp_path, 2), tmp_path, BUCKET, target="local")
    assert (found["target"], found["champion"]) == ("local", 1)
    assert models.aliases("wings")[CHAMPION] == 2
    assert "nothing is served; wings version 2 is the champion" in caplog.text
    version = {"model": "wings", "version": 2, "uri": f"{models.store.uri}/wings/2"}
    record = RunRecord("r", "", "retrain", "SUCCEEDED", version=version, endpoint=found)
    conclusion = conclude(PastRun(record, {}), tmp_path / "runs" / "r")
    assert (conclusion.outcome, set(conclusion.next_steps)) == ("published", {"serve this version"})


def test_another_champion_is_not_replaced_unseen(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that another run made between the look and the move."""
    monkeypatch.setattr(
        "kfp_suite.components.deploy.executor._check_champion",
        lambda *_: models.set_alias("wings", CHAMPION, 2, "of another run"),
    )
    given = DeployParameters(unattended=True)
    found = execute(given, pushed(models, tmp_path, 1), tmp_path / "endpoint")
    assert found["promoted"] is False
    assert models.aliases("wings")[CHAMPION] == 2


@pytest.mark.usefixtures("credentials")
def test_graphs_and_rollouts_go_where_they_run(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, tmp_path: Path
) -> None:
    graph = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "wings"}]}}
    given: dict[str, Any] = {"name": "both", "nodes": graph, "namespace": "models"}
    deploy_graph.python_func(graph=artifact(tmp_path / "graph"), **given)
    assert double.requests == []
    with pytest.raises(MissingError, match="no such endpoint"):
        deploy_graph.python_func(graph=artifact(tmp_path / "other", BUCKET), **given)
    rollout.python_func(
        store=models.store.uri,
        model_name="wings",
        version="1",
        endpoint=artifact(tmp_path / "rollout", BUCKET),
        rollout_report=artifact(tmp_path / "summary.md", BUCKET),
        namespace="models",
        timeout_seconds=20,
    )
    assert double.get("inferenceservices", "models/wings")


@pytest.mark.parametrize(
    ("given", "artifact", "target"),
    [
        ("", "/runs/endpoint", "local"),
        ("", "file:///runs/endpoint", "local"),
        ("", "gs://bucket/endpoint", "cluster"),
        ("", "s3://bucket/endpoint", "cluster"),
        ("", BUCKET, "cluster"),
        ("local", BUCKET, "local"),
        ("cluster", "/runs/endpoint", "cluster"),
    ],
)
def test_what_is_said_is_what_is_done(given: str, artifact: str, target: str) -> None:
    assert target_of(given, artifact) == target


@pytest.mark.parametrize(
    "pipeline",
    [train_and_deploy, retrain, tune, progressive_delivery],
    ids=lambda one: one.__name__,
)
def test_a_form_that_is_left_as_it_is_deploys_where_it_runs(pipeline: Any) -> None:
    """The UI's form sends the defaults as they are."""
    name = pipeline.__name__.rpartition(".")[2]
    inputs = getattr(pipeline, name).component_spec.inputs
    assert inputs["target"].default == ""
