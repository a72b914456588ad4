"""The outputs and reports of a run, of which some steps were cached."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.outputs import Outputs, gone_outputs
from kfp_suite.local.reports import collect_reports

PAGE = "<!doctype html>\n<p>rows</p>\n"
CARD = "# Predicts a&#124;b\n\n- <b>binary</b>\n\n| field | type |\n|---|---|\n| x | int |\n"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and one whose ingest and train were cached, one of them in a loop."""
    first, second = tmp_path / "p-1", tmp_path / "p-2"
    for step, artifact, text in (
        ("ingest", "data_preview", PAGE),
        ("train", "model_card", CARD),
        ("for-loop-1-iteration-0/train", "model_card", CARD),
    ):
        (first / step).mkdir(parents=True)
        (first / step / artifact).write_text(text)
        (second / step).mkdir(parents=True)
        up = "/".join([".."] * (2 + step.count("/")))
        (second / step / artifact).symlink_to(f"{up}/p-1/{step}/{artifact}")
    (second / "evaluate").mkdir()
    (second / "evaluate" / "evaluation_report").write_text(PAGE)
    (second / "evaluate" / "executor_output.json").write_text("{}")
    return first, second


def test_what_was_cached_is_among_the_outputs(runs: tuple[Path, Path]) -> None:
    _, second = runs
    outputs = Outputs(second)
    assert sorted(outputs) == [
        "evaluate.evaluation_report",
        "for-loop-1-iteration-0.train.model_card",
        "ingest.data_preview",
        "train.model_card",
    ]
    assert outputs["train.model_card"].read_text() == CARD
    with pytest.raises(
        MissingError, match=r"no output 'train\.model_crad'; did you mean 'train\.model_card'"
    ):
        outputs["train.model_crad"]


def test_reports_are_pages_with_an_index(runs: tuple[Path, Path]) -> None:
    _, second = runs
    reports = collect_reports(second)
    assert list(reports) == ["evaluate", "for-loop-1-iteration-0.train", "ingest", "train"]
    assert reports["ingest"].read_text() == PAGE
    card = reports["train"].read_text()
    assert "<title>Predicts a|b</title>" in card
    assert "<td>x</td>" in card
    assert "&lt;b&gt;binary&lt;/b&gt;" in card
    index = (second / "reports" / "index.html").read_text()
    assert 'href="ingest.html"' in index
    assert list(collect_reports(second)) == list(reports)


def test_what_was_removed_with_its_run_is_said(runs: tuple[Path, Path]) -> None:
    first, second = runs
    shutil.rmtree(first)
    assert sorted(Outputs(second)) == ["evaluate.evaluation_report"]
    assert set(gone_outputs(second)) == {
        "for-loop-1-iteration-0.train.model_card",
        "ingest.data_preview",
        "train.model_card",
    }
    with pytest.raises(
        MissingError,
        match=r"the output 'train\.model_card' was removed with the run that made it.*p-1",
    ):
        Outputs(second)["train.model_card"]


def test_pages_outlive_the_run_that_made_them(runs: tuple[Path, Path]) -> None:
    first, second = runs
    before = collect_reports(second)
    shutil.rmtree(first)
    assert collect_reports(second) == before
