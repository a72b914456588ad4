"""What is said of past runs: what came of each, what differs, which was best."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from kfp_suite.cli.open import open_
from kfp_suite.cli.run_summary import print_summary, summary_json
from kfp_suite.cli.runs import runs
from kfp_suite.contracts.errors import InputError, MissingError
from kfp_suite.contracts.run_record import RunRecord
from kfp_suite.local.conclusion import conclude
from kfp_suite.local.history import PastRun, Step, write_run

EVALUATION: dict[str, Any] = {
    "blessed": True,
    "reasons": ["no threshold is set"],
    "label": "species",
    "metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}},
    "primary_metric": "accuracy",
    "dataset_digest": "sha256:1",
    "split": "test",
}
VERSION = {"model": "penguins", "version": 1, "uri": "models/penguins/1", "store": "models"}


def past(pipeline: str = "train_and_deploy", status: str = "SUCCEEDED", **record: Any) -> PastRun:
    parameters = {"model_name": "penguins", "estimator": "ridge", "features": {"features": []}}
    return PastRun(RunRecord("run", "1", pipeline, status, **record), parameters)


def kept(root: Path, *found: PastRun) -> list[str]:
    names = []
    for i, run in enumerate(found):
        name = f"{run.record.pipeline.replace('_', '-')}-2026-01-02-03-04-05-00000{i}"
        (root / name).mkdir(parents=True)
        write_run(root / name, replace(run, record=replace(run.record, run=name)))
        names.append(name)
    return names


def asked(*arguments: str, root: Path) -> Result:
    return CliRunner().invoke(runs, [*arguments, "--root", str(root)])


@pytest.mark.parametrize(
    ("run", "outcome", "refused"),
    [
        (past(evaluation=EVALUATION, version=VERSION), "published", False),
        (
            replace(past(evaluation=EVALUATION, version=VERSION), endpoint={"url": "x"}),
            "served",
            False,
        ),
        (past(validation={"valid": False, "reasons": ["age: missing"]}), "invalid data", True),
        (past(evaluation={"blessed": False, "reasons": ["worse"]}), "not blessed", True),
        (
            past(evaluation=EVALUATION, infra_validation={"blessed": False, "reasons": ["slow"]}),
            "not servable",
            True,
        ),
        (
            past("retrain", changes={"changed": False, "reasons": ["the same"]}),
            "nothing new",
            False,
        ),
        (
            past("progressive_delivery", endpoint={"promoted": True, "why": "good"}),
            "promoted",
            False,
        ),
        (
            past(
                "progressive_delivery",
                endpoint={"promoted": True, "measured": False, "why": "first"},
            ),
            "promoted",
            False,
        ),
        (
            past("progressive_delivery", endpoint={"promoted": False, "why": "errors"}),
            "not promoted",
            True,
        ),
        (past(status="FAILED"), "failed", False),
        (past(status="CANCELLED"), "interrupted", False),
    ],
)
def test_what_came_of_a_run(run: PastRun, outcome: str, refused: bool, tmp_path: Path) -> None:
    (name,) = kept(tmp_path, run)
    found = conclude(run, tmp_path / name)
    assert (found.outcome, found.refused) == (outcome, refused)
    steered = ("published", "nothing new", "interrupted")
    assert bool(found.next_steps) == (refused or outcome in steered)
    listed = asked("list", root=tmp_path).output
    assert f" {outcome} " in listed
    if found.reasons:
        assert found.reasons[0] in listed
    assert asked("show", "latest", root=tmp_path).output.startswith(name)


VALIDATION: dict[str, Any] = {
    "valid": True,
    "anomalies": [{"severity": "warning"}],
    "hints": [
        {"column": "id", "kind": "identifier", "text": "Another in each row.", "fix": "drop it"},
        {"column": "when", "kind": "dates_as_text", "text": "Look like dates.", "fix": "cast"},
    ],
}


def test_what_the_steps_noticed_is_said_of_a_good_run(tmp_path: Path) -> None:
    warned = {**EVALUATION, "warnings": ["Nothing was asked of the model: set thresholds."]}
    run = replace(
        past(validation=VALIDATION, evaluation=warned),
        steps=(Step("validate-tfdv", "succeeded", 1.0),),
    )
    (name,) = kept(tmp_path, run)
    opening = f"kfp-suite open {name} validate-tfdv --root {tmp_path}"
    assert conclude(run, tmp_path / name).remarks == (
        f"1 warning and 2 hints about the data, in the report of validate-tfdv: {opening}",
        "Nothing was asked of the model: set thresholds.",
    )
    shown = " ".join(asked("show", root=tmp_path).output.split())
    assert "to look at: Nothing was asked of the model" in shown
    assert "id: identifier" in shown
    assert "Look like dates. cast" in shown
    screen = StringIO()
    print_summary(run, tmp_path / name, (), False, Console(file=screen, width=40))
    assert "to look at:\n  - 1 warning and 2 hints about the data" in screen.getvalue()
    assert len(summary_json(run, tmp_path / name, None)["remarks"]) == 2


def test_nothing_is_remarked_of_good_data(tmp_path: Path) -> None:
    clean = {"valid": True, "anomalies": [], "hints": []}
    assert conclude(past(validation=clean, evaluation=EVALUATION), tmp_path).remarks == ()


def test_commands_that_are_suggested_quote_a_path_with_a_space(tmp_path: Path) -> None:
    version = {**VERSION, "uri": "/my models/penguins/1"}
    kept(tmp_path, past(evaluation=EVALUATION, version=version))
    output = asked("best", "--metric", "accuracy", root=tmp_path).output
    assert "kfp-suite reproduce '/my models/penguins/1'\n" in output
    assert "kfp-suite run tune --from '/my models/penguins/1'\n" in output


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    run = past(status="CANCELLED")
    (name,) = kept(tmp_path / "a b", run)
    assert conclude(run, tmp_path / "a b" / name).next_steps == {
        "go on from what is cached": f"kfp-suite run train_and_deploy --params "
        f"'{tmp_path}/a b/{name}/parameters.json' --root '{tmp_path}/a b'"
    }


def test_a_refusal_says_what_could_be_changed(tmp_path: Path) -> None:
    failed = {"metric": "accuracy", "passed": False}
    duel = {"passed": False, "min_improvement": 0.0}
    run = past(
        evaluation={
            **EVALUATION,
            "blessed": False,
            "thresholds": [failed],
            "champion": {"compared": True, "comparison": duel},
        }
    )
    found = conclude(run, tmp_path / "p-1").next_steps
    assert found == {
        "see how it was measured": f"kfp-suite open p-1 evaluate --root {tmp_path}",
        "ask for less": "change `thresholds.accuracy`",
        "allow it to be worse than the champion": "--param comparison.max_regression=AMOUNT",
    }


def test_a_run_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    kept(tmp_path, past(), past("retrain"))
    shown = asked("show", "retrain", "--json", root=tmp_path)
    assert json.loads(shown.output)["name"].startswith("retrain-2026")


def test_compare_says_by_how_much_numbers_differ(tmp_path: Path) -> None:
    one = past(evaluation=EVALUATION)
    metrics = {"accuracy": {"value": 0.75}}
    other = {**EVALUATION, "metrics": metrics, "dataset_digest": "sha256:2"}
    features = {"features": [{"column": "sex", "op": "one_hot"}]}
    two = replace(
        past("retrain", evaluation=other), parameters={**one.parameters, "features": features}
    )
    names = kept(tmp_path, one, two)
    output = asked("compare", "train", "retrain", root=tmp_path).output
    assert output.startswith(f"first:  {names[0]}\nsecond: {names[1]}\n")
    words = [line.split() for line in output.splitlines()]
    assert ["accuracy", "0.5", "0.75", "+0.25"] in words
    assert ["features.features.0.op", "-", "one_hot"] in words
    assert "measured on other test rows" in output
    same = json.loads(asked("compare", "train", "retrain", "--json", root=tmp_path).output)
    assert same["metrics"] == {"accuracy": [0.5, 0.75]}
    assert same["same_rows"] is False


def test_best_does_not_mix_models(tmp_path: Path) -> None:
    wine = past(evaluation={**EVALUATION, "metrics": {"accuracy": {"value": 1.0}}})
    wine = replace(wine, parameters={"model_name": "wine"})
    names = kept(tmp_path, past(evaluation=EVALUATION), wine)
    mixed = asked("best", "--metric", "accuracy", root=tmp_path)
    assert str(mixed.exception) == (
        f"{tmp_path}: the runs are of several models; got penguins, wine; choose one with --model"
    )
    best = asked("best", "--metric", "accuracy", "--model", "penguins", root=tmp_path)
    assert best.output.startswith(f"{names[0]}  accuracy 0.5\n")
    assert "other test rows" not in best.output


def test_best_says_that_test_rows_differ(tmp_path: Path) -> None:
    kept(
        tmp_path,
        past(evaluation=EVALUATION),
        past(evaluation={**EVALUATION, "dataset_digest": "sha256:2"}),
    )
    best = asked("best", "--metric", "accuracy", root=tmp_path)
    assert "1 of 2 runs: measured on other test rows" in best.output


def test_open_prints_a_page(tmp_path: Path) -> None:
    (name,) = kept(tmp_path, past())
    (tmp_path / name / "evaluate").mkdir()
    (tmp_path / name / "evaluate" / "evaluation_report").write_text(
        "<!doctype html>\n<p>page</p>\n"
    )
    for words, page in ((["latest"], "index.html"), (["train", "evaluate"], "evaluate.html")):
        shown = CliRunner().invoke(open_, [*words, "--root", str(tmp_path)])
        assert shown.output == f"{tmp_path / name / 'reports' / page}\n"
    wrong = CliRunner().invoke(open_, ["latest", "evalaute", "--root", str(tmp_path)])
    assert "no report of 'evalaute'; did you mean 'evaluate'?" in str(wrong.exception)


def test_a_folder_that_is_not_there_has_not_no_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was mistyped; that of local runs need not be there yet."""
    missing, empty = tmp_path / "nowhere", tmp_path / "empty"
    empty.mkdir()
    commands = (
        ("list",),
        ("list", "--json"),
        ("show",),
        ("compare", "a", "b"),
        ("best", "--metric", "rmse"),
        ("trials",),
    )
    for words in commands * 2:
        refused = asked(*words, root=missing).exception
        assert isinstance(refused, MissingError)
        assert str(refused) == f"{missing}: no such folder; give the folder of runs"
        if words[0] != "list":
            refused = asked(*words, root=empty).exception
            assert isinstance(refused, MissingError)
            assert str(refused).startswith(f"{empty}: no run")
    opened = CliRunner().invoke(open_, ["--root", str(missing)])
    assert isinstance(opened.exception, MissingError)
    assert asked("list", root=empty).output == f"no runs in {empty}\n"
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(runs, ["list"]).output == "no runs in kfp-suite-runs\n"
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    """One of another version of the suite, or a file that is not ours."""
    (name,) = kept(tmp_path, past(evaluation=EVALUATION, version=VERSION))
    for folder, content in (("newer", '{"format_version": 99}'), ("notes", "not JSON")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text(content)
    for _ in range(2):
        printed = json.loads(asked("list", "--json", root=tmp_path).output)
        listed = {one["name"]: one for one in printed}
        assert {key: one["outcome"] for key, one in listed.items()} == {
            name: "published", "newer": "unreadable", "notes": "unreadable"
        }  # fmt: skip
        assert "unknown format of run.json" in listed["newer"]["error"]
        rows = asked("list", root=tmp_path).output.splitlines()
        assert [row.split()[:2] for row in rows[1:]].count(["notes", "unreadable"]) == 1
        assert len(rows) == 4
        best = asked("best", "--metric", "accuracy", root=tmp_path)
        assert best.stdout.startswith(f"{name}  accuracy 0.5")
        assert [line.partition(":")[0] for line in best.stderr.splitlines()] == [
            "newer is left out", "notes is left out"
        ]  # fmt: skip
        assert asked("show", name[:20], root=tmp_path).exit_code == 0
        refused = asked("show", "notes", root=tmp_path).exception
        assert isinstance(refused, InputError)


@pytest.mark.parametrize(("promoted", "version"), [(True, 2), (False, 1)])
def test_a_rollout_ends_with_the_version_that_serves(
    promoted: bool, version: int, tmp_path: Path
) -> None:
    endpoint = {"model": "penguins", "version": version, "promoted": promoted, "why": "judged"}
    run = past("progressive_delivery", endpoint=endpoint)
    found = summary_json(run, tmp_path, None)
    assert (found["model"], found["version"], found["versions"]) == ("penguins", version, [])
    shown = StringIO()
    print_summary(run, tmp_path, [], failed=False, console=Console(file=shown, width=100))
    assert f"endpoint  penguins version {version}\n" in shown.getvalue()
