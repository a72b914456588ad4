"""The ONNX graph of a fitted estimator, kept only if it is proven to predict the same.

The graph is derived from the trained estimator, which is the model; the digest covers that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.model import ESTIMATOR_ONNX, Task
from kfp_suite.models.calibration import Calibration
from kfp_suite.models.onnx import OnnxEstimator, decide

_ROWS_AT_ONCE = 4096
# A 32-bit number is rounded by at most this part of it; a prediction is a sum of some.
_HALF_STEP = 2.0**-24
_ROUNDINGS = 8


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


def keep_if_equal(
    convert: Callable[[], bytes],
    task: Task,
    matrix: Any,
    expected: Any,
    threshold: float,
    folder: Path,
    *,
    tolerance: float,
    calibration: Calibration | None = None,
) -> Proof:
    """Convert, compare on real rows, and write `estimator.onnx` only if it is the same.

    The same means: the same class for every row, and every probability or number within the
    tolerance; see `largest_difference`.

    Args:
        convert: Returns the graph; if it raises, the error is the reason that there is none.
        task: The task of the estimator.
        matrix: Rows to compare on; float32, shape (rows, features).
        expected: The estimator's predictions of them.
        threshold: The decision threshold of a binary model.
        folder: The folder that the graph is written to.
        tolerance: The largest difference that counts as the same; above 0.
        calibration: The correction of probabilities before classes are decided.
    """
    try:
        graph = convert()
        converted = OnnxEstimator(graph)
        got = in_blocks(converted.scores, matrix)
    except Exception as error:
        said = str(error) if isinstance(error, UnconvertibleError) else type(error).__name__
        return Proof(False, f"no conversion: {said}")
    if got.shape != expected.shape:
        return Proof(False, "another shape")
    difference = largest_difference(got, expected, task)
    if not difference <= tolerance:
        return Proof(False, "other values", len(matrix), difference)
    if (
        task != "regression"
        and (
            _decide(got, threshold, calibration) != _decide(expected, threshold, calibration)
        ).any()
    ):
        return Proof(False, "other classes", len(matrix), difference)
    write_file(folder / ESTIMATOR_ONNX, graph)
    return Proof(True, "", len(matrix), difference, converted.output)


def largest_difference(got: Any, expected: Any, task: Task) -> float:
    """How far apart predictions are.

    Probabilities: the largest difference. Numbers: the largest difference in relation to the
    spread of the expected ones, since an error of 100 is large for a label between 250,000,000
    and 250,000,100. The spread is a row's distance from the median, at least the interquartile
    range (the standard deviation, if that is 0). 32-bit predictions may differ by rounding.

    Args:
        got: Predictions of the rows.
        expected: The predictions to compare with, of the same shape.
        task: The task of the model.
    """
    if not len(expected):
        return 0.0
    given = np.asarray(expected, np.float64)
    difference = np.abs(np.asarray(got, np.float64) - given)
    if task != "regression":
        return float(difference.max())
    low, median, high = np.quantile(given, [0.25, 0.5, 0.75])
    spread = high - low or given.std()
    scale = np.maximum(np.abs(given - median), spread)
    if np.asarray(expected).dtype == np.float32:
        difference = np.maximum(0.0, difference - _ROUNDINGS * _HALF_STEP * np.abs(given))
    off = difference > 0
    with np.errstate(divide="ignore"):
        return float((difference[off] / scale[off]).max()) if off.any() else 0.0


class UnconvertibleError(Exception):
    """A converter's own message about an estimator that it cannot convert."""


def in_blocks(scores: Callable[[Any], Any], matrix: Any) -> Any:
    """`scores` of every row, of a few thousand rows at once: a network's memory is bounded."""
    starts = range(0, max(len(matrix), 1), _ROWS_AT_ONCE)
    return np.concatenate([scores(matrix[i : i + _ROWS_AT_ONCE]) for i in starts])


def _decide(scores: Any, threshold: float, calibration: Calibration | None) -> Any:
    return decide(scores if calibration is None else calibration.apply(scores), threshold)
