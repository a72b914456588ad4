"""However a run ends, it leaves a record and one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import InputError, RunError
from kfp_suite.contracts.run_record import RunRecord
from kfp_suite.local import following, local
from kfp_suite.local.events import Event, Said, Started
from kfp_suite.local.history import (
    PastRun,
    find_run,
    read_run,
    run_folders,
    write_run,
)
from kfp_suite.local.local import LocalRun, open_root, run_locally
from tests.local.command import COMMAND, kfp_suite

ARGUMENTS: dict[str, Any] = {"model_name": "rows", "label": "y", "store": "", "sources": {}}


def ran(root: Path, max_step_seconds: int | None = None, **arguments: Any) -> LocalRun:
    return run_locally(
        "train_and_deploy",
        {**ARGUMENTS, **arguments},
        open_root(root),
        max_step_seconds=max_step_seconds,
        on_event=lambda _: None,
    )


def test_what_is_written_arrives_from_anywhere(tmp_path: Path) -> None:
    """A root with `..`, spaces and python3 in it, a working folder full of names of the standard
    library, a long query, and the words that kfp replaces."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("random", "inspect", "statistics"):
        (here / f"{name}.py").write_text("raise SystemExit('of the working folder')\n")
    languages = ["python3", "go", "/kfp-workspace/x"]
    (here / "python3.csv").write_text(
        "lang,n,y\n" + "".join(f"{languages[n % 3]},{n},{n % 2}\n" for n in range(300))
    )
    others = ", ".join(f"'{number:09}'" for number in range(12_000))
    sql = f"SELECT * FROM rows WHERE lang IN ('python3', '/kfp-workspace/x', {others})"
    (here / "p.yaml").write_text(
        "model_name: rows\nsources: {rows: {uri: python3.csv, delimiter: null}}\nlabel: 'no'\n"
        f"sql: {json.dumps(sql)}\n"
    )
    command = ("run", "train_and_deploy", "--params", "p.yaml", "--json", "--root")
    done = subprocess.run(
        [*COMMAND, *command, "../my python3"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        env={
            **{k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"},
            "PYTHONSAFEPATH": "1",
        },
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["status"]) == (2, "FAILED")
    assert answer["error"].startswith("validate: label: the label 'no' is not a column")
    dataset = json.loads(Path(answer["outputs"]["ingest.dataset"], "dataset.json").read_text())
    assert dataset["parameters"]["sql"] == sql
    assert sum(split["rows"] for split in dataset["splits"].values()) == 200
    assert Path(answer["folder"]).parent == tmp_path / "my python3"


def test_a_run_that_is_interrupted_is_listed_as_cancelled(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n1,2\n")
    (tmp_path / "p.yaml").write_text("model_name: rows\nlabel: y\nsources: {rows: rows.csv}\n")
    given = ("--params", str(tmp_path / "p.yaml"), "--root", str(tmp_path / "runs"))
    child = subprocess.Popen(
        [*COMMAND, "run", "train_and_deploy", *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"},
    )
    assert child.stdout is not None
    while not run_folders(tmp_path / "runs"):
        assert child.poll() is None
        time.sleep(0.05)
    listed = json.loads(
        kfp_suite("runs", "list", "--root", str(tmp_path / "runs"), "--json").stdout
    )
    assert [run["record"]["status"] for run in listed] == ["RUNNING"]
    child.send_signal(signal.SIGTERM)
    shown, said = child.communicate()
    assert (child.returncode, said.splitlines()[-1]) == (130, "interrupted")
    name, run = find_run(tmp_path / "runs", "latest")
    assert run.record.status == "CANCELLED"
    assert run.parameters["model_name"] == "rows"
    assert f"runs/{name}/run.log" in shown
    assert f"--params {tmp_path}/runs/{name}/parameters.json" in shown
    assert {step.state for step in run.steps} <= {"succeeded", "interrupted"}
    assert run.seconds is not None
    assert (tmp_path / "runs" / name / "run.log").is_file()


def test_a_run_is_listed_as_running_until_its_record_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first moment that it is listed, and while somebody is told of its end."""
    seen: list[str] = []

    def see(folder: Path) -> None:
        seen.append(read_run(folder).record.status)

    def write(folder: Path, run: PastRun) -> None:
        write_run(folder, run)
        see(folder)

    def notify(_channels: object, record: RunRecord) -> list[object]:
        see(tmp_path / record.run)
        return []

    monkeypatch.setattr(local, "write_run", write)
    monkeypatch.setattr("kfp_suite.components.record.executor.notify", notify)
    monkeypatch.setattr("sys.executable", "/bin/false")
    ran(tmp_path, notify={"webhooks": []})
    assert seen == ["RUNNING", "RUNNING", "FAILED"]


def test_a_run_that_is_ended_as_soon_as_it_is_listed_has_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SIGTERM twice: the second must not keep the first from being recorded."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread alone")

    def end(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def notify(_channels: object, _record: RunRecord) -> list[object]:
        end()
        return []

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(local, "write_json", end)
    monkeypatch.setattr("kfp_suite.components.record.executor.notify", notify)
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path, notify={"webhooks": []})
    assert find_run(tmp_path, "latest")[1].record.status == "CANCELLED"
    assert [path.name for path in tmp_path.glob("*/record/run_record/*")] == ["run_record.json"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_process_that_dies_leaves_a_record_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def notify(channels: object, record: RunRecord) -> list[object]:
        told.append(f"{channels} {record.status}")
        return []

    monkeypatch.setattr("kfp_suite.components.record.executor.notify", notify)
    monkeypatch.setattr("sys.executable", "/bin/false")
    run = ran(tmp_path, notify={"webhooks": []})
    assert run.record.status == "FAILED"
    assert isinstance(run.failure, RunError)
    assert str(run.failure) == f"{run.folder}: no step was started; read {run.folder}/run.log"
    assert find_run(tmp_path, "latest")[1].record == run.record
    assert told == ["{'webhooks': []} FAILED"]


def test_a_step_that_waits_for_ever_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is in a store that takes connections and answers none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        run = ran(tmp_path, 6, sources={"rows": "s3://bucket/rows.csv"}, store=str(tmp_path))
    assert run.record.status == "FAILED"
    errors = {error["step"]: error["message"] for error in run.record.errors}
    assert "reached its time limit, and was ended; got 6 s" in errors["resolve"]
    assert "max_step_seconds" in errors["resolve"]
    assert find_run(tmp_path, "latest")[1].record == run.record


def test_an_error_of_kfp_itself_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run = ran(tmp_path, seed="many")
    assert list(scratch.iterdir()) == []
    assert run.record.status == "FAILED"
    assert "InconsistentTypeException" in str(run.failure)
    assert not isinstance(run.failure, InputError)
    assert list(run_folders(tmp_path)) == [run.folder.name]


def test_a_log_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MAX_LOG_BYTES", 1 << 20)
    events: list[Event] = []
    follower = following.Follower(tmp_path, events.append)
    for _ in range(3_000):
        follower.read("x" * 999 + "\n")
    follower.read("12:00:00.000 - INFO - Executing task 'train'\n")
    follower.close()
    assert (tmp_path / "run.log").stat().st_size < (1 << 20) + 2_000
    said = "the log of this run ends here: it has 1 MiB; what follows is not kept"
    assert (tmp_path / "run.log").read_text().splitlines()[-1] == said
    assert events == [Said("", said), Started("train")]
