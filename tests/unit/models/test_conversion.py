"""A graph is kept where it predicts the same, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from kfp_suite.contracts.model import ESTIMATOR_ONNX, Task
from kfp_suite.models import conversion
from kfp_suite.models.conversion import TOLERANCE, convert, save_if_equal
from kfp_suite.models.estimators import make_estimator
from kfp_suite.models.onnx import OPSET, OnnxEstimator, decide

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")


def rows(task: Task, missing: bool = True) -> tuple[Any, Any]:
    """1,000 rows of 6 features, some missing, and their labels."""
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(1_000, 6)).astype(np.float32)
    score = matrix[:, 0] + matrix[:, 1] * matrix[:, 2]
    if missing:
        matrix[generator.random(matrix.shape) < 0.1] = np.nan
    if task == "regression":
        return matrix, score.astype(np.float64)
    return matrix, np.digitize(score, [0] if task == "binary" else [-0.5, 0.5])


def fitted(name: str, task: Task, matrix: Any, target: Any, **parameters: Any) -> Any:
    return make_estimator(name, task, parameters, seed=0, threads=1).fit(matrix, target)


def scores(estimator: Any, task: Task, matrix: Any) -> Any:
    return estimator.predict(matrix) if task == "regression" else estimator.predict_proba(matrix)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["hist_gradient_boosting", "xgboost", "lightgbm", "decision_tree"])
def test_the_graph_predicts_as_the_estimator(name: str, task: Task, tmp_path: Path) -> None:
    # scikit-learn's trees and their graphs send missing values down different branches.
    matrix, target = rows(task, missing=name != "decision_tree")
    estimator = fitted(name, task, matrix, target)
    expected = scores(estimator, task, matrix)
    proof = save_if_equal(estimator, task, matrix, expected, 0.5, tmp_path)
    assert (proof.equal, proof.why, proof.rows) == (True, "", len(matrix))
    check_readable(tmp_path / ESTIMATOR_ONNX)
    got = OnnxEstimator(str(tmp_path / ESTIMATOR_ONNX)).scores(matrix)
    assert np.max(np.abs(got - expected) / np.maximum(np.abs(expected), 1)) <= TOLERANCE


def check_readable(graph: Path) -> None:
    """What ONNX Runtime 1.10 reads, and so the servers that are older than the converters."""
    read = onnx.load(graph)
    assert read.ir_version <= 8
    opsets = {one.domain: one.version for one in read.opset_import}
    assert opsets.get("", 1) <= OPSET == 15
    assert opsets.get("ai.onnx.ml", 1) <= 2


@pytest.mark.parametrize("name", ["hist_gradient_boosting", "xgboost", "lightgbm"])
def test_the_same_estimator_is_the_same_graph(name: str) -> None:
    matrix, target = rows("binary")
    estimator = fitted(name, "binary", matrix, target)
    assert convert(estimator, "binary", 6) == convert(estimator, "binary", 6)


@pytest.mark.parametrize("rows_at_once", [1, 7, 1_000])
def test_a_row_scores_the_same_alone_and_in_a_batch(rows_at_once: int) -> None:
    matrix, target = rows("binary")
    graph = OnnxEstimator(convert(fitted("xgboost", "binary", matrix, target), "binary", 6))
    whole = graph.scores(matrix)
    parts = [graph.scores(matrix[i : i + rows_at_once]) for i in range(0, 1_000, rows_at_once)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_other_values_are_not_kept(tmp_path: Path) -> None:
    matrix, target = rows("binary", missing=False)
    estimator = LogisticRegression().fit(matrix, target)
    expected = estimator.predict_proba(matrix) + np.array([-1e-4, 1e-4])
    proof = save_if_equal(estimator, "binary", matrix, expected, 0.5, tmp_path)
    assert (proof.equal, proof.why) == (False, "other values")
    assert proof.difference == pytest.approx(1e-4, rel=0.01)
    assert not list(tmp_path.iterdir())


def test_another_class_at_the_threshold_is_not_kept(tmp_path: Path) -> None:
    matrix, target = rows("binary", missing=False)
    estimator = LogisticRegression().fit(matrix, target)
    got = OnnxEstimator(convert(estimator, "binary", 6)).scores(matrix)
    # Less than the tolerance apart, and on two sides of the threshold.
    expected = got.astype(np.float64)
    expected[0, 1] -= 1e-7
    threshold = float(got[0, 1])
    proof = save_if_equal(estimator, "binary", matrix, expected, threshold, tmp_path)
    assert (proof.equal, proof.why) == (False, "other classes")
    assert not list(tmp_path.iterdir())


def test_an_estimator_without_a_converter_is_served_by_itself(tmp_path: Path) -> None:
    class Ours(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        pass

    matrix, target = rows("binary")
    proof = save_if_equal(Ours(), "binary", matrix, np.eye(2)[target], 0.5, tmp_path)
    assert not proof.equal
    assert proof.why.startswith("no conversion: ")
    assert not list(tmp_path.iterdir())


def test_another_shape_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, target = rows("binary", missing=False)
    other, more = rows("multiclass", missing=False)
    three = convert(LogisticRegression().fit(other, more), "multiclass", 6)
    monkeypatch.setattr(conversion, "convert", lambda *_: three)
    two = LogisticRegression().fit(matrix, target)
    proof = save_if_equal(two, "binary", matrix, two.predict_proba(matrix), 0.5, tmp_path)
    assert (proof.equal, proof.why) == (False, "another shape")


@pytest.mark.parametrize(
    ("probabilities", "threshold", "classes"),
    [
        ([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]], 0.5, [0, 1, 1]),
        ([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]], 0.3, [1, 1, 1]),
        ([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]], 0.9, [1, 0]),
    ],
)
def test_the_threshold_decides_between_two_classes(
    probabilities: Any, threshold: float, classes: Any
) -> None:
    assert decide(np.array(probabilities), threshold).tolist() == classes
