"""The TensorFlow graph of a transform, whichever kind it is."""

from __future__ import annotations

from typing import Any

from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.features.loading import Transform
from kfp_suite.features.tensorflow_graph import TransformGraph
from kfp_suite.features.tft_graph import TftTransform


def graph_of(transform: Transform) -> Any:
    """The function from a tensor a raw column to the matrix.

    Raises:
        ParameterError: an operation of a spec that has no graph.
    """
    if isinstance(transform, TftTransform):
        return transform.graph()
    assert isinstance(transform, FittedTransform)
    return TransformGraph(transform)
