"""A network as a TensorFlow SavedModel: its signatures, and calls of them.

| signature          | takes                                      | gives                         |
|--------------------|--------------------------------------------|-------------------------------|
| `serving_default`  | a tensor a raw column                      | `prediction`, `probabilities` |
| `serving_examples` | `examples`: serialized `tf.Example`s       | the same                      |
| `features`         | `features`: the transform's matrix, float32| `scores`                      |

All tensors have rows first. The first two exist if the transform has a graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.model import EXAMPLES_SIGNATURE

FEATURES = "features"
SCORES = "scores"


class SavedModelScorer:
    """The signature `features` behind the call that every estimator has: `scores`."""

    def __init__(self, folder: Path) -> None:
        self._loaded = tf.saved_model.load(str(folder))
        self._call = self._loaded.signatures[FEATURES]
        self._examples = self._loaded.signatures.get(EXAMPLES_SIGNATURE)

    def scores(self, matrix: Any) -> Any:
        """Probabilities of shape (rows, classes), or numbers of shape (rows,); float32.

        Args:
            matrix: float32, shape (rows, features).
        """
        found = self._call(features=tf.constant(matrix, tf.float32))[SCORES].numpy()
        return found if found.ndim == 2 and found.shape[1] > 1 else np.ravel(found)

    def predict_examples(self, examples: list[bytes]) -> Any:
        """The outputs of `serving_examples` by name, None if there is no such signature.

        Raises:
            DataError: they are not serialized `tf.Example`s, or lack a value.
        """
        if self._examples is None:
            return None
        try:
            found = self._examples(examples=tf.constant(examples, tf.string))
        except tf.errors.InvalidArgumentError as error:
            raise DataError(
                "not usable examples", got=str(error.message).splitlines()[0]
            ) from error
        return {name: tensor.numpy() for name, tensor in found.items()}
