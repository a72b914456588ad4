"""A search in MLflow: the same parameters, metrics and artifacts, by its own server."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kfp_suite.components.record.executor import RecordParameters, record
from kfp_suite.components.record.mlflow_tracking import track
from kfp_suite.components.record.step_outputs import StepOutputs
from kfp_suite.contracts.canonical import flat
from kfp_suite.contracts.run_record import RunRecord
from kfp_suite.runtimes.local import free_port
from tests.local.command import kfp_suite
from tests.servers.conftest import environment

START_SECONDS = 150.0
MODEL = "penguin-species"


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    home = environment("mlflow")
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(str(home / "bin" / "mlflow"), "server", "--host", "127.0.0.1"),
                *("--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "PYTHONWARNINGS": "ignore",
            },
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=2).close()
                    break
                except OSError:
                    assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield url
        finally:
            os.killpg(server.pid, 15)
            server.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture
def tracked(server: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return MlflowClient(server)


def runs_of(client: MlflowClient, experiment: str) -> tuple[list[Any], list[Any]]:
    """The runs of an experiment, and those below another."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in nested], nested


def listed(client: MlflowClient, run: str, folder: str | None = None) -> set[str]:
    return {file.path for file in client.list_artifacts(run, folder)}


@pytest.mark.timeout(600)
def test_a_search_is_a_run_with_a_run_a_trial(tracked: MlflowClient, tmp_path: Path) -> None:
    done = kfp_suite(
        *("run", "tune", "--params", "penguins", "--root", str(tmp_path / "runs"), "--no-serve"),
        *("--param", "trials=3", "--param", "shards=2", "--param", "search=random", "--json"),
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)

    (run,), trials = runs_of(tracked, MODEL)
    stored = json.loads(
        next(Path(made["folder"]).glob("evaluate/evaluation/evaluation.json")).read_text()
    )
    assert run.info.status == "FINISHED"
    assert run.data.params == {key: str(value) for key, value in flat(stored["model"]).items()}
    for name, estimate in stored["metrics"].items():
        if estimate["value"] is not None:
            assert run.data.metrics[name] == pytest.approx(estimate["value"])
    assert run.data.metrics["serving.p99_ms"] > 0
    tags = run.data.tags
    assert tags["kfp_suite.version_uri"] == made["uri"]
    assert tags["kfp_suite.model_digest"] == made["digest"]
    assert tags["kfp_suite.dataset_digest"] == made["dataset_digest"]
    assert {"run_record.json", "evaluation.json", "reports", "model"} <= listed(
        tracked, run.info.run_id
    )
    assert "reports/evaluate.html" in listed(tracked, run.info.run_id, "reports")
    assert "model/model.json" in listed(tracked, run.info.run_id, "model")

    assert {trial.data.tags["mlflow.parentRunId"] for trial in trials} == {run.info.run_id}
    assert {trial.info.run_name for trial in trials} == {"0-0000", "0-0001", "1-0000"}
    best = max(trial.data.metrics.get("f1_macro", 0.0) for trial in trials)
    chosen = {
        key.removeprefix("hyperparameters."): value
        for key, value in run.data.params.items()
        if key.startswith("hyperparameters.")
    }
    assert [
        trial
        for trial in trials
        if trial.data.metrics.get("f1_macro") == best
        and chosen.items() <= trial.data.params.items()
    ], (chosen, [trial.data.params for trial in trials])


def test_a_run_that_is_recorded_twice_is_one_run(tracked: MlflowClient, tmp_path: Path) -> None:
    output = tmp_path / "p-17" / "record" / "run_record"
    parameters = RecordParameters(run="p-17", run_id="17", pipeline="twice", status="FAILED")
    for _ in range(2):
        record(parameters, str(output), output)
    (run,), _ = runs_of(tracked, "twice")
    assert run.info.status == "FAILED"
    notices = json.loads((output / "notices.json").read_text())
    assert notices == [{"channel": "mlflow", "sent": True, "why": ""}]


def test_an_experiment_can_be_named(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    ended = RunRecord(run="p-1", run_id="1", pipeline="p", status="CANCELLED")
    assert track(ended, StepOutputs()).sent
    (run,), _ = runs_of(tracked, "ours")
    assert run.info.status == "KILLED"
