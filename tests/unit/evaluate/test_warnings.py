"""What a reader of a verdict is told beside it, and what a verdict cannot rest on."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfp_suite.components.evaluate.bootstrap import Resampling, measure
from kfp_suite.components.evaluate.executor import EvaluateParameters, evaluate
from kfp_suite.components.evaluate.metrics import BinaryScores
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import read_model, write_model_manifest
from tests.unit.evaluate.cases import CLASSES, Case, load, rows_of, write_dataset, write_model

Make = Callable[..., Case]


def run(case: Case, **parameters: Any) -> Any:
    given = EvaluateParameters(**({"resamples": 40} | parameters))
    return evaluate(given, case.dataset, case.model, case.evaluation, case.report, load=load)


def warned(case: Case) -> str:
    """Every warning, which the page has too."""
    found = case.outcome()["warnings"]
    page = case.report.read_text()
    for warning in found:
        assert warning.split(":")[0].split("'")[0] in page
    return " ".join(found)


def test_a_share_without_errors_has_an_exact_interval() -> None:
    actual = np.arange(34) % 2 == 0
    scores = BinaryScores(actual, actual, actual * 0.8 + 0.1)
    (found,) = measure([scores], Resampling(100), "all")
    accuracy = found.estimates["accuracy"]
    assert accuracy.low == pytest.approx(0.897, abs=5e-4)
    assert accuracy.high == 1.0
    # Of 17 rows of either class the area is known less well.
    assert found.estimates["roc_auc"].low == pytest.approx(0.025 ** (1 / 17))
    wrong = BinaryScores(actual, ~actual, actual * 0.8 + 0.1)
    (found,) = measure([wrong], Resampling(100), "all")
    assert found.estimates["accuracy"].high == pytest.approx(1 - 0.897, abs=5e-4)


def test_an_interval_decides_on_few_rows_without_errors(tmp_path: Path) -> None:
    signal = np.array([-3.0, 3.0] * 4)
    table = pa.table({"signal": signal, "label": (signal > 0).astype(np.int64)})
    made = Case(
        write_dataset(tmp_path / "dataset", {"test": table}),
        write_model(tmp_path / "model", "binary", (0, 1)),
        tmp_path,
    )
    limit = {"accuracy": {"min": 0.9, "decide_by": "interval"}}
    assert not run(made, thresholds=limit).blessed
    assert "Only 8 rows were scored" in warned(made)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_model_that_learned_nothing_is_told_by_its_baseline(case: Make, task: str) -> None:
    made = case(task, weight=-1.0)
    run(made)
    assert "The model is no better than predicting" in warned(made)
    assert "The model was not checked against anything" in warned(made)
    baseline = made.outcome()["baseline"]
    primary = {"binary": "roc_auc", "multiclass": "f1_macro", "regression": "rmse"}[task]
    assert primary in baseline["metrics"]
    assert f"Baseline: {baseline['predicts']}" in made.report.read_text()


def test_the_baseline_is_what_train_says(tmp_path: Path) -> None:
    splits = {"train": rows_of("binary", 400, 1), "test": rows_of("binary", 400)}
    made = Case(
        write_dataset(tmp_path / "dataset", splits),
        write_model(tmp_path / "model", "binary", (0, 1)),
        tmp_path,
    )
    run(made, thresholds={"roc_auc": {"min": 0.7}})
    found = made.outcome()["baseline"]
    labels = splits["test"]["label"].to_numpy()
    assert found["predicts"] == "always 0"
    assert found["metrics"]["accuracy"] == pytest.approx((labels == 0).mean())
    assert found["metrics"]["roc_auc"] == 0.5
    share = splits["train"]["label"].to_numpy().mean()
    assert found["metrics"]["brier"] == pytest.approx(np.mean((share - labels) ** 2))
    assert made.outcome()["warnings"] == []


@pytest.mark.parametrize(
    ("task", "copied", "weight"), [("binary", "the_label", 9.0), ("regression", "centimetres", 1.0)]
)
def test_a_feature_that_is_the_label_is_named(
    task: str, copied: str, weight: float, tmp_path: Path
) -> None:
    rows = rows_of(task, 400)
    label = rows["label"].to_numpy()
    told = 100 * label - 7 if task == "regression" else np.array(["no", "yes"])[label]
    signal = label if task == "regression" else label * 2.0 - 1
    rows = rows.set_column(0, "signal", pa.array(signal)).append_column(copied, pa.array(told))
    made = Case(
        write_dataset(tmp_path / "dataset", {"test": rows}),
        write_model(
            tmp_path / "model", task, CLASSES[task], weight=weight, inputs=("signal", copied)
        ),
        tmp_path,
    )
    run(made)
    assert f"Of 'signal', '{copied}' the label follows by itself" in warned(made)


def test_a_label_of_two_numbers_is_told(tmp_path: Path) -> None:
    signal = np.linspace(-2, 2, 200)
    table = pa.table({"signal": signal, "label": (signal > 0).astype(np.float64)})
    made = Case(
        write_dataset(tmp_path / "dataset", {"test": table}),
        write_model(tmp_path / "model", "regression", weight=0.2, shift=0.5),
        tmp_path,
    )
    run(made)
    assert "The label has two values and was trained as a number" in warned(made)


def test_slices_that_are_too_small_for_their_limits_refuse(case: Make) -> None:
    made = case("binary")
    limits = {"accuracy": {"slices": {"min": 0.1}}}
    found = run(made, slices=["origin"], thresholds=limits, min_slice_rows=500)
    assert not found.blessed
    assert found.reasons == [
        "no slice could be checked: 4 with fewer than 500 rows left out; give coarser slices or "
        "more rows to evaluate on, lower min_slice_rows, or take the limits of slices out of "
        "thresholds"
    ]
    found = run(made, slices=["origin"], thresholds=limits)
    assert found.blessed
    assert found.reasons == [
        "every slice is within its limits (3 checked; 1 with fewer than 100 rows left out)"
    ]
    with pytest.raises(ParameterError, match="limits of slices, and no slices"):
        run(made, thresholds=limits)


def test_the_page_names_what_was_trained_and_how(case: Make) -> None:
    made = case("binary")
    manifest = read_model(made.model).manifest
    train = {"estimator": "logistic_regression", "hyperparameters": {"max_depth": 7.0}}
    recipe = replace(manifest.recipe, train=train, module_digest="sha256:ab")
    notes = {"returned": "VotingClassifier"}
    write_model_manifest(made.model, replace(manifest, recipe=recipe, notes=notes))
    run(made, slices=["origin"])
    page = html.unescape(made.report.read_text()).replace("<wbr>", "")
    assert "VotingClassifier, of the user's module" in page
    assert "logistic_regression" not in page
    assert made.outcome()["model"]["estimator"] == "VotingClassifier, of the user's module"
    assert asdict(recipe)["train"] == train
    hyperparameters = page[page.index("Hyperparameters") :]
    assert "max_depth" in hyperparameters
    assert ">7<" in hyperparameters
    found = {
        one["slice"]: one["metrics"]["roc_auc"]["value"]
        for one in made.outcome()["slices"]
        if one["metrics"]
    }
    table = page[page.rindex("Slices") :]
    order = sorted(found, key=table.rindex)
    assert [found[name] for name in order] == sorted(found.values())
