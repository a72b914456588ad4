"""A run as it is watched: the pipeline's own tasks, through outages, until it ends or Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kfp import compiler

from kfp_suite.contracts.errors import RunError, StoreError, TransientError
from kfp_suite.kubeflow import watching
from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.kubeflow.run_state import state_of
from kfp_suite.kubeflow.watching import run_state
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble
from tests.unit.kubeflow.conftest import Command
from tests.unit.kubeflow.user_pipelines import looped

PIPELINE = "progressive_delivery"
ARGUMENTS = ("--param", "model_name=late", "--param", "store=gs://bucket/models")
RETRAIN = (
    *("--param", "model_name=late", "--param", "label=late", "--param", "store=gs://b/m"),
    *("--param", "sources={rows: 'gs://b/r.parquet'}"),
)


def the_run(kfp: KfpDouble) -> str:
    (run,) = kfp.state.runs
    return run


def shown_names(kfp: KfpDouble) -> list[str]:
    details = kfp.state.run_now(the_run(kfp))["run_details"]["task_details"]
    return [one["display_name"] for one in details]


def test_what_kubeflow_puts_around_tasks_is_not_shown(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, retried={"ingest": 1}, skips=("if-blessed",)))
    done = command("submit", "retrain", *RETRAIN, "--watch")
    assert done.exit_code == 0, done.exception
    lines = [line.split()[1] for line in done.output.splitlines() if line.startswith("✓")]
    assert sorted(lines) == sorted(
        ["changed", "ingest", "validate", "transform", "train", "evaluate", "record"]
    )
    around = {"executor", "executor(0)", "executor(1)", "if-blessed", "steps.onExit"}
    assert around <= set(shown_names(kfp))  # as a real backend tells them


def test_a_try_that_took_hours_is_followed_by_another(command: Command, kfp: KfpDouble) -> None:
    """Argo counts all tries of a task from the beginning of the first, and cuts them off."""
    kfp.behave(Behaviour(seconds=5.9 * 3600, retried={"ingest": 3}))
    command("submit", "retrain", *RETRAIN)
    kfp.advance(8 * 24 * 3600)
    states = {
        task.name: task.state
        for task in run_state(Backend(Connection(host=kfp.url)), the_run(kfp)).tasks
    }
    assert set(states.values()) == {"SUCCEEDED"}
    assert "executor(3)" in shown_names(kfp)


def test_one_failure_is_told_once(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, fails="train"))
    done = command("submit", "retrain", *RETRAIN, "--watch")
    assert isinstance(done.exception, RunError)
    assert "the run ended as failed; got train: Error (exit code 1); see" in str(done.exception)
    assert done.output.count("✗") == 1
    assert "- evaluate" in done.output  # left out
    assert "✓ record" in done.output


def test_tasks_of_loops_and_of_inner_pipelines_are_shown(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    file = tmp_path / "looped.yaml"
    compiler.Compiler().compile(looped, str(file))
    kfp.behave(Behaviour(seconds=0.0, fails="step"))
    done = command("submit", str(file), "--watch")
    assert "got step: Error (exit code 1); see" in str(done.exception)
    backend = Backend(Connection(host=kfp.url))
    assert {task.name for task in run_state(backend, the_run(kfp)).tasks} == {"step"}


def test_without_its_pipeline_a_run_is_read_by_how_the_engine_names_its_own(
    command: Command, kfp: KfpDouble
) -> None:
    kfp.behave(Behaviour(seconds=0.0))
    command("submit", "retrain", *RETRAIN)
    kfp.state.versions.clear()
    backend = Backend(Connection(host=kfp.url))
    names = {task.name for task in run_state(backend, the_run(kfp)).tasks}
    assert names - {"retrain-" + the_run(kfp)[:5]} == {
        *("changed", "ingest", "validate", "transform", "train", "evaluate"),
        *("infra-validate", "push", "deploy", "record"),
    }


def test_tasks_are_in_the_order_in_which_they_started(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=10))
    command("submit", "retrain", *RETRAIN)
    kfp.advance(25)
    backend = Backend(Connection(host=kfp.url))
    state = run_state(backend, the_run(kfp))
    assert [(task.name, task.state) for task in state.tasks] == [
        ("changed", "SUCCEEDED"),
        ("ingest", "SUCCEEDED"),
        ("validate", "RUNNING"),
    ]
    assert [task.seconds for task in state.tasks] == [10, 10, None]
    raw = backend.client.get_run(the_run(kfp))
    assert state_of(raw).state == "RUNNING"


def test_a_watch_outlives_an_outage(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0))
    kfp.fail_next(503, times=12, path="/runs/")
    done = command("submit", PIPELINE, *ARGUMENTS, "--watch")
    assert done.exit_code == 0, done.exception
    assert done.output.count("not reachable, still trying: 503 told to fail") == 1
    assert "succeeded" in done.output


def test_a_watch_that_gives_up_says_how_to_go_on(
    command: Command, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0.0)
    kfp.fail_next(503, times=99, path="/runs/")
    done = command("submit", PIPELINE, *ARGUMENTS, "--watch")
    assert isinstance(done.exception, TransientError)
    assert f"runs watch {the_run(kfp)} --host {kfp.url}" in done.output


def test_a_sign_in_that_expires_says_how_to_go_on(command: Command, kfp: KfpDouble) -> None:
    kfp.fail_next(401, path="/runs/")
    done = command("submit", PIPELINE, *ARGUMENTS, "--watch")
    assert isinstance(done.exception, StoreError)
    assert "the watch is over; the run goes on" in done.output


# Who runs the tests in the background has them ignore Ctrl-C; a terminal does not.
AS_IN_A_TERMINAL = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def test_ctrl_c_in_a_terminal_detaches_and_says_how_to_go_on(
    kfp: KfpDouble, tmp_path: Path
) -> None:
    kfp.behave(Behaviour(hangs="rollout"))
    token = tmp_path / "a token"
    token.write_text("t")
    words = ["submit", PIPELINE, *ARGUMENTS, "--watch", "--host", kfp.url, "-n", "birds"]
    ours, theirs = pty.openpty()
    program = str(Path(sys.executable).parent / "kfp-suite")
    process = subprocess.Popen(
        [sys.executable, "-c", AS_IN_A_TERMINAL, program, *words, "--token-file", str(token)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    said = ""
    try:
        deadline = time.monotonic() + 120
        while "… rollout" not in said and time.monotonic() < deadline:
            said += os.read(ours, 65536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            said += more.decode(errors="replace")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    options = f"--host {kfp.url} --namespace birds --token-file '{token}'"
    assert "detached; the run goes on" in said
    assert f"kfp-suite runs watch {the_run(kfp)} {options}" in said
    assert f"kfp-suite runs terminate {the_run(kfp)} {options}" in said
    # Nothing is drawn after it: what is live had been stopped.
    assert "… rollout" not in said.partition("detached")[2]
    assert kfp.state.run_now(the_run(kfp))["state"] == "RUNNING"
