"""A trained network as a SavedModel that takes raw columns: transform, network, decision.

The SavedModel is compared with the suite's own predictions on real rows; signatures on raw
columns that would predict otherwise are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from kfp_suite.components.train.keras.learning import Scale
from kfp_suite.components.train.labels import Target
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import DEFAULT_SIGNATURE, EXAMPLES_SIGNATURE
from kfp_suite.features.graphs import graph_of
from kfp_suite.features.loading import Transform
from kfp_suite.features.tensorflow_graph import (
    DTYPES,
    MISSING_TEXT,
    tensors_of,
)
from kfp_suite.models.equivalence import largest_difference
from kfp_suite.models.saved_model import FEATURES, SCORES

TOLERANCE = 1e-5
"""The largest difference of a probability, and of a predicted number relative to what
predictions differ by."""
WARM_UP = "assets.extra/tf_serving_warmup_requests"
_WARM_UP_REQUESTS = 20

log = logging.getLogger(__name__)
Tensor = Any
_MISSING_WHOLE = -(2**63)


@dataclass(frozen=True)
class Agreement:
    """How the graph of raw columns compares with the suite: `equal` is the verdict, `why`
    the reason it is not, `rows` how many were compared, `difference` the largest seen."""

    equal: bool
    why: str = ""
    rows: int = 0
    difference: float = 0.0


class ServedNetwork(tf.Module):  # type: ignore[misc]
    """A transform's graph, a network and a decision, as one."""

    def __init__(
        self,
        network: Any,
        scale: Scale,
        target: Target,
        threshold: float | None,
        transform: Transform,
    ) -> None:
        super().__init__(name="served")
        self.network = network
        self._scale, self._target, self._threshold = scale, target, threshold
        self._inputs = transform.inputs
        self._width = len(transform.output_names)
        self.transform = graph_of(transform)

    def signatures(self) -> dict[str, Any]:
        """The signatures of the SavedModel."""
        columns = {
            field.name: tf.TensorSpec([None], DTYPES[field.type], field.name)
            for field in self._inputs
        }
        examples = tf.TensorSpec([None], tf.string, "examples")
        return {
            DEFAULT_SIGNATURE: _function(lambda **raw: self.predict(raw), **columns),
            EXAMPLES_SIGNATURE: _function(
                lambda examples: self.predict(self._parsed(examples)), examples=examples
            ),
            FEATURES: features_signature(self.scores, self._width),
        }

    def scores(self, matrix: Tensor) -> Tensor:
        """Probabilities, shape (rows, classes), or numbers, shape (rows,)."""
        return scores_of(self.network(matrix, training=False), self._target, self._scale)

    def predict(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predictions for a tensor a raw column."""
        scores = self.scores(self.transform(raw))
        if self._target.task == "regression":
            return {"prediction": scores}
        if self._threshold is not None:
            chosen = tf.cast(scores[:, 1] >= self._threshold, tf.int64)
        else:
            chosen = tf.argmax(scores, axis=1)
        classes = tf.constant(self._target.classes)
        if classes.dtype == tf.int32:
            classes = tf.cast(classes, tf.int64)
        return {"prediction": tf.gather(classes, chosen), "probabilities": scores}

    def _parsed(self, examples: Tensor) -> dict[str, Tensor]:
        parsed = tf.io.parse_example(examples, {f.name: _in_example(f.type) for f in self._inputs})
        return {f.name: _from_example(parsed[f.name], f.type) for f in self._inputs}


def scores_of(logits: Tensor, target: Target, scale: Scale) -> Tensor:
    """The scores of a network's logits: float32 probabilities or numbers."""
    if target.task == "regression":
        return logits[:, 0] * scale.std + scale.mean
    if target.task == "binary":
        positive = tf.sigmoid(logits)
        return tf.concat([1.0 - positive, positive], axis=1)
    return tf.nn.softmax(logits)


def features_signature(scores: Callable[[Tensor], Tensor], width: int) -> Any:
    """The signature `features` of a function of the matrix."""
    spec = tf.TensorSpec([None, width], tf.float32, FEATURES)
    return _function(lambda features: {SCORES: scores(features)}, features=spec)


def export(
    network: Any,
    scale: Scale,
    target: Target,
    threshold: float | None,
    transform: Transform,
    rows: pa.Table,
    folder: Path,
) -> Agreement:
    """Write the SavedModel to `folder`.

    Args:
        network: Returns logits for the transform's matrix.
        scale: The scale of predicted numbers.
        target: Task and classes.
        threshold: The decision threshold, for two classes.
        transform: The transform that makes the matrix.
        rows: Real rows to compare the graph on, and to warm a server up with.
        folder: The folder to create.
    """
    expected = scores_of(network(transform.transform(rows), training=False), target, scale).numpy()
    try:
        served = ServedNetwork(network, scale, target, threshold, transform)
        agreement = _compare(served, expected, tensors_of(rows, transform.inputs), target)
    except ParameterError as error:
        served, agreement = None, Agreement(False, str(error))
    if served is not None and agreement.equal:
        tf.saved_model.save(served, str(folder), signatures=served.signatures())
        few = rows.slice(0, _WARM_UP_REQUESTS)
        _write_warm_up(tensors_of(few, transform.inputs), few.num_rows, folder / WARM_UP)
        return agreement
    log.warning("no signature on raw columns: %s", agreement.why)
    bare = tf.Module()
    bare.network = network
    signature = features_signature(
        lambda matrix: scores_of(network(matrix, training=False), target, scale),
        len(transform.output_names),
    )
    tf.saved_model.save(bare, str(folder), signatures={FEATURES: signature})
    return agreement


def _compare(
    served: ServedNetwork, expected: Any, raw: Mapping[str, Tensor], target: Target
) -> Agreement:
    predict = tf.function(served.predict, autograph=False)
    said = predict(raw)
    got = said.get("probabilities", said["prediction"]).numpy()
    difference = largest_difference(got, expected, target.task)
    equal = difference <= TOLERANCE
    return Agreement(equal, "" if equal else "the graph gives other values", len(got), difference)


def _function(call: Callable[..., Any], **specs: Any) -> Any:
    return tf.function(call, autograph=False).get_concrete_function(**specs)


def _in_example(type_: ColumnType) -> Any:
    """The form of a column in a `tf.Example`: a missing value is absent."""
    if type_ == "string":
        return tf.io.FixedLenFeature([], tf.string, MISSING_TEXT)
    if type_ == "float64":
        return tf.io.FixedLenFeature([], tf.float32, float("nan"))
    return tf.io.FixedLenFeature([], tf.int64, _MISSING_WHOLE)


def _from_example(tensor: Tensor, type_: ColumnType) -> Tensor:
    if type_ not in ("int64", "bool", "float64"):
        return tensor
    number = tf.cast(tensor, tf.float64)
    if type_ == "float64":
        return number
    return tf.where(tensor == _MISSING_WHOLE, tf.constant(np.nan, tf.float64), number)


def _write_warm_up(raw: Mapping[str, Tensor], rows: int, path: Path) -> None:
    """Requests of one row that TensorFlow Serving answers before it reports to be ready."""
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in range(rows):
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = DEFAULT_SIGNATURE
            for name, tensor in raw.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor[i : i + 1]))
            entry = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(entry.SerializeToString(deterministic=True))
