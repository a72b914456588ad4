"""Runs that recur: nothing new ends early, only what is better is served, and a backfill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.local.command import kfp_suite, started


def rows(path: Path, *, month: int = 1, late_above: bool = True, count: int = 600) -> None:
    """Rows of a month; whether the late ones are the large or the small is a parameter."""
    chance = random.Random(month)
    lines = ["id,day,size,late"]
    for number in range(count):
        size = chance.uniform(0, 10)
        late = (size + chance.gauss(0, 1) > 5) == late_above
        day = f"2026-{month:02}-{1 + number % 28:02}"
        lines.append(f"{number},{day},{size:.3f},{str(late).lower()}")
    path.write_text("\n".join(lines) + "\n")


def arguments(folder: Path, pipeline: str, **more: Any) -> list[str]:
    """The command for a run in `folder`; each has its own file of parameters."""
    parameters = {
        "model_name": "rows",
        "sources": {"rows": "rows.csv"},
        "label": "late",
        "split": {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.3},
        "estimator": "logistic_regression",
    }
    file = folder / f"params-{len(list(folder.glob('params-*')))}.yaml"
    file.write_text(yaml.safe_dump(parameters | more))
    return ["run", pipeline, "--params", str(file), "--root", str(folder / "runs"), "--json"]


def run(folder: Path, pipeline: str, **more: Any) -> dict[str, Any]:
    done = kfp_suite(*arguments(folder, pipeline, **more))
    return answer(done.returncode, done.stdout, done.stderr)


def answer(code: int, stdout: str, stderr: str = "") -> dict[str, Any]:
    assert stdout, stderr
    found: dict[str, Any] = json.loads(stdout)
    assert code == 0, found["error"]
    return found


def signal_run(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Signal the process that runs the pipeline, and its steps."""
    for child in psutil.Process(process.pid).children():
        os.killpg(child.pid, number)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, _ = process.communicate(timeout=240)
    return answer(process.returncode, stdout)


@pytest.mark.serving
def test_only_what_is_new_is_trained_and_only_what_is_better_is_served(tmp_path: Path) -> None:
    models = ModelStore(FolderStore(tmp_path / "runs" / "models"))
    rows(tmp_path / "rows.csv")
    assert run(tmp_path, "retrain")["version"] == 1
    assert models.aliases("rows") == {"challenger": 1, "champion": 1}

    idle = run(tmp_path, "retrain")
    assert list(idle["steps"]) == ["changed", "record"]
    assert idle["status"] == "SUCCEEDED"
    assert idle["reasons"] == [
        "nothing is new since version 1, the champion: the same sources, module and parameters"
    ]

    no_better = run(tmp_path, "retrain", hyperparameters={"C": 0.5})
    assert no_better["blessed"] is False
    assert "an improvement of 0.0001 is not seen" in no_better["reasons"][0]

    rows(tmp_path / "rows.csv", late_above=False)  # the world has turned
    better = run(tmp_path, "retrain")
    assert better["version"] == 2
    assert models.aliases("rows") == {"challenger": 2, "champion": 2}


@pytest.mark.serving
def test_of_two_runs_that_overlap_one_serves_and_the_other_waits_its_turn(tmp_path: Path) -> None:
    models = ModelStore(FolderStore(tmp_path / "runs" / "models"))
    processes = []
    try:
        for number, month in enumerate((1, 2)):
            rows(tmp_path / f"rows-{month}.csv", month=month)
            source = {"rows": f"rows-{month}.csv"}
            processes.append(started(*arguments(tmp_path, "retrain", sources=source)))
            # Each has asked for the champion, and found none, before the other has one.
            deadline = time.monotonic() + 120
            while len(list(tmp_path.glob("runs/*/ingest"))) <= number:
                assert processes[-1].poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        first, second = processes
        signal_run(second, signal.SIGSTOP)
        served = ended(first)
        signal_run(second, signal.SIGCONT)
        waiting = ended(second)
    finally:
        for process in processes:
            process.kill()  # its steps end with it
            process.wait()

    assert (served["version"], waiting["version"]) == (1, 2)
    assert served["endpoint"]["answer"]["model_version"] == "1"
    assert waiting["status"] == "SUCCEEDED"
    assert (waiting["endpoint"]["promoted"], waiting["endpoint"]["manifest"]) == (False, "")
    assert "version 1 has become champion since" in waiting["reasons"][-1]
    assert models.versions("rows") == [1, 2]
    assert models.verify("rows", 1).digest == served["digest"]
    assert models.verify("rows", 2).digest == waiting["digest"]
    assert models.aliases("rows") == {"challenger": 2, "champion": 1}
    assert [move.version for move in models.alias_history("rows", "champion")] == [1]

    turn = run(tmp_path, "retrain", sources={"rows": "rows-2.csv"})
    assert turn["blessed"] is False  # now it is compared with the champion, and is no better
    assert models.aliases("rows") == {"challenger": 2, "champion": 1}


@pytest.mark.serving
def test_two_runs_of_the_same_at_once_are_one_version(tmp_path: Path) -> None:
    rows(tmp_path / "rows.csv")
    both = [started(*arguments(tmp_path, "retrain")) for _ in range(2)]
    try:
        answers = [ended(one) for one in both]
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert [(one["status"], one["version"]) for one in answers] == [("SUCCEEDED", 1)] * 2
    assert {one["endpoint"]["answer"]["model_version"] for one in answers} == {"1"}
    models = ModelStore(FolderStore(tmp_path / "runs" / "models"))
    assert models.versions("rows") == [1]
    assert models.aliases("rows") == {"challenger": 1, "champion": 1}
    assert len(models.alias_history("rows", "champion")) == 1


def test_a_backfill_is_a_version_of_each_window(tmp_path: Path) -> None:
    for month in (1, 2, 3):
        rows(tmp_path / f"rows-2026-{month:02}-01.csv", month=month)
    answer = run(
        tmp_path,
        "backfill",
        sources={"rows": "rows-${start}.csv"},
        sql="SELECT * FROM rows WHERE day < DATE '${end}'",
        start="2026-01-01",
        end="2026-04-01",
    )
    assert answer["versions"] == [1, 2, 3]
    assert answer["endpoint"] is None
    assert sum(name.endswith(".evaluate") for name in answer["reports"]) == 3
    models = ModelStore(FolderStore(tmp_path / "runs" / "models"))
    assert models.aliases("rows") == {}
    read = {
        models.manifest("rows", n).recipe["ingest"]["sources"]["rows"]["uri"].rpartition("/")[2]
        for n in (1, 2, 3)
    }
    assert read == {f"rows-2026-{month:02}-01.csv" for month in (1, 2, 3)}
