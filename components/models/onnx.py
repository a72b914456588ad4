"""An estimator as an ONNX graph, kept only where it is proven to predict the same.

A graph scores a row in a hundredth of what scikit-learn's own call costs. It is derived:
`estimator.skops` is the model, and what the digest covers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType

from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.model import Task

ONNX = "estimator.onnx"
TOLERANCE = 1e-6
"""The largest difference of a probability, and of a predicted number relative to it."""
_INPUT = "features"


@dataclass(frozen=True)
class Proof:
    """How a graph compares with its estimator: `equal` is the verdict, `why` the reason it
    is not, `rows` how many rows were compared, `difference` the largest seen."""

    equal: bool
    why: str = ""
    rows: int = 0
    difference: float = 0.0


class OnnxEstimator:
    """A graph that predicts as the estimator does, on one thread: same rows, same bits."""

    def __init__(self, graph: bytes | str, task: Task) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [self._session.get_outputs()[0 if task == "regression" else 1].name]

    def scores(self, matrix: Any) -> Any:
        """Probabilities of shape (rows, classes), or numbers of shape (rows,); float32.

        Args:
            matrix: float32, shape (rows, features).
        """
        found = self._session.run(self._outputs, {_INPUT: matrix})[0]
        return found if found.shape[-1] > 1 else found.ravel()


def convert(estimator: Any, task: Task, features: int) -> bytes:
    """The graph of a scikit-learn estimator.

    Raises:
        Exception: of any kind, where skl2onnx cannot convert it.
    """
    options = {} if task == "regression" else {id(estimator): {"zipmap": False}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the comparison decides, not what the converter fears
        graph = skl2onnx.convert_sklearn(
            estimator,
            name="estimator",
            initial_types=[(_INPUT, FloatTensorType([None, features]))],
            options=options,
        )
    return bytes(graph.SerializeToString(deterministic=True))


def save_if_equal(
    estimator: Any, task: Task, matrix: Any, expected: Any, threshold: float, folder: Path
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
    """
    try:
        graph = convert(estimator, task, matrix.shape[1])
        got = OnnxEstimator(graph, task).scores(matrix)
    except Exception as error:
        return Proof(False, f"no conversion: {type(error).__name__}")
    if got.shape != expected.shape:
        return Proof(False, "another shape")
    scale = np.maximum(np.abs(expected), 1.0)
    difference = float(np.max(np.abs(got - expected) / scale)) if len(matrix) else 0.0
    if not difference <= TOLERANCE:
        return Proof(False, "other values", len(matrix), difference)
    if task != "regression" and (decide(got, threshold) != decide(expected, threshold)).any():
        return Proof(False, "other classes", len(matrix), difference)
    write_file(folder / ONNX, graph)
    return Proof(True, "", len(matrix), difference)


def decide(probabilities: Any, threshold: float) -> Any:
    """The position of the class each row is given.

    Args:
        probabilities: Shape (rows, classes).
        threshold: For two classes, the smallest probability of the second that chooses it.
    """
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    return probabilities.argmax(axis=1)
