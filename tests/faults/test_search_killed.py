"""A search that is killed with SIGKILL loses what was running, and no finished trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.searching import MODEL, TRIALS
from tests.steps import STEPS, write_source


@pytest.fixture
def made(tmp_path: Path) -> Path:
    write_source(tmp_path)
    for name in ("resolve", "ingest", "transform"):
        STEPS[name](tmp_path, tmp_path)
    return tmp_path


def search(made: Path, name: str, *sleeper: str) -> subprocess.Popen[bytes]:
    """A process, in a group of its own with the workers that it starts."""
    store = made / ("whole" if name == "whole" else "store")
    folders = [str(folder) for folder in (made, store, made / name)]
    command = [sys.executable, "-m", "tests.faults.searching", *folders]
    return subprocess.Popen([*command, *sleeper], start_new_session=True)


def begun(made: Path, name: str) -> list[str]:
    return (made / f"{name}.begun").read_text().split()


def test_only_what_was_running_is_run_again(made: Path) -> None:
    killed = search(made, "killed", "0-0003")
    try:
        # The rest of the first batch ends while one of it does not.
        deadline = time.monotonic() + 240
        while len(kept := list(made.glob(f"store/{MODEL}/_studies/*/*.json"))) < 7:
            assert killed.poll() is None, "the search ended"
            assert time.monotonic() < deadline, f"kept: {sorted(kept)}"
            time.sleep(0.1)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
    assert "0-0003" not in {path.stem for path in kept}
    assert not (made / "killed").exists()

    names = [f"0-{number:04}" for number in range(TRIALS)]
    assert search(made, "again").wait(240) == 0
    assert sorted(begun(made, "again")) == ["0-0003", *names[8:]]

    assert search(made, "whole").wait(240) == 0
    assert sorted(begun(made, "whole")) == names
    again, whole = (made / name / "trials.json" for name in ("again", "whole"))
    assert again.read_bytes() == whole.read_bytes()
