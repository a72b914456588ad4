"""A trained network to an ONNX graph of the transform's matrix, for servers without TensorFlow.

    features    float32, (rows, features)
    scores      float32, (rows, classes): probabilities; or (rows, 1): numbers

By Keras's own export, which stands on tf2onnx. Its bytes name things at random, as a
SavedModel's do; the model's digest covers neither.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import onnx
import tensorflow as tf

from kfp_suite.components.train.keras.export import scores_of
from kfp_suite.components.train.keras.learning import Scale
from kfp_suite.components.train.labels import Target
from kfp_suite.models.equivalence import UnconvertibleError
from kfp_suite.models.onnx import INPUT, OPSET
from kfp_suite.models.saved_model import SCORES


def to_onnx(network: Any, scale: Scale, target: Target, width: int) -> bytes:
    """The graph of a network, from features to predictions.

    Args:
        network: Gives logits for the matrix.
        scale: The scale of predicted numbers.
        target: Task and classes.
        width: Features.

    Raises:
        UnconvertibleError: it uses an operation that ONNX lacks.
        Exception: of any kind, if Keras or tf2onnx cannot.
    """
    matrix = keras.Input((width,), dtype="float32", name=INPUT)
    outputs = 1 if target.task == "regression" else len(target.classes)

    def scores(logits: Any) -> Any:
        return tf.reshape(scores_of(logits, target, scale), (-1, outputs))

    meaning = keras.layers.Lambda(scores, output_shape=(outputs,), name=SCORES)
    served = keras.Model(matrix, meaning(network(matrix)), name="estimator")
    spec = [tf.TensorSpec([None, width], tf.float32, INPUT)]
    with tempfile.TemporaryDirectory(prefix="kfp-suite-onnx-") as scratch, _quiet():
        file = Path(scratch) / "estimator.onnx"
        served.export(
            str(file), format="onnx", verbose=False, input_signature=spec, opset_version=OPSET
        )
        model = onnx.load(file)
    _check(model)
    _name(model.graph)
    return bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converters' warnings: the check and the comparison decide."""
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _check(model: Any) -> None:
    """Refuse a graph with TensorFlow's operations: tf2onnx leaves those it cannot convert."""
    nodes = model.graph.node
    unknown = {node.op_type for node in nodes if not onnx.defs.has(node.op_type, node.domain)}
    if unknown:
        raise UnconvertibleError(f"ONNX has no operation for {', '.join(sorted(unknown))}")


def _name(graph: Any) -> None:
    """Name the inputs and outputs of the graph for its clients."""
    graph.name = "estimator"
    (output,) = graph.output
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [SCORES if name == output.name else name for name in names]
    output.name = SCORES
    for tensor in (*graph.input, output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "rows"
