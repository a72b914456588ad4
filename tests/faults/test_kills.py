"""A step killed at any point, then run again, leaves what one run leaves, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.steps import STEPS

KILLS = 6


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_is_made_whole_by_the_next_try(
    step: str, inputs: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killing", step, inputs, tmp_path, str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["changes"] >= 3
    assert len(found["again"]) >= min(KILLS, found["changes"])
    for place, files in found["again"].items():
        assert files == found["expected"], f"killed before change {place}"
