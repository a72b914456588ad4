"""The whole pipeline, as a user runs it: the command, its JSON, its exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.local.command import kfp_suite

REPORTS = ["evaluate", "infra-validate", "ingest", "train", "transform", "validate"]
DIGESTS = ("digest", "dataset_digest", "manifest_digest")


def run(root: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = kfp_suite(
        "run", "train_and_deploy", "--params", "penguins", "--root", str(root), "--json", *arguments
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(root: Path) -> dict[str, Any]:
    code, answer = run(root)
    assert code == 0, answer
    return answer


def test_raw_data_become_a_live_version(first: dict[str, Any]) -> None:
    assert first["status"] == "SUCCEEDED"
    assert first["blessed"] is True
    assert (first["model"], first["version"]) == ("penguin-species", 1)
    answer = first["endpoint"]["answer"]
    assert answer["model_version"] == "1"
    assert set(answer["predictions"]) <= {"Adelie", "Chinstrap", "Gentoo"}
    assert first["metrics"]["accuracy"] > 0.9
    assert list(first["steps"]) == [
        "resolve",
        "ingest",
        "validate",
        "transform",
        "train",
        "evaluate",
        "infra-validate",
        "push",
        "deploy",
        "record",
    ]


def test_only_an_endpoint_that_answered_is_champion(root: Path, first: dict[str, Any]) -> None:
    models = ModelStore(FolderStore(root / "models"))
    assert models.aliases("penguin-species") == {"challenger": 1, "champion": 1}


def test_every_report_is_a_whole_page(first: dict[str, Any]) -> None:
    assert list(first["reports"]) == REPORTS
    for name, path in first["reports"].items():
        assert path.endswith(f"/reports/{name}.html")
        page = Path(path).read_text()
        assert page.startswith("<!doctype html>"), name
        assert "</html>" in page
        assert "<script src" not in page


def test_a_second_run_is_cached_and_the_same_version(root: Path, first: dict[str, Any]) -> None:
    code, second = run(root)
    assert code == 0
    states = {name: step["state"] for name, step in second["steps"].items()}
    assert {name for name, state in states.items() if state == "cached"} == {
        "ingest",
        "transform",
        "train",
    }
    assert {key: second[key] for key in DIGESTS} == {key: first[key] for key in DIGESTS}
    assert second["version"] == 1
    assert list(second["reports"]) == REPORTS
    assert second["outputs"].keys() == first["outputs"].keys()
    for name in (
        "ingest.dataset",
        "ingest.data_preview",
        "transform.transform",
        "train.model_card",
    ):
        made, used = Path(first["outputs"][name]), Path(second["outputs"][name])
        assert made != used
        assert used.resolve() == made.resolve()


def test_without_the_cache_the_digests_are_the_same(first: dict[str, Any], tmp_path: Path) -> None:
    code, other = run(tmp_path / "elsewhere", "--no-cache", "--no-serve")
    assert code == 0
    assert (other["digest"], other["dataset_digest"]) == (first["digest"], first["dataset_digest"])


def test_reproduce_says_identical(root: Path, first: dict[str, Any]) -> None:
    done = kfp_suite("reproduce", f"{root}/models/penguin-species/1")
    assert (done.returncode, done.stdout) == (
        0,
        f"identical: penguin-species version 1, {first['digest']}\n",
    )


def test_reproduce_names_the_data_that_changed(
    root: Path, first: dict[str, Any], tmp_path: Path
) -> None:
    staged = next((root / "data").rglob("penguins.csv"))
    changed = tmp_path / "penguins.csv"
    changed.write_text(staged.read_text().replace(",39.1,", ",39.2,", 1))
    done = kfp_suite(
        "reproduce", f"{root}/models/penguin-species/1", "--source", f"penguins={changed}"
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0] == "different: penguin-species version 1"
    assert lines[1].startswith("  data penguins: was sha256:")
    assert [line.split()[0] for line in lines[2:]] == [
        "dataset",
        "transform",
        "file",
        "file",
        "model",
    ]


def test_models_verify_finds_a_changed_byte(
    root: Path, first: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(root / "models", tmp_path / "models")
    reference = f"{tmp_path}/models/{first['model']}/1"
    assert kfp_suite("models", "verify", reference).returncode == 0
    card = next(Path(reference).glob("model-*/MODEL_CARD.md"))
    card.write_text(card.read_text() + " ")
    done = kfp_suite("models", "verify", reference)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: {card}: the bytes do not match the manifest; got sha256:"
    )


def test_a_model_that_is_not_blessed_is_a_result(tmp_path: Path) -> None:
    code, answer = run(tmp_path, "--param", "thresholds.accuracy.min=1.01", "--require-blessed")
    assert code == 1
    assert (answer["status"], answer["blessed"], answer["version"]) == ("SUCCEEDED", False, None)
    assert answer["reasons"][0].startswith("accuracy ")


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("sql=SELECT spices FROM penguins", "ingest: sql: "),
        ("label=spieces", "validate: label: the label 'spieces' is not a column"),
        ("estimator=random_forrest", "unknown estimator 'random_forrest'; did you mean"),
        ("features.features=[{column: sex, op: on_hot}]", "did you mean 'one_hot'?"),
        ("split.by=luck", "split.by: unknown rule 'luck'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    parameter: str, message: str, tmp_path: Path
) -> None:
    done = kfp_suite(
        "run", "train_and_deploy", "--params", "penguins", "--root", str(tmp_path), "--json",
        "--param", parameter,
    )  # fmt: skip
    error = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists()


def test_a_bad_model_name_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = kfp_suite(
        "run", "train_and_deploy", "--params", "penguins", "--root", str(tmp_path), "--json",
        "--param", "model_name=../up",
    )  # fmt: skip
    assert done.returncode == 2
    assert "not a model name; got ../up; expected lower-case letters" in done.stderr
