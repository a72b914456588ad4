"""A search, from raw data to an endpoint, as a user runs it; and the questions after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.local.command import kfp_suite


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def answer(*arguments: str) -> Any:
    done = kfp_suite(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def searched(root: Path) -> dict[str, Any]:
    parameters = ["trials=9", "shards=2", "folds=3", "search=random"]
    found: dict[str, Any] = answer(
        "run",
        "tune",
        *("--params", "penguins", "--root", str(root)),
        *(word for given in parameters for word in ("--param", given)),
        # The file's own, which a search does not take, would be refused.
    )
    return found


@pytest.mark.serving
def test_the_best_of_a_search_becomes_a_live_version(searched: dict[str, Any], root: Path) -> None:
    assert searched["version"] == 1
    assert searched["endpoint"]["answer"]["model_version"] == "1"
    assert "best-trial" in searched["reports"]
    trials = answer("runs", "trials", "--root", str(root))
    assert {trial["name"].partition("-")[0] for trial in trials} == {"0", "1"}
    assert len(trials) == 9
    manifest = answer("models", "show", searched["uri"])
    assert manifest["recipe"]["train"]["hyperparameters"] == trials[0]["hyperparameters"]


def test_which_was_best_make_it_again_search_around_it(
    searched: dict[str, Any], root: Path
) -> None:
    best = answer("models", "best", searched["uri"].rpartition("/")[0], "--metric", "accuracy")
    assert best["uri"] == searched["uri"]
    by_run = answer("runs", "best", "--metric", "accuracy", "--root", str(root))
    assert by_run["record"]["version"]["uri"] == best["uri"]

    assert kfp_suite("reproduce", best["uri"]).returncode == 0

    wider = answer(
        *("run", "tune", "--from", best["uri"], "--root", str(root), "--no-serve"),
        *("--param", "trials=2"),
    )
    assert wider["status"] == "SUCCEEDED"
    assert wider["dataset_digest"] == searched["dataset_digest"]
    (study,) = Path(wider["folder"]).glob("plan-trials/plan/plan.json")
    space = json.loads(study.read_text())[0]["search_space"]["hist_gradient_boosting"]
    before = answer("models", "show", best["uri"])["recipe"]["train"]["hyperparameters"]
    assert space["learning_rate"]["low"] == pytest.approx(before["learning_rate"] / 4)


def test_search_around_a_version_on_more_data(
    searched: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    before = answer("models", "show", searched["uri"])["recipe"]
    (rows,) = Path(root / "data").rglob("penguins.csv")
    more = tmp_path / "more.csv"
    more.write_text(rows.read_text() + "Adelie,Dream,39.5,17.4,186,3800,female,2010\n" * 40)
    wider = answer(
        *("run", "tune", "--from", searched["uri"], "--root", str(root), "--no-serve"),
        *("--param", f"sources.penguins.uri={more}", "--param", "trials=3"),
    )
    assert wider["status"] == "SUCCEEDED"
    assert wider["dataset_digest"] != searched["dataset_digest"]
    counted = json.loads((Path(wider["folder"]) / "ingest/dataset/dataset.json").read_text())
    assert sum(split["rows"] for split in counted["splits"].values()) == 344 + 40
    # The rest is the version's: how the source is read and split, and what is searched around.
    assert counted["sources"]["penguins"]["options"]["null_values"] == ["NA"]
    assert counted["parameters"]["split"] == before["ingest"]["split"]
    (plan,) = Path(wider["folder"]).glob("plan-trials/plan/plan.json")
    space = json.loads(plan.read_text())[0]["search_space"]["hist_gradient_boosting"]
    rate = before["train"]["hyperparameters"]["learning_rate"]
    assert space["learning_rate"]["high"] == pytest.approx(rate * 4)


def test_the_same_again_from_a_version(searched: dict[str, Any], root: Path) -> None:
    again = answer(
        *("run", "train_and_deploy", "--from", searched["uri"], "--root", str(root), "--no-serve")
    )
    assert (again["version"], again["digest"]) == (1, searched["digest"])
