"""MLflow is told where it is asked for; where it cannot be, that fails nothing and tells why."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from kfp_suite.components.record.executor import RecordParameters, record
from kfp_suite.components.record.message import message_of
from kfp_suite.components.record.mlflow_tracking import track
from kfp_suite.components.record.step_outputs import StepOutputs, read_step_outputs
from kfp_suite.contracts.run_record import RunRecord

ENDED = RunRecord(run="p-1", run_id="1", pipeline="p", status="SUCCEEDED")
PAGE = b"<!doctype html><title>x</title>"


def test_nobody_is_told_where_no_address_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    output = tmp_path / "p-1" / "record" / "run_record"
    record(RecordParameters("p-1", "1", "p", "SUCCEEDED"), str(output), output)
    assert {path.name for path in output.iterdir()} == {"run_record.json"}


def test_a_server_that_is_not_there_fails_nothing_and_no_password_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://ann:tell-nobody@127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with caplog.at_level(logging.WARNING, "kfp_suite"):
            told = track(ENDED, StepOutputs())
    assert not told.sent
    assert "127.0.0.1" in told.why
    assert "tell-nobody" not in told.why + caplog.text


def test_without_its_client_the_line_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    told = track(ENDED, StepOutputs())
    assert "pip install 'kfp-suite[mlflow]'" in told.why


def test_pages_and_trials_are_found_by_their_steps(tmp_path: Path) -> None:
    def leave(name: str, content: bytes) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)

    uuid = "0b9dd3ac-4b54-4e4c-8d35-e14e4d8e1d33"
    leave("validate/validation_report", PAGE)
    leave(f"evaluate/{uuid}/evaluation_report", PAGE)
    leave("for-loop-1-iteration-0/ingest/data_preview", PAGE)
    leave("train/report", b"not a page")
    leave("mine/report", PAGE)
    leave("tune/trials/trials.json", json.dumps([{"name": "0-0000"}]).encode())
    left = read_step_outputs(str(tmp_path), whole=True)
    assert set(left.pages) == {"validate", "evaluate", "mine", "for-loop-1-iteration-0-ingest"}
    assert left.trials == ({"name": "0-0000"},)
    assert read_step_outputs(str(tmp_path), whole=False) == StepOutputs()


def test_a_root_that_cannot_be_read_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    output = tmp_path / "run_record"
    joined = record(
        RecordParameters("p-1", "1", "p", "SUCCEEDED"),
        "minio://mlpipeline/v2/artifacts/p/1/record/run_record",
        output,
    )
    assert "no S3 credentials" in joined.incomplete
    assert (output / "run_record.json").is_file()
    assert joined.reasons[0].startswith("what the steps left cannot be read: minio://mlpipeline/")
    assert message_of(joined, "").outcome == "succeeded"


NAMES = (
    "plain.name",
    "größe: a b/c-d",
    "C++ (2020)",
    "C__ _2020_",
    "C## [2020]",
    "/absolute",
    "a//b",
    "a/../b",
    "..",
    ".",
    "",
    "x" * 300,
    "x" * 299 + "y",
    "tab\tand\nline",
)


def test_names_that_mlflow_refuses_are_replaced_and_the_rest_is_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By MLflow's own client and store, which check each name."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    metrics = {name: {"value": 0.5} for name in NAMES}
    model = {"class_weight": dict.fromkeys(NAMES, 2.5), "estimator": "decision_tree"}
    ended = replace(ENDED, evaluation={"model": model, "metrics": metrics})
    trial = {
        "name": "0-0000", "estimator": "e", "hyperparameters": {"w": {"C++ (2020)": 1}},
        "state": "complete", "metric": "f1[C++]", "value": 0.5, "why": "",
    }  # fmt: skip
    left = StepOutputs((), {"validate": PAGE}, (trial,))
    for _ in range(2):  # told twice, it is one run
        told = track(ended, left)
        assert (told.sent, told.why) == (True, "")

    from mlflow import MlflowClient

    client = MlflowClient()
    (experiment,) = [one for one in client.search_experiments() if one.name == "p"]
    found = client.search_runs([experiment.experiment_id])
    run = next(one for one in found if "kfp_suite.trial" not in one.data.tags)
    assert {one.info.status for one in found} == {"FINISHED"}
    assert run.data.params["estimator"] == "decision_tree"
    assert run.data.params["class_weight.plain.name"] == "2.5"
    assert len(run.data.params) == len(NAMES) + 1
    assert len(run.data.metrics) == len(NAMES)
    renamed = json.loads(run.data.tags["kfp_suite.renamed"])
    assert run.data.params["class_weight.C++ (2020)".replace("+", "_").replace("(", "_").replace(
        ")", "_") + "-" + sha256(b"class_weight.C++ (2020)").hexdigest()[:8]] == "2.5"  # fmt: skip
    assert "class_weight.C++ (2020)" in renamed.values()
    assert "plain.name" not in renamed.values()
    assert [one.path for one in client.list_artifacts(run.info.run_id, "reports")]


def test_a_part_that_mlflow_refuses_ends_neither_the_rest_nor_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no batches today")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", refuse)
        told = track(ENDED, StepOutputs((), {"validate": PAGE}, ()))
    assert (told.sent, told.why) == (False, "RuntimeError: no batches today")
    client = MlflowClient()
    (experiment,) = [one for one in client.search_experiments() if one.name == "p"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert [one.path for one in client.list_artifacts(run.info.run_id, "reports")]


def test_every_error_is_told_and_the_same_one_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())

    def refuse(why: str) -> Callable[..., None]:
        def refused(*_: object, **__: object) -> None:
            raise RuntimeError(why)

        return refused

    trial = {
        "estimator": "e", "hyperparameters": {}, "state": "complete", "metric": "f1",
        "value": 0.5, "why": "",
    }  # fmt: skip
    trials = tuple({"name": str(number), **trial} for number in range(2))
    monkeypatch.setattr(MlflowClient, "log_batch", refuse("no batches today"))
    monkeypatch.setattr(MlflowClient, "log_artifacts", refuse("no room"))
    monkeypatch.setattr(MlflowClient, "set_terminated", refuse("no end"))
    told = track(ENDED, StepOutputs((), {}, trials))
    assert not told.sent
    assert sorted(told.why.split("; ")) == [
        "RuntimeError: no batches today (3 times)",
        "RuntimeError: no end (3 times)",
        "RuntimeError: no room",
    ]


def test_long_values_are_shortened_so_that_it_shows_and_json_stays_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    names = [f"class {number}: \x00{'+' * 60}" for number in range(150)] + ["\x00" * 8_000]
    model = {"estimator": "e", "of": "x" * 6_000, "long": "x" * 6_001, "w": dict.fromkeys(names, 1)}
    ended = replace(
        ENDED,
        evaluation={"model": model, "metrics": {}, "blessed": False, "reasons": ["y" * 9_000]},
    )
    assert track(ended, StepOutputs()).why == ""
    client = MlflowClient()
    (experiment,) = [one for one in client.search_experiments() if one.name == "p"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["of"] == "x" * 6_000
    assert run.data.params["long"].endswith("x… (6,001 characters)")
    assert run.data.tags["kfp_suite.reasons"].endswith("y… (9,000 characters)")
    parts = [
        json.loads(value)
        for name, value in run.data.tags.items()
        if name.startswith("kfp_suite.renamed")
    ]
    assert len(parts) > 1
    renamed = {key: value for part in parts for key, value in part.items()}
    assert len(renamed) == len(names)
    assert set(renamed) <= set(run.data.params)
    assert {f"w.{name}" for name in names[:-1]} < set(renamed.values())
