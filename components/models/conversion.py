"""An estimator to an ONNX graph, kept only where it is proven to predict the same.

The graph is derived: `estimator.skops` is the model, and what the digest covers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxmltools
import skl2onnx
from onnxmltools.convert.common.data_types import FloatTensorType as TreesFloatTensorType
from skl2onnx.common.data_types import FloatTensorType

from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.model import ESTIMATOR_ONNX, Task
from kfp_suite.components.models.calibration import Calibration
from kfp_suite.components.models.estimators import framework_of
from kfp_suite.components.models.onnx import INPUT, OnnxEstimator, decide

TOLERANCE = 1e-6
"""The largest difference of a probability, and of a predicted number relative to it."""


@dataclass(frozen=True)
class Proof:
    """How a graph compares with its estimator: `equal` is the verdict, `why` the reason it
    is not, `rows` how many rows were compared, `difference` the largest seen, `output` the
    graph's output that holds the scores."""

    equal: bool
    why: str = ""
    rows: int = 0
    difference: float = 0.0
    output: str = ""


def convert(estimator: Any, task: Task, features: int) -> bytes:
    """The graph of a scikit-learn, XGBoost or LightGBM estimator.

    Raises:
        Exception: of any kind, where its converter cannot.
    """
    probabilities = task != "regression"
    framework = framework_of(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the comparison decides, not what the converter fears
        if framework == "sklearn":
            options = {id(estimator): {"zipmap": False}} if probabilities else {}
            graph = skl2onnx.convert_sklearn(
                estimator,
                initial_types=[(INPUT, FloatTensorType([None, features]))],
                options=options,
            )
        elif framework == "xgboost":
            graph = onnxmltools.convert_xgboost(
                estimator, initial_types=[(INPUT, TreesFloatTensorType([None, features]))]
            )
        else:
            plain = {"zipmap": False} if probabilities else {}
            graph = onnxmltools.convert_lightgbm(
                estimator, initial_types=[(INPUT, TreesFloatTensorType([None, features]))], **plain
            )
    # Its name is a random one where the converter makes it up.
    graph.graph.name = "estimator"
    return bytes(graph.SerializeToString(deterministic=True))


def save_if_equal(
    estimator: Any,
    task: Task,
    matrix: Any,
    expected: Any,
    threshold: float,
    folder: Path,
    calibration: Calibration | None = None,
) -> Proof:
    """Convert, compare on real rows, and write `estimator.onnx` only if it is the same.

    The same means: the same class for every row, and every probability (or number,
    relatively) within 1e-6.

    Args:
        estimator: The fitted estimator.
        task: What it is for.
        matrix: Rows to compare on; float32, shape (rows, features).
        expected: What the estimator says of them.
        threshold: The decision threshold of a binary model.
        folder: Where the graph is written.
        calibration: What corrects the probabilities before classes are decided.
    """
    try:
        graph = convert(estimator, task, matrix.shape[1])
        converted = OnnxEstimator(graph, task)
        got = converted.scores(matrix)
    except Exception as error:
        return Proof(False, f"no conversion: {type(error).__name__}")
    if got.shape != expected.shape:
        return Proof(False, "another shape")
    scale = np.maximum(np.abs(expected), 1.0)
    difference = float(np.max(np.abs(got - expected) / scale)) if len(matrix) else 0.0
    if not difference <= TOLERANCE:
        return Proof(False, "other values", len(matrix), difference)
    if (
        task != "regression"
        and (
            _decided(got, threshold, calibration) != _decided(expected, threshold, calibration)
        ).any()
    ):
        return Proof(False, "other classes", len(matrix), difference)
    write_file(folder / ESTIMATOR_ONNX, graph)
    return Proof(True, "", len(matrix), difference, converted.output)


def _decided(scores: Any, threshold: float, calibration: Calibration | None) -> Any:
    return decide(scores if calibration is None else calibration.apply(scores), threshold)
