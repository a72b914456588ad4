"""A scikit-learn, XGBoost or LightGBM estimator to an ONNX graph that predicts the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnxmltools
import skl2onnx
from onnxmltools.convert.common.data_types import FloatTensorType as TreesFloatTensorType
from skl2onnx.common.data_types import FloatTensorType

from kfp_suite.contracts.model import Task
from kfp_suite.models.calibration import Calibration
from kfp_suite.models.equivalence import Proof, keep_if_equal
from kfp_suite.models.estimators import framework_of
from kfp_suite.models.onnx import INPUT, OPSET

TOLERANCE = 1e-6
"""The largest difference of a probability."""
NUMBER_TOLERANCE = 1e-5
"""The largest difference of a predicted number, relative to what predictions differ by."""


def convert(estimator: Any, task: Task, features: int) -> bytes:
    """The graph of a scikit-learn, XGBoost or LightGBM estimator.

    Raises:
        Exception: of any kind, if its converter fails.
    """
    probabilities = task != "regression"
    framework = framework_of(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the comparison decides, not the converter's warnings
        if framework == "sklearn":
            options = {id(estimator): {"zipmap": False}} if probabilities else {}
            graph = skl2onnx.convert_sklearn(
                estimator,
                initial_types=[(INPUT, FloatTensorType([None, features]))],
                options=options,
                target_opset=OPSET,
            )
        elif framework == "xgboost":
            graph = onnxmltools.convert_xgboost(
                estimator,
                initial_types=[(INPUT, TreesFloatTensorType([None, features]))],
                target_opset=OPSET,
            )
        else:
            plain = {"zipmap": False} if probabilities else {}
            graph = onnxmltools.convert_lightgbm(
                estimator,
                initial_types=[(INPUT, TreesFloatTensorType([None, features]))],
                target_opset=OPSET,
                **plain,
            )
    # Some converters give it a random name.
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
    """Convert, compare on real rows, and write `estimator.onnx` only if it is the same: a
    probability within 1e-6, a number within 1e-5 of the spread of predictions; see
    `keep_if_equal`.

    Args:
        estimator: The fitted estimator.
        task: The task of the model.
        matrix: Rows to compare on; float32, shape (rows, features).
        expected: The estimator's predictions of them.
        threshold: The decision threshold of a binary model.
        folder: The folder that the graph is written to.
        calibration: The correction of probabilities before classes are decided.
    """
    return keep_if_equal(
        lambda: convert(estimator, task, matrix.shape[1]),
        task,
        matrix,
        expected,
        threshold,
        folder,
        tolerance=NUMBER_TOLERANCE if task == "regression" else TOLERANCE,
        calibration=calibration,
    )
