"""The end of a run as a watch tells it: why it failed, and what it made."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from kfp_suite.components.train.tune.study import Trial
from kfp_suite.contracts.canonical import pretty_json
from kfp_suite.contracts.errors import InputError, RunError, StoreError
from kfp_suite.contracts.run_record import RECORD, TRIALS, RunRecord
from kfp_suite.kubeflow import records, watching
from kfp_suite.kubeflow.argo import workflow_of
from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.kubeflow.ending import _last_line
from kfp_suite.notebook.cluster import Ended, Kubeflow
from kfp_suite.stores.store import Store
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble
from tests.unit.kubeflow.conftest import Command

RETRAIN = (
    *("--param", "model_name=late", "--param", "label=late", "--param", "store=gs://b/m"),
    *("--param", "sources={rows: 'gs://b/r.parquet'}"),
)
ERROR: dict[str, Any] = {
    "step": "train",
    "message": "train: label: a value of one row alone; got 1 row; drop it",
    "what": "a value of one row alone",
    "where": "label",
    "got": "1 row",
    "expected": None,
    "fix": "drop it",
    "exit_code": 2,
}
EVALUATION: dict[str, Any] = {
    "blessed": True,
    "primary_metric": "roc_auc",
    "metrics": {"roc_auc": {"value": 0.81, "low": 0.8, "high": 0.82}},
    "champion": {
        "version": 3,
        "comparison": {
            "metric": "roc_auc",
            "champion": 0.79,
            "difference": {"value": 0.02, "low": 0.01, "high": 0.03},
            "passed": True,
        },
    },
}
VERSION = {"model": "late", "version": 4, "uri": "gs://b/m/late/4", "digest": "sha256:4"}
ENDPOINT = {"target": "cluster", "url": "http://late.example.com", "model": "late", "version": 4}
OUT_OF_MEMORY = "OOMKilled (exit code 137)"


@pytest.fixture(autouse=True)
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's address is one inside the cluster."""

    def refuse(uri: str) -> Store:
        raise StoreError("no S3 server there", where=uri, got="no such host")

    monkeypatch.setattr(records, "open_store", refuse)


def submitted(command: Command, pipeline: str = "retrain", *more: str) -> str:
    done = command("submit", pipeline, *RETRAIN, *more, "--name", "mine", "--json")
    run: str = json.loads(done.output)["run_id"]
    return run


def leave(kfp: KfpDouble, run: str, task: str, output: str, name: str, content: object) -> None:
    """A file in the outputs of a task, as KFP's launcher uploads it."""
    workflow = workflow_of(Backend(Connection(host=kfp.url)), run)
    assert workflow is not None
    places = [uri for of, what, uri in workflow.outputs() if (of, what) == (task, output)]
    for number, uri in enumerate(places):
        told = content[number] if isinstance(content, list) else content
        kfp.state.objects[f"{uri}/{name}"] = pretty_json(told)


def leave_record(kfp: KfpDouble, run: str, status: str = "SUCCEEDED", **made: Any) -> None:
    record = RunRecord("retrain", run, "retrain", status, **made)
    leave(kfp, run, "record", "run_record", RECORD, asdict(record))


def test_a_run_that_failed_says_why_with_the_step_s_exit_code(
    command: Command, kfp: KfpDouble
) -> None:
    kfp.behave(Behaviour(seconds=0.0, fails="train"))
    run = submitted(command)
    leave_record(kfp, run, "FAILED", errors=(ERROR,))
    watched = command("runs", "watch", run)
    assert isinstance(watched.exception, InputError)
    assert str(watched.exception) == "train: label: a value of one row alone; got 1 row; drop it"
    shown = command("runs", "cluster", "show", run)
    assert shown.exit_code == 0
    assert "train: label: a value of one row alone; got 1 row; drop it" in shown.output
    found = json.loads(command("runs", "cluster", "show", run, "--json").output)
    assert (found["outcome"], found["record"]["errors"]) == ("failed", [ERROR])


def test_a_run_that_served_says_what_it_made(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0))
    run = submitted(command)
    leave_record(kfp, run, evaluation=EVALUATION, version=VERSION, endpoint=ENDPOINT)
    watched = command("runs", "watch", run)
    assert watched.exit_code == 0, watched.exception
    told = [line.split(maxsplit=1) for line in watched.output.splitlines() if line]
    assert ["metrics", "roc_auc 0.81 (0.8 – 0.82)"] in told
    better = "version 3: roc_auc 0.79; this one is better by 0.02 (0.01 – 0.03)"
    assert ["champion", better] in told
    assert ["model", "late version 4: champion"] in told
    assert ["address", "http://late.example.com"] in told
    (reports,) = [given for name, given in told if name == "reports"]
    assert {"validation_report", "evaluation_report"} <= set(reports.replace(",", "").split())
    assert watched.output.rstrip().endswith("mine succeeded")


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/minio/mlpipeline/v2/isvc.yaml", "minio://mlpipeline/v2/isvc.yaml"),
        ("/s3/b/root/isvc.yaml", "s3://b/root/isvc.yaml"),
        ("/gcs/b/root/isvc.yaml", "gs://b/root/isvc.yaml"),
    ],
)
def test_the_manifest_is_named_by_its_address(
    command: Command, kfp: KfpDouble, path: str, address: str
) -> None:
    """Not by its path in the pod of the step, which is nowhere else."""
    kfp.behave(Behaviour(seconds=0.0))
    run = submitted(command)
    leave_record(kfp, run, version=VERSION, endpoint={**ENDPOINT, "manifest": path})
    told = [line.split(maxsplit=1) for line in command("runs", "watch", run).output.splitlines()]
    assert ["manifest", address] in told


def test_a_model_that_was_refused_says_why_and_what_to_do(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, skips=("if-blessed",)))
    run = submitted(command)
    verdict = {**EVALUATION, "blessed": False, "reasons": ["roc_auc 0.81 is below 0.9"]}
    leave_record(kfp, run, evaluation=verdict)
    watched = command("runs", "watch", run)
    assert "not blessed:\n  - roc_auc 0.81 is below 0.9\n" in watched.output
    link = f"{kfp.url}/#/runs/details/{run}"
    assert f"see how it was measured:  {link}, step evaluate" in watched.output


def test_a_notebook_tells_the_same_end(kfp: KfpDouble) -> None:
    kubeflow = Kubeflow(kfp.url)
    kfp.behave(Behaviour(seconds=0.0))
    sources = {"rows": "gs://b/r.parquet"}
    run = kubeflow.submit(
        "retrain", model_name="late", label="late", store="gs://b/m", sources=sources
    )
    leave_record(kfp, next(iter(kfp.state.runs)), version=VERSION, endpoint=ENDPOINT)
    ended = kubeflow.watch(run)
    assert isinstance(ended, Ended)
    assert "gs://b/m/late/4" in ended._repr_html_()
    assert "http://late.example.com" in ended._repr_html_()


def test_where_users_are_kept_apart_an_output_comes_whole(command: Command, kfp: KfpDouble) -> None:
    kfp.namespaces = ("birds",)
    kfp.behave(Behaviour(seconds=0.0))
    run = submitted(command, "retrain", "-n", "birds")
    leave_record(kfp, run, version=VERSION)
    watched = command("runs", "watch", run, "-n", "birds")
    assert "late version 4" in watched.output
    assert "gs://b/m/late/4" in watched.output


def test_a_record_that_cannot_be_had_says_how_to_get_it(command: Command, kfp: KfpDouble) -> None:
    kfp.ui = False
    kfp.behave(Behaviour(seconds=0.0))
    run = submitted(command)
    leave_record(kfp, run, version=VERSION)
    watched = command("runs", "watch", run)
    assert watched.exit_code == 0
    assert "what it made is not known here: minio://mlpipeline/v2/artifacts/retrain/" in (
        watched.output
    )
    assert "give --host the UI's address (kubectl port-forward" in watched.output


def test_without_a_record_a_failed_step_s_last_words_are_told(
    command: Command, kfp: KfpDouble
) -> None:
    log = (
        "loaded 3 rows\nerror: label: a value of one row alone; drop it\n"
        "F1129 12:39:26.692194      15 main.go:127] failed to execute component: exit status 1\n"
        'time=2026-11-29T12:39:27.486Z level=INFO msg="sub-process exited" argo=true\n'
        "Error: exit status 1\n"
    )
    kfp.behave(Behaviour(seconds=0.0, fails="train", logs={"train": log}))
    run = submitted(command)
    watched = command("runs", "watch", run)
    assert isinstance(watched.exception, RunError)
    words = "got train: Error (exit code 1): label: a value of one row alone; drop it; see"
    assert words in str(watched.exception)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            "{\n}\nF1129 12:39:26.692194      15 main.go:127] KFP driver failed: no execution\n"
            "Error: exit status 1\n",
            "KFP driver failed: no execution",
        ),
        (
            "Traceback\nKeyError: 'late'\n"
            "F1129 12:39:26.692194      15 main.go:127] failed to execute: exit status 1\n",
            "KeyError: 'late'",
        ),
        ("", ""),
        (f"{'x' * 150}the end\n", f"…{'x' * 143}the end"),
    ],
)
def test_the_last_line_that_says_something_is_told(log: str, told: str) -> None:
    assert _last_line(log) == told


def test_a_step_that_was_killed_says_by_what(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, fails="train", why=OUT_OF_MEMORY))
    run = submitted(command)
    assert f"got train: {OUT_OF_MEMORY}; see" in str(command("runs", "watch", run).exception)
    assert OUT_OF_MEMORY in command("runs", "cluster", "show", run).output


@pytest.mark.parametrize(
    ("driver", "told"),
    [
        ("ingest", "got ingest: its driver: Error (exit code 1); see"),
        ("if-valid", "got if-valid-driver: Error (exit code 1); see"),
    ],
)
def test_a_driver_that_failed_is_told(
    command: Command, kfp: KfpDouble, driver: str, told: str
) -> None:
    """KFP says of its task that it was left out."""
    kfp.behave(Behaviour(seconds=0.0, driver_fails=driver))
    run = submitted(command)
    assert told in str(command("runs", "watch", run).exception)


def test_a_terminated_run_has_an_ending_of_its_own(command: Command, kfp: KfpDouble) -> None:
    """KFP says that it failed."""
    kfp.behave(Behaviour(seconds=10.0))
    run = submitted(command)
    kfp.advance(15)
    command("runs", "terminate", run)
    watched = command("runs", "watch", run)
    assert kfp.state.run_now(run)["state"] == "FAILED"
    assert "mine: the run was terminated; got it was at ingest; to start it" in str(
        watched.exception
    )
    found = json.loads(command("runs", "cluster", "show", run, "--json").output)
    assert found["state"]["state"] == "CANCELED"


def test_a_task_from_the_cache_is_told_as_cached(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, cached=("ingest", "validate")))
    done = command("submit", "retrain", *RETRAIN, "--watch")
    cached = [line.split()[1:] for line in done.output.splitlines() if line.startswith("·")]
    assert cached == [["ingest", "cached"], ["validate", "cached"]]
    assert "✓ transform" in done.output


def test_a_step_that_waits_says_for_what(
    command: Command, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CLOSER_SECONDS", 0.0)
    why = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."
    kfp.behave(Behaviour(seconds=0.0, waits={"changed": why}))
    run = submitted(command)
    seen: list[str] = []

    def interrupt(seconds: float) -> None:
        seen.append("look")
        if len(seen) == 5:
            raise KeyboardInterrupt

    init = Backend.__init__
    monkeypatch.setattr(
        Backend, "__init__", lambda self, connection: init(self, connection, interrupt)
    )
    watched = command("runs", "watch", run)
    assert watched.output.count(f"waits: {why}") == 1
    assert "detached; the run goes on" in watched.output
    assert why in command("runs", "cluster", "show", run).output


def test_steps_that_argo_compressed_away_are_seen(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, compressed_after=20))
    done = command("submit", "retrain", *RETRAIN, "--watch")
    for task in ("evaluate", "push", "deploy", "record"):
        assert f"✓ {task}" in done.output
    assert "never seen" not in done.output


def test_steps_that_nobody_saw_are_named(command: Command, kfp: KfpDouble) -> None:
    """Where the first API is gone, Argo's own view is."""
    kfp.behave(Behaviour(seconds=0.0, compressed_after=20))
    kfp.fail_next(404, times=99, path="/apis/v1beta1/")
    done = command("submit", "retrain", *RETRAIN, "--watch")
    assert done.exit_code == 0, done.exception
    (line,) = [one for one in done.output.splitlines() if "never seen" in one]
    assert {"push", "deploy", "record"} <= set(line.replace(",", "").split())
    assert "changed" not in line


def test_trials_of_all_shards_are_ranked(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0))
    run = submitted(command, "tune")
    shards = [
        [asdict(Trial(f"{shard}-0000", "ridge", {"alpha": 1.0}, "complete", "rmse", (v,), v))]
        for shard, v in ((0, 3.0), (1, 2.0))
    ]
    leave(kfp, run, "tune", "trials", TRIALS, shards)
    found = json.loads(command("runs", "cluster", "trials", "mine", "--json").output)
    assert [(one["name"], one["value"]) for one in found] == [("1-0000", 2.0), ("0-0000", 3.0)]
