"""What a shell completes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from kfp_suite.cli.main import cli


def completed(*words: str) -> list[str]:
    *before, incomplete = words
    shell = BashComplete(cli, {}, "kfp-suite", "_KFP_SUITE_COMPLETE")
    return [item.value for item in shell.get_completions(before, incomplete)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run was made and a model published."""
    for name in ("train-and-deploy-1", "retrain-2"):
        run = tmp_path / "kfp-suite-runs" / name
        run.mkdir(parents=True)
        (run / "run.json").write_text('{"started_at": "2026-01-02T03:04:05+00:00"}')
    (tmp_path / "kfp-suite-runs" / "models" / "penguins").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("op",), ["open"]),
        (("run", "ret"), ["retrain"]),
        (("run", "train-and-deploy-t"), ["train_and_deploy_tensorflow", "train_and_deploy_tfx"]),
        (("run", "tune", "--params", "fl"), ["flights", "flights_tensorflow", "fl"]),
        (("check", "retr"), ["retrain"]),
        (("check", "tune", "--params", "flights_"), ["flights_tensorflow", "flights_"]),
        (("submit", "tune", "--params", "flights_"), ["flights_tensorflow", "flights_"]),
        (("schedule", "add", "tune", "--params", "flights_"), ["flights_tensorflow", "flights_"]),
        (("runs", "show", "ret"), ["retrain-2"]),
        (("open", "la"), ["latest"]),
        (
            ("models", "show", "kfp-suite-runs/models/p"),
            ["kfp-suite-runs/models/penguins", "kfp-suite-runs/models/p"],
        ),
    ],
)
def test_names_are_completed(words: tuple[str, ...], found: list[str], folder: Path) -> None:
    assert completed(*words) == found
