"""Runs of a cluster and what they made, from the records below their pipeline root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import MissingError
from kfp_suite.contracts.run_record import RECORD, RunRecord, write_record
from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.kubeflow.package import open_package
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble
from tests.unit.kubeflow.conftest import Command

PIPELINE = "progressive_delivery"
ARGUMENTS = ("--param", "model_name=late", "--param", "store=gs://bucket/models")


def submitted(command: Command, *more: str) -> str:
    """Artifacts may be in a folder here, which no cluster has."""
    words = ("submit", PIPELINE, *ARGUMENTS, *more, "--no-check", "--json")
    run: str = json.loads(command(*words).output)["run_id"]
    return run


def leave_record(root: Path, run_id: str, auc: float, version: int) -> None:
    """Where KFP puts the output of the task `record`."""
    folder = root / "progressive-delivery" / run_id / "record" / "5a1f" / "run_record"
    folder.mkdir(parents=True)
    evaluation: dict[str, Any] = {
        "dataset_digest": "sha256:d",
        "model_digest": f"sha256:{version}",
        "metrics": {"roc_auc": {"value": auc}},
    }
    published = {"model": "late", "version": version, "uri": f"gs://bucket/models/late/{version}"}
    record = RunRecord("r", run_id, "p", "SUCCEEDED", evaluation=evaluation, version=published)
    write_record(folder, record)
    assert (folder / RECORD).is_file()


@pytest.fixture
def two(command: Command, kfp: KfpDouble, tmp_path: Path) -> tuple[str, str]:
    """Two runs that are over, with their records in a folder."""
    kfp.behave(Behaviour(seconds=0.0))
    root = tmp_path / "artifacts"
    found = []
    for version, auc in ((1, 0.7), (2, 0.8)):
        run = submitted(command, "--pipeline-root", str(root), "--name", f"run {version}")
        leave_record(root, run, auc, version)
        found.append(run)
    return found[0], found[1]


def test_metrics_digests_and_versions_are_compared(command: Command, two: tuple[str, str]) -> None:
    found = json.loads(command("runs", "cluster", "compare", *two, "--json").output)
    assert found["metrics"] == {"roc_auc": [0.7, 0.8]}
    assert found["digests"] == {"model": ["sha256:1", "sha256:2"]}
    assert found["version"]["version"] == [1, 2]
    assert found["unread"] == {}


def test_why_a_record_cannot_be_read_is_said(command: Command, two: tuple[str, str]) -> None:
    other = submitted(command, "--pipeline-root", "/nowhere")
    compared = command("runs", "cluster", "compare", two[0], other)
    assert compared.exit_code == 0, compared.exception
    assert "no metrics, digests and versions: /nowhere/progressive-delivery/" in compared.output
    assert "no run_record.json" in compared.output


def test_runs_are_ranked(command: Command, two: tuple[str, str]) -> None:
    submitted(command, "--pipeline-root", "/nowhere")
    best = command("runs", "cluster", "best", "--metric", "roc_auc").output
    assert [line.split()[:5] for line in best.splitlines()[1:3]] == [
        ["run", "2", "0.8", "gs://bucket/models/late/2", two[1]],
        ["run", "1", "0.7", "gs://bucket/models/late/1", two[0]],
    ]
    assert "1 of 3 runs have no record" in best
    lowest = json.loads(
        command("runs", "cluster", "best", "--metric", "roc_auc", "--lowest", "--json").output
    )
    assert (lowest["run"], lowest["value"]) == (two[0], 0.7)
    assert [one["name"] for one in lowest["runs"]] == ["run 1", "run 2"]
    near = command("runs", "cluster", "best", "--metric", "roc_acu").exception
    assert "did you mean 'roc_auc'?" in str(near)


def test_without_any_record_the_reason_is_the_answer(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0))
    submitted(command, "--pipeline-root", "/nowhere")
    refused = command("runs", "cluster", "best", "--metric", "roc_auc").exception
    assert isinstance(refused, MissingError)
    assert "no run record can be read; got /nowhere/" in str(refused)


def test_a_run_that_kfp_s_own_client_started_is_read_like_any(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    """It has its pipeline in itself, and names no version."""
    kfp.behave(Behaviour(seconds=0.0))
    file, root = tmp_path / "mine.yaml", tmp_path / "artifacts"
    file.write_text(open_package(PIPELINE).content)
    client = Backend(Connection(host=kfp.url)).client
    run = client.create_run_from_pipeline_package(
        str(file),
        {"model_name": "late", "store": "gs://bucket/models"},
        run_name="theirs",
        pipeline_root=str(root),
    )
    assert kfp.state.versions == {}
    leave_record(root, run.run_id, 0.9, 3)
    found = json.loads(command("runs", "cluster", "show", "theirs", "--json").output)
    assert found["root"] == f"{root}/progressive-delivery/{run.run_id}"
    assert {task["name"] for task in found["state"]["tasks"]} == {"rollout", "record"}
    best = command("runs", "cluster", "best", "--metric", "roc_auc").output
    assert "theirs  0.9" in best


def test_an_old_run_is_found_by_its_name_and_its_identifier(
    command: Command, kfp: KfpDouble
) -> None:
    old = submitted(command, "--name", "old")
    (kept,) = kfp.state.runs.values()
    for number in range(120):
        shown = {**kept["shown"], "run_id": f"{number}", "display_name": f"newer {number}"}
        shown["created_at"] = kfp.state.stamp()
        kfp.state.runs[f"{number}"] = {**kept, "shown": shown}
    for name in ("old", old):
        found = json.loads(command("runs", "cluster", "show", name, "--json").output)
        assert found["state"]["id"] == old
    asked = [path for _, path in kfp.requests if path == "/apis/v2beta1/runs"]
    kfp.requests.clear()
    command("runs", "cluster", "show", old)
    assert asked
    assert ("GET", "/apis/v2beta1/runs") not in kfp.requests  # it is asked for by itself
    newest = json.loads(command("runs", "cluster", "show", "latest", "--json").output)
    assert newest["state"]["name"] == "newer 119"
