"""Past runs, from the files they left."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.canonical import flat
from kfp_suite.contracts.errors import MissingError, ParameterError
from kfp_suite.contracts.run_record import RunRecord, write_record
from kfp_suite.local.following import Follower
from kfp_suite.local.history import (
    PastRun,
    best_of,
    find_run,
    read_run,
    run_folders,
    write_run,
)

FIRST = "train-and-deploy-2026-01-02-03-04-05-000001"
SECOND = "other-2026-01-02-03-04-05-000002"


def a_run(name: str, **metrics: float | None) -> PastRun:
    evaluation: dict[str, Any] = {"metrics": {m: {"value": v} for m, v in metrics.items()}}
    return PastRun(
        record=RunRecord(name, "1", "train_and_deploy", "SUCCEEDED", evaluation=evaluation),
        parameters={"seed": 1},
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:04:35+00:00",
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (FIRST, SECOND):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, a_run(name, roc_auc=0.7))
    (tmp_path / "data").mkdir()
    return tmp_path


def test_runs_are_listed_by_time(root: Path) -> None:
    assert list(run_folders(root)) == [FIRST, SECOND]


def test_a_run_of_a_notebook_has_a_record_only(root: Path) -> None:
    name = "p-2026-01-04-03-04-05-000003"
    folder = root / name / "record" / "run_record"
    folder.mkdir(parents=True)
    write_record(folder, RunRecord(name, "3", "p", "FAILED"))
    assert list(run_folders(root))[-1] == name
    assert read_run(root / name).record.status == "FAILED"
    assert read_run(root / name).seconds is None


def test_a_run_round_trips_with_its_time(root: Path) -> None:
    name, run = find_run(root, FIRST)
    assert run == a_run(name, roc_auc=0.7)
    assert run.seconds == 30


def test_a_run_is_found_by_its_ending_and_as_the_latest(root: Path) -> None:
    assert find_run(root, "000001")[0] == FIRST
    assert find_run(root, "latest")[0] == SECOND
    with pytest.raises(MissingError, match="no run 'nope'"):
        find_run(root, "nope")
    (root / f"again-{SECOND}").mkdir()
    write_run(root / f"again-{SECOND}", a_run("x"))
    with pytest.raises(ParameterError, match="'000002' names 2 runs"):
        find_run(root, "000002")


def test_the_latest_is_the_one_that_began_last_whatever_its_name_says(root: Path) -> None:
    """Names are in the time of a place, and clocks go back for an hour a year."""
    name = "other-2025-12-31-23-59-59-000001"
    (root / name).mkdir()
    write_run(root / name, replace(a_run(name), started_at="2026-01-02T01:04:06-02:30"))
    assert list(run_folders(root)) == [FIRST, SECOND, name]
    assert find_run(root, "latest")[0] == name


def test_a_run_record_without_its_start_hides_no_other_run(root: Path) -> None:
    name = "other-2025-12-31-23-59-59-000001"
    (root / name).mkdir()
    (root / name / "run.json").write_text("{}")
    assert list(run_folders(root)) == [name, FIRST, SECOND]


def test_a_run_that_was_killed_is_cancelled_and_one_that_goes_on_is_running(root: Path) -> None:
    folder = root / "p-2026-01-02-03-04-06-000001"
    folder.mkdir()
    running = PastRun(RunRecord(folder.name, "", "p", "RUNNING"), {}, started_at="2026-01-03")
    write_run(folder, running)
    follower = Follower(folder, lambda _: None)
    assert read_run(folder).record.status == "RUNNING"
    follower.close()
    assert read_run(folder).record.status == "CANCELLED"
    (folder / "run.log").unlink()
    assert read_run(folder).record.status == "CANCELLED"


def test_the_best_is_the_highest_or_the_lowest_as_the_metric_is() -> None:
    runs = {"a": {"auc": 0.7, "log_loss": 0.4}, "b": {"auc": 0.8, "log_loss": 0.5}, "c": {}}
    assert best_of(runs, "auc") == "b"
    assert best_of(runs, "log_loss") == "a"
    assert best_of(runs, "auc", lowest=True) == "a"
    with pytest.raises(MissingError) as caught:
        best_of(runs, "logloss")
    assert str(caught.value) == "nothing has the metric 'logloss'; did you mean 'log_loss'?"


def test_undefined_metrics_are_left_out() -> None:
    assert a_run("a", roc_auc=None, f1=0.5).metrics == {"f1": 0.5}


def test_nested_parameters_are_flat_for_comparing() -> None:
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}
