"""From artifacts to a verdict, `evaluation.json` and a report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from kfp_suite.components.evaluate.executor import EvaluateParameters, Evaluation, evaluate
from kfp_suite.contracts.errors import (
    ContractError,
    DataError,
    InputError,
    KfpSuiteError,
    MissingError,
    ParameterError,
    TransientError,
)
from kfp_suite.stores.champions import ChampionReference
from tests.unit.evaluate.cases import CLASSES, Case, load, rows_of, write_dataset, write_model

CHAMPION = json.dumps({"uri": "/store/late/3", "version": 3, "manifest_digest": ""})


def run(case: Case, against: Path | None = None, **parameters: Any) -> Evaluation:
    if against is not None:
        parameters["champion"] = CHAMPION

    def fetch(reference: ChampionReference, folder: Path) -> Path:
        assert reference == ChampionReference("/store/late/3", 3)
        assert against is not None
        shutil.copytree(against, folder)
        return folder

    return evaluate(
        EvaluateParameters(**({"resamples": 40} | parameters)),
        case.dataset,
        case.model,
        case.evaluation,
        case.report,
        load=load,
        fetch=fetch,
    )


Make = Callable[..., Case]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_model_is_measured_and_shown(case: Make, task: str) -> None:
    made = case(task)
    found = run(made, slices=["origin", "distance", ["origin", "weekend"]])
    outcome = made.outcome()
    assert found.blessed and outcome["blessed"]
    assert outcome["reasons"] == ["no threshold is set and there is no champion"]
    assert (outcome["task"], outcome["split"], outcome["rows"]) == (task, "test", 600)
    assert outcome["model"]["estimator"] == "formula"
    assert outcome["champion"] is None
    for name, estimate in outcome["metrics"].items():
        assert estimate["low"] <= estimate["value"] <= estimate["high"], name
        assert found.metrics[name] == estimate["value"]
    measured = [s for s in outcome["slices"] if s["metrics"] is not None]
    assert all(s["rows"] >= 100 for s in measured)
    assert sum(s["rows"] for s in outcome["slices"] if s["columns"] == ["origin"]) == 600
    page = made.report.read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "origin = JFK" in page


def test_the_same_inputs_give_the_same_bytes(case: Make) -> None:
    made = case("binary")
    asked: dict[str, Any] = {"slices": ["origin"], "thresholds": {"roc_auc": {"min": 0.7}}}
    run(made, **asked)
    first = (made.evaluation / "evaluation.json").read_bytes(), made.report.read_bytes()
    run(made, **asked)
    assert first == ((made.evaluation / "evaluation.json").read_bytes(), made.report.read_bytes())
    run(made, seed=1, **asked)
    assert first[0] != (made.evaluation / "evaluation.json").read_bytes()


def test_thresholds_decide_over_all_rows_and_by_slice(case: Make) -> None:
    made = case("binary")
    assert run(made, thresholds={"roc_auc": {"min": 0.7}}).blessed
    found = run(made, thresholds={"roc_auc": {"min": 0.99}, "log_loss": {"max": 5.0}})
    assert not found.blessed
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith("roc_auc 0.8")
    assert found.reasons[0].endswith("is below 0.99")
    found = run(made, slices=["origin"], thresholds={"roc_auc": {"slices": {"min": 0.99}}})
    assert [r.split(":")[0] for r in found.reasons] == [
        "origin = EWR",
        "origin = JFK",
        "origin = LGA",
    ]
    assert [t["passed"] for t in made.outcome()["thresholds"]] == [False, False, False]


def test_kfp_gets_a_finite_roc_curve_and_the_confusion_matrix(case: Make) -> None:
    made = case("binary", rows=5000, shift=-1.0)
    found = run(made)
    assert found.roc is not None and found.confusion is not None
    assert len(found.roc.x) <= 200
    assert np.isfinite(found.roc.thresholds).all()
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert (np.diff(found.roc.x) >= 0).all() and (np.diff(found.roc.thresholds) < 0).all()
    rows = rows_of("binary", 5000)
    label, signal = rows["label"].to_numpy(), rows["signal"].to_numpy()
    assert np.trapezoid(found.roc.y, found.roc.x) == pytest.approx(
        roc_auc_score(label, signal), abs=0.002
    )
    x, y, _ = roc_curve(label, signal)
    assert np.interp(found.roc.x, x, y) == pytest.approx(found.roc.y, abs=0.02)
    predicted = 1 / (1 + np.exp(1.0 - signal)) >= 0.5
    assert found.confusion.categories == ["0", "1"]
    assert found.confusion.matrix[1][1] == int((predicted & (label == 1)).sum())


def test_regression_has_neither_curve_nor_confusion(case: Make) -> None:
    made = case("regression")
    found = run(made)
    assert found.roc is None and found.confusion is None
    quantiles = made.outcome()["residual_quantiles"]
    assert list(quantiles) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    assert list(quantiles.values()) == sorted(quantiles.values())


def test_a_better_champion_keeps_its_place(case: Make, tmp_path: Path) -> None:
    made = case("regression", weight=0.2)
    better = write_model(tmp_path / "champion", "regression")
    found = run(made, better)
    assert not found.blessed
    assert found.reasons[0].startswith("rmse 1.")
    assert "of the champion (version 3): worse by 0." in found.reasons[0]
    assert found.reasons[0].endswith("is seen; to allow it, set comparison.max_regression")
    champion = made.outcome()["champion"]
    assert champion["compared"] and not champion["same"]
    assert champion["comparison"]["difference"]["high"] < 0
    assert champion["metrics"]["rmse"]["value"] < made.outcome()["metrics"]["rmse"]["value"]
    assert run(made, better, comparison={"max_regression": 2.0}).blessed


def test_the_champion_measures_as_it_would_alone(case: Make, tmp_path: Path) -> None:
    made = case("binary")
    other = write_model(tmp_path / "champion", "binary", (0, 1), weight=3.0)
    run(made, other, slices=["origin"])
    beside = made.outcome()
    alone = Case(made.dataset, other, tmp_path / "alone")
    run(alone, slices=["origin"])
    assert beside["champion"]["metrics"] == alone.outcome()["metrics"]
    assert [s["champion_metrics"] for s in beside["slices"]] == [
        s["metrics"] for s in alone.outcome()["slices"]
    ]


def test_the_champion_itself_is_not_scored_again(case: Make) -> None:
    made = case("binary")
    found = run(made, made.model)
    assert found.reasons == ["this model is the champion (version 3)"]
    assert made.outcome()["champion"]["same"]


@pytest.mark.parametrize(
    ("champion", "reason"),
    [
        ({"task": "regression"}, "its task is regression, not binary"),
        ({"task": "binary", "classes": (0, 2)}, "its classes are 0, 2, not 0, 1"),
        ({"task": "binary", "classes": (0, 1), "label": "lat"}, "its label is lat, not label"),
        (
            {"task": "binary", "classes": (0, 1), "inputs": ("signal", "orgin")},
            "DATASET: no column 'orgin', which the model reads; did you mean 'origin'?",
        ),
        (
            {"task": "binary", "classes": (0, 1), "weight": float("nan")},
            "DATASET: split test: the model predicted a value that is not finite; "
            "check the features for infinities, and the model's training",
        ),
    ],
)
def test_a_champion_that_cannot_be_scored_is_a_reason(
    case: Make, tmp_path: Path, champion: dict[str, Any], reason: str
) -> None:
    made = case("binary")
    other = write_model(tmp_path / "champion", champion.pop("task"), **champion)
    found = run(made, other)
    reason = reason.replace("DATASET", str(made.dataset))
    start = f"the champion (version 3) cannot be compared: {reason}"
    assert not found.blessed
    assert found.reasons == [
        f"{start}; to bless all the same, set on_incomparable: bless in comparison"
    ]
    assert made.outcome()["champion"]["reason"] == reason
    found = run(made, other, comparison={"on_incomparable": "bless"})
    assert (found.blessed, found.reasons) == (True, [start])


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (MissingError("no version 3", where="/store/late"), "/store/late: no version 3"),
        (ModuleNotFoundError("No module named 'gone'"), "ModuleNotFoundError: No module named"),
    ],
)
def test_a_champion_that_cannot_be_loaded_is_a_reason(
    case: Make, failure: Exception, reason: str
) -> None:
    made = case("binary")

    def fetch(reference: ChampionReference, folder: Path) -> Path:
        raise failure

    found = evaluate(
        EvaluateParameters(champion=CHAMPION, resamples=0),
        made.dataset,
        made.model,
        made.evaluation,
        made.report,
        load=load,
        fetch=fetch,
    )
    assert not found.blessed
    assert found.reasons[0].startswith(f"the champion (version 3) cannot be compared: {reason}")


def test_a_store_that_may_answer_later_is_an_error(case: Make) -> None:
    made = case("binary")

    def fetch(reference: ChampionReference, folder: Path) -> Path:
        raise TransientError("timed out", where="s3://store")

    with pytest.raises(TransientError, match="s3://store: timed out"):
        evaluate(
            EvaluateParameters(champion=CHAMPION),
            made.dataset,
            made.model,
            made.evaluation,
            made.report,
            load=load,
            fetch=fetch,
        )
    assert not made.evaluation.exists()
    assert not made.report.exists()


def test_one_class_in_the_split_is_null_and_no_crash(tmp_path: Path) -> None:
    rows = rows_of("binary", 300)
    only = rows.filter(pa.compute.equal(rows["label"], 0))
    made = Case(
        write_dataset(tmp_path / "dataset", {"test": only}),
        write_model(tmp_path / "model", "binary", (0, 1)),
        tmp_path,
    )
    found = run(made, thresholds={"roc_auc": {"min": 0.5}})
    assert made.outcome()["metrics"]["roc_auc"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "the rows are all of one class",
    }
    assert "roc_auc" not in found.metrics
    assert found.roc is None
    assert found.reasons == ["roc_auc is undefined: the rows are all of one class"]
    assert "NaN" not in made.report.read_text()


def test_classes_unseen_in_training_count_as_wrong(tmp_path: Path) -> None:
    rows = rows_of("multiclass", 300)
    label = pa.array(["emperor", *rows["label"].to_pylist()[1:]])
    table = rows.set_column(1, "label", label)
    made = Case(
        write_dataset(tmp_path / "dataset", {"test": table}),
        write_model(tmp_path / "model", "multiclass", CLASSES["multiclass"]),
        tmp_path,
    )
    found = run(made)
    assert made.outcome()["unseen_classes"] == {"emperor": 1}
    assert found.confusion is not None
    assert found.confusion.categories[-1] == "(not seen in training)"
    assert sum(found.confusion.matrix[-1]) == 1
    assert "emperor (1)" in made.report.read_text()


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    rows = rows_of("regression", 300)
    label = pa.array([None, float("nan"), *rows["label"].to_pylist()[2:]], pa.float64())
    made = Case(
        write_dataset(tmp_path / "dataset", {"test": rows.set_column(1, "label", label)}),
        write_model(tmp_path / "model", "regression"),
        tmp_path,
    )
    run(made)
    assert (made.outcome()["rows"], made.outcome()["unlabelled_rows"]) == (298, 2)


def test_predictions_come_in_batches(case: Make) -> None:
    made = case("regression", rows=70_000)
    models = []

    def remember(folder: Path) -> Any:
        models.append(load(folder))
        return models[-1]

    evaluate(
        EvaluateParameters(resamples=0),
        made.dataset,
        made.model,
        made.evaluation,
        made.report,
        load=remember,
    )
    assert sum(models[0].answers) == 70_000
    assert max(models[0].answers) <= 65_536


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"split": "tset"}, MissingError, "DATASET: no split 'tset'; did you mean 'test'?"),
        ({"slices": ["orgin"]}, MissingError, "slices: no column 'orgin'; did you mean 'origin'?"),
        (
            {"thresholds": {"auc_roc": {"min": 0.7}}},
            ParameterError,
            "thresholds: unknown metric 'auc_roc' of a binary model; "
            "known: accuracy, average_precision, balanced_accuracy, brier, calibration_error, "
            "f1, log_loss, mcc, precision, predicted_positive_rate, prevalence, recall, roc_auc",
        ),
        (
            {
                "slices": ["origin"],
                "thresholds": {"f1": {"slices": {"min": 0.1, "columns": ["orgin"]}}},
            },
            ParameterError,
            "thresholds: f1: slices: 'orgin' is not among the slices; did you mean 'origin'?",
        ),
        (
            {"champion": "3"},
            ParameterError,
            "champion: is not allowed; got 3; expected input should be a dictionary or an "
            "instance of ChampionReference",
        ),
        (
            {"champion": "late/3"},
            ParameterError,
            'champion: not valid JSON; got late/3; expected {"uri": ..., "version": ..., '
            '"manifest_digest": ...} or an empty text',
        ),
        (
            {"resamples": -1},
            ParameterError,
            "resamples: out of range; got -1; expected 0 to 10,000",
        ),
        (
            {"confidence": 95.0},
            ParameterError,
            "confidence: out of range; got 95.0; expected above 0 and below 1",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    case: Make, parameters: dict[str, Any], error: type[KfpSuiteError], message: str
) -> None:
    made = case("binary")
    with pytest.raises(error) as caught:
        run(made, **parameters)
    assert str(caught.value) == message.replace("DATASET", str(made.dataset))
    assert not made.evaluation.exists()
    assert not made.report.exists()


@pytest.mark.parametrize(
    ("rows", "model", "error", "message"),
    [
        (
            rows_of("binary", 10).slice(0, 0),
            {},
            DataError,
            "DATASET: split 'test' is empty; "
            "give it rows in ingest's split, or evaluate on another split",
        ),
        (
            rows_of("binary", 10).set_column(1, "label", pa.nulls(10, pa.int64())),
            {},
            DataError,
            "DATASET: split 'test' has no rows with a label; "
            "give it rows in ingest's split, or evaluate on another split",
        ),
        (
            rows_of("binary", 10).set_column(1, "label", pa.array([7] * 10)),
            {},
            DataError,
            "DATASET: split test: a value of label 'label' that the model was not trained on; "
            "got 7; expected one of 0, 1; drop or map such rows in ingest's SQL",
        ),
        (
            rows_of("binary", 10),
            {"label": "lable"},
            MissingError,
            "DATASET: no label column 'lable'; did you mean 'label'?",
        ),
        (
            rows_of("binary", 10),
            {"inputs": ("signal", "wnid")},
            MissingError,
            "DATASET: no column 'wnid', which the model reads; "
            "known: distance, label, origin, signal, weekend",
        ),
        (
            rows_of("binary", 10),
            {"weight": float("nan")},
            ContractError,
            "DATASET: split test: the model predicted a value that is not finite; "
            "check the features for infinities, and the model's training",
        ),
    ],
)
def test_data_that_does_not_fit_the_model_is_one_line(
    tmp_path: Path, rows: pa.Table, model: dict[str, Any], error: type[InputError], message: str
) -> None:
    made = Case(
        write_dataset(tmp_path / "dataset", {"test": rows}),
        write_model(tmp_path / "model", "binary", (0, 1), **model),
        tmp_path,
    )
    with pytest.raises(error) as caught:
        run(made)
    assert str(caught.value) == message.replace("DATASET", str(made.dataset))
    assert not made.evaluation.exists()
