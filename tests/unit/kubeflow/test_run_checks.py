"""What a run would fail of after it is submitted is said before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.notebook.cluster import Kubeflow
from kfp_suite.testing.kfp_backend.backend import KfpDouble
from tests.unit.kubeflow.conftest import Command
from tests.unit.kubeflow.test_submitting import sent

GIVEN = ("--param", "model_name=late", "--param", "store=gs://bucket/models")
ROWS = ("--param", "label=late", "--param", "sources.rows=gs://b/rows.csv")
KFPS = "http://seaweedfs.kubeflow:9000"
OTHER = "http://minio.storage:9000"
KEYS = {"name": "keys", "env": {"id": "AWS_ACCESS_KEY_ID", "key": "AWS_SECRET_ACCESS_KEY"}}


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    return tmp_path / "resources.yaml"


def refusal(command: Command, rollouts: str, kfp: KfpDouble, *words: str) -> str:
    """Why a run and a schedule are refused, for the same reason; nothing is sent."""
    refused = [
        command("submit", rollouts, *GIVEN, *words).exception,
        command("schedule", rollouts, *GIVEN, *words, "--every", "6h").exception,
    ]
    assert all(isinstance(one, ParameterError) for one in refused), refused
    assert str(refused[0]) == str(refused[1])
    assert not kfp.state.versions
    assert command("submit", rollouts, *GIVEN, *words, "--no-check").exit_code == 0
    return str(refused[0])


@pytest.mark.parametrize(
    ("root", "server", "told"),
    [
        ("s3://mlpipeline/mine", "", "give --pipeline-root minio://mlpipeline/mine"),
        ("s3://mine/root", KFPS, "give --pipeline-root minio://mine/root"),
        ("s3://mine/root", "http://minio-service.kubeflow:9000", "minio://mine/root"),
        ("mine/root", "", "mine/root is no bucket"),
        ("https://mine/root", "", "is no bucket"),
    ],
)
def test_a_root_that_fails_every_task_is_refused(
    command: Command,
    rollouts: str,
    kfp: KfpDouble,
    resources: Path,
    root: str,
    server: str,
    told: str,
) -> None:
    env = {"env": {"AWS_ENDPOINT_URL": server}} if server else {}
    resources.write_text(yaml.safe_dump({"defaults": env}))
    why = refusal(command, rollouts, kfp, "--pipeline-root", root, "--resources", str(resources))
    assert why.startswith("pipeline root: ")
    assert told in why


@pytest.mark.parametrize(
    "root",
    ["gs://mine/root", "s3://mine/root", "minio://mine/root", "s3://mlpipeline/a?endpoint=b:9000"],
)
def test_other_roots_are_taken(command: Command, rollouts: str, kfp: KfpDouble, root: str) -> None:
    done = command("submit", rollouts, *GIVEN, "--pipeline-root", root)
    assert done.exit_code == 0, done.exception
    assert "warning" not in done.output
    (run,) = kfp.state.runs.values()
    assert run["shown"]["runtime_config"]["pipeline_root"] == root


def test_a_root_of_another_server_is_warned_of(
    command: Command, rollouts: str, kfp: KfpDouble, resources: Path
) -> None:
    resources.write_text(
        yaml.safe_dump({"defaults": {"env": {"AWS_ENDPOINT_URL": OTHER}, "secrets": [KEYS]}})
    )
    words = ("--pipeline-root", "s3://mine/root", "--resources", str(resources))
    done = command("submit", rollouts, *GIVEN, *words)
    assert done.exit_code == 0, done.exception
    assert "warning: pipeline root: KFP's launcher asks Amazon" in done.output
    assert "kfp-launcher" in done.output


@pytest.mark.parametrize(
    ("store", "server"), [("minio://mine/models", ""), ("s3://mine/models", OTHER)]
)
def test_a_store_that_no_step_may_read_is_refused(
    command: Command, rollouts: str, kfp: KfpDouble, resources: Path, store: str, server: str
) -> None:
    env = {"AWS_ENDPOINT_URL": server} if server else {}
    resources.write_text(yaml.safe_dump({"defaults": {"env": env}}))
    words = ("--param", f"store={store}", "--resources", str(resources))
    why = refusal(command, rollouts, kfp, *words)
    assert f"no step has credentials to read {store}" in why
    assert "mlpipeline-minio-artifact" in why
    resources.write_text(yaml.safe_dump({"defaults": {"env": env, "secrets": [KEYS]}}))
    done = command("submit", rollouts, *GIVEN, *words)
    assert done.exit_code == 0, done.exception


def test_amazons_store_may_be_read_by_the_pods_identity(
    command: Command, rollouts: str, kfp: KfpDouble
) -> None:
    done = command("submit", rollouts, *GIVEN, "--param", "store=s3://mine/models")
    assert done.exit_code == 0, done.exception


def test_a_server_that_this_machine_alone_asks_is_warned_of(
    command: Command, rollouts: str, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    done = command("submit", rollouts, *GIVEN, "--param", "store=s3://mine/models")
    assert "warning: store: AWS_ENDPOINT_URL is set here, and for no step" in done.output


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("prometheus", "http://localhost:9090", "localhost is this machine"),
        ("ingress", "http://127.0.0.1:8080", "127.0.0.1 is this machine"),
        ("ingress", "http://[::1", "not an address: Invalid IPv6 URL"),
        ("store", "hdfs://names/models", "no step reads hdfs://names/models"),
    ],
)
def test_addresses_that_lead_nowhere_in_a_pod_are_refused(
    command: Command, rollouts: str, kfp: KfpDouble, name: str, value: str, told: str
) -> None:
    assert refusal(command, rollouts, kfp, "--param", f"{name}={value}").startswith(
        f"{name}: {told}"
    )


def test_a_store_on_this_machine_is_refused_for_steps(
    command: Command, rollouts: str, kfp: KfpDouble, resources: Path
) -> None:
    env = {"AWS_ENDPOINT_URL": "http://localhost:9000"}
    resources.write_text(yaml.safe_dump({"defaults": {"env": env, "secrets": [KEYS]}}))
    why = refusal(command, rollouts, kfp, "--resources", str(resources))
    assert "AWS_ENDPOINT_URL of exec-" in why


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("estimator=xyz", "estimator: unknown estimator 'xyz'"),
        ("target=clster", "target: not allowed; got clster"),
        ("on_bad_rows=typo", "on_bad_rows: not allowed; got typo"),
        ("namespace=My_Team", "namespace: not a namespace; got My_Team"),
        ("hyperparameters={learning_rat: 1}", "did you mean 'learning_rate'?"),
    ],
)
def test_values_that_a_step_would_refuse_are_refused_here(
    command: Command, training: str, kfp: KfpDouble, value: str, told: str
) -> None:
    for words in (("submit", training), ("schedule", training, "--every", "6h")):
        refused = command(*words, *GIVEN, *ROWS, "--param", value).exception
        assert isinstance(refused, ParameterError)
        assert told in str(refused)
    assert kfp.requests == []


def test_every_error_is_named_at_once(command: Command, rollouts: str, kfp: KfpDouble) -> None:
    words = ("--pipeline-root", "s3://mlpipeline/mine", "--param", "ingress=http://localhost")
    why = refusal(command, rollouts, kfp, *words)
    assert why.startswith("2 things are not as the run needs them")
    assert "minio://mlpipeline/mine" in why
    assert "localhost is this machine" in why


def test_a_rollout_of_a_local_manifest_is_refused(
    command: Command, rollouts: str, kfp: KfpDouble
) -> None:
    words = ("--param", "target=local", "--param", "manifest=model/inferenceservice.yaml")
    assert refusal(command, rollouts, kfp, *words).startswith("target: no cluster has the manifest")


def test_a_target_that_serves_nothing_is_said(
    command: Command, training: str, kfp: KfpDouble
) -> None:
    words = (training, *GIVEN, *ROWS, "--param", "target=local")
    done = command("submit", *words)
    assert done.exit_code == 0, done.exception
    assert "warning: target: local, on a cluster: nothing will be served" in done.output
    (warning,) = json.loads(command("submit", *words, "--json").output)["warnings"]
    assert (warning["what"], warning["level"]) == ("target", "warning")
    assert sent_last(kfp)["target"] == "local"


def sent_last(kfp: KfpDouble) -> dict[str, object]:
    *_, run = kfp.state.runs.values()
    found: dict[str, object] = run["shown"]["runtime_config"]["parameters"]
    return found


def test_a_notebook_is_told_the_same(kfp: KfpDouble, rollouts: str) -> None:
    given: dict[str, Any] = {"model_name": "late", "store": "gs://bucket/models"}
    root = "s3://mlpipeline/mine"
    with pytest.raises(ParameterError, match="minio://mlpipeline/mine"):
        Kubeflow(kfp.url).submit(rollouts, pipeline_root=root, **given)
    Kubeflow(kfp.url).submit(rollouts, pipeline_root=root, check=False, **given)
    assert sent(kfp)["store"] == "gs://bucket/models"


def test_a_run_without_the_cache_takes_nothing_from_it(
    command: Command, training: str, kfp: KfpDouble
) -> None:
    for words in ((), ("--no-cache",)):
        done = command("submit", training, *GIVEN, *ROWS, *words)
        assert done.exit_code == 0, done.exception
    cached = [
        sum("'enableCache': True" in str(task) for task in tasks(version))
        for version in kfp.state.versions.values()
    ]
    assert cached[0] > 0
    assert cached[1] == 0


def tasks(version: dict[str, object]) -> list[object]:
    """The tasks of a version that run in a container, with those within others."""
    spec = version["pipeline_spec"]["pipeline_spec"]  # type: ignore[index]
    dags = [spec["root"], *spec["components"].values()]
    return [
        task.get("cachingOptions")
        for dag in dags
        for task in dag.get("dag", {}).get("tasks", {}).values()
    ]
