"""A step that never ends is ended, with what it started."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.local.catalog import find_pipeline, load
from kfp_suite.local.commands import run_step
from kfp_suite.local.docker import run_container
from kfp_suite.local.local import open_root, run_locally
from kfp_suite.local.time_limits import Deadline, find_time_limits

HOUR = 3600


def command(folder: Path, code: str) -> list[str]:
    """A step called `train` that runs `code`."""
    folder.mkdir()
    return [sys.executable, "-c", code, "--executor_input", str(folder / "given.json")]


def end_when_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of a step be over as soon as `file` is there: no limit in seconds is both short
    and long enough on a busy machine."""

    class Timer(threading.Thread):
        def __init__(self, _seconds: float, end: Callable[[], None]) -> None:
            super().__init__(daemon=True)
            self.end, self.cancelled = end, threading.Event()

        def run(self) -> None:
            while not file.exists() and not self.cancelled.wait(0.05):
                pass
            if not self.cancelled.is_set():
                self.end()

        def cancel(self) -> None:
            self.cancelled.set()

    monkeypatch.setattr(
        "kfp_suite.local.time_limits.threading",
        SimpleNamespace(Timer=Timer, TIMEOUT_MAX=threading.TIMEOUT_MAX),
    )


def test_the_limits_are_those_that_a_cluster_enforces() -> None:
    limits = find_time_limits(load(find_pipeline("train_and_deploy")), None)
    assert limits["train"] == 24 * HOUR
    assert limits["evaluate"] == limits["ingest"] == 6 * HOUR
    assert limits["push"] == HOUR
    assert "exit-handler-1" not in limits


def test_a_rollout_has_limits_of_its_own() -> None:
    limits = find_time_limits(load(find_pipeline("progressive_delivery")), None)
    assert limits == {"rollout": 0, "record": HOUR}


def test_one_limit_for_every_step() -> None:
    limits = find_time_limits(load(find_pipeline("progressive_delivery")), 7)
    assert limits == {"rollout": 7, "record": 7}


def test_a_step_that_never_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end_when_written(tmp_path / "train" / "ready", monkeypatch)
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True)\n"
        "print('child', child.pid, flush=True)\n"
        "pathlib.Path(sys.argv[2]).with_name('ready').touch()\n"
        "time.sleep(600)\n"
    )
    assert run_step(command(tmp_path / "train", code), limits={"train": 3}) != 0
    error = json.loads((tmp_path / "train" / "error.json").read_text())
    assert error["step"] == "train"
    assert error["message"].startswith(
        "the step reached its time limit, and was ended; got 3 s; raise max_step_seconds "
        "(--max-step-seconds);"
    )
    said = capsys.readouterr().out
    assert f"error: {error['message']}" in said
    child = int(said.split("child ")[1].split()[0])
    assert (
        psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], 20)[1] == []
    )


def test_another_error_of_a_step_that_was_ended_does_not_hide_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_when_written(tmp_path / "train" / "error.json", monkeypatch)
    code = (
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[2]).with_name('error.json').write_text('{}')\n"
        "time.sleep(600)\n"
    )
    assert run_step(command(tmp_path / "train", code), limits={"train": 3}) != 0
    assert "time limit" in (tmp_path / "train" / "error.json").read_text()


def test_what_a_step_left_running_is_not_waited_for(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "folder = pathlib.Path(sys.argv[2]).parent\n"
        "(folder / 'executor_output.json').write_text('{}')\n"
        "(folder / 'pid').write_text(str(left.pid))\n"
    )
    try:
        assert run_step(command(tmp_path / "train", code), limits={"train": 600}) == 0
        assert not (tmp_path / "train" / "error.json").exists()
    finally:
        psutil.Process(int((tmp_path / "train" / "pid").read_text())).kill()


def test_a_step_that_ends_in_time_is_not_ended() -> None:
    ended: list[str] = []
    deadline = Deadline(600)
    with deadline.ending(lambda: ended.append("now")):
        pass
    assert (ended, deadline.is_over) == ([], False)


class Container:
    """A container whose step never ends."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def start(self) -> None: ...

    def logs(self, **_: Any) -> Any:
        yield b"fitting\n"
        assert self.killed.wait(60)

    def kill(self) -> None:
        self.killed.set()

    def wait(self) -> dict[str, int]:
        return {"StatusCode": 137}

    def remove(self, **_: Any) -> None: ...


def test_a_container_that_never_ends(tmp_path: Path) -> None:
    container = Container()
    client = SimpleNamespace(
        images=SimpleNamespace(get=lambda _: SimpleNamespace(id="sha256:1")),
        containers=SimpleNamespace(create=lambda *_, **__: container),
    )
    ran = run_container(client, "image", command(tmp_path / "train", ""), {}, limits={"train": 1})
    assert ran == 137
    assert "max_step_seconds" in (tmp_path / "train" / "error.json").read_text()


def test_a_limit_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="max_step_seconds: not a time limit; got 0"):
        run_locally("tune", {}, open_root(tmp_path), max_step_seconds=0, on_event=lambda _: None)
    assert list(tmp_path.iterdir()) == []
