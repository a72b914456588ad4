"""A transform that is a TensorFlow graph: a user's own `preprocessing_fn`, analyzed.

    transform/
      tft.json              format version, label, inputs, outputs, digests
      transform_fn/         the SavedModel that TensorFlow Transform wrote
      transformed_metadata/ the schema of its outputs
      module.py             the user's module

It needs TensorFlow to run, not TensorFlow Transform. Raw columns are given to it as TFX
gives them: float32, int64 (booleans are 0 and 1, dates days and timestamps microseconds
since 1970) or string; of shape (rows, 1) if no row of the dataset lacks a value, else
sparse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.digests import digest_value
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.manifests import read_manifest
from kfp_suite.contracts.model import Field
from kfp_suite.features.tensorflow_graph import MISSING_TEXT, MISSING_TIME, tensors_of
from kfp_suite.features.values import MICROSECONDS_A_DAY, Matrix

FORMAT_VERSION = 1
MANIFEST = "tft.json"
GRAPH = "transform_fn"
Tensor = Any


@dataclass(frozen=True)
class TftManifest:
    """The content of `tft.json`. `outputs` maps each output to its width; the matrix has
    them in the order of their names."""

    label: str
    inputs: tuple[Field, ...]
    outputs: dict[str, int]
    module_digest: str
    dataset_digest: str
    format_version: int = FORMAT_VERSION


class TftTransform:
    """Raw rows to the float32 matrix a network takes, by the user's graph."""

    def __init__(self, folder: Path, manifest: TftManifest) -> None:
        self._graph = TftGraph(folder, manifest)
        self.label = manifest.label
        self.inputs = manifest.inputs
        self.output_names = tuple(
            name if width == 1 else f"{name}[{i}]"
            for name, width in sorted(manifest.outputs.items())
            for i in range(width)
        )
        self.content = {"features": {"module": manifest.module_digest}}
        # The graph's bytes contain random names: it is identified by its sources.
        self.digest = digest_value(asdict(manifest))

    @classmethod
    def load(cls, folder: Path) -> TftTransform:
        """Read a transform's folder.

        Raises:
            MissingError, ContractError: it is not one, or of another format version.
        """
        fix = "run transform_tft again with this version of kfp-suite"
        manifest = read_manifest(
            folder / MANIFEST, TftManifest, format_version=FORMAT_VERSION, fix=fix
        )
        return cls(folder, manifest)

    def graph(self) -> TftGraph:
        """The graph, to be exported with a network."""
        return self._graph

    def transform(self, table: pa.Table) -> Matrix:
        """The matrix of a table's rows: float32, shape (rows, outputs).

        Raises:
            MissingError: an input column is not there.
            DataError: the graph refused a value.
        """
        try:
            matrix: Matrix = self._graph(tensors_of(table, self.inputs)).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise DataError(
                "the preprocessing_fn refused a value",
                where="transform",
                got=str(error.message).splitlines()[0],
            ) from error
        return matrix


class TftGraph(tf.Module):  # type: ignore[misc]
    """The graph behind raw tensors as `features.tensorflow_graph` has them."""

    def __init__(self, folder: Path, manifest: TftManifest) -> None:
        super().__init__(name="transform")
        self._loaded = tf.saved_model.load(str(folder / GRAPH))
        self._inputs = manifest.inputs
        self._outputs = dict(manifest.outputs)

    def __call__(self, columns: Mapping[str, Tensor]) -> Tensor:
        """The matrix: float32, shape (rows, outputs)."""
        given = {field.name: tfx_tensor(columns[field.name], field) for field in self._inputs}
        found = self._loaded.transform_fn(given)
        parts = [
            tf.reshape(tf.cast(found[name], tf.float32), [-1, width])
            for name, width in sorted(self._outputs.items())
        ]
        return tf.concat(parts, axis=1)


def tfx_tensor(raw: Tensor, field: Field) -> Tensor:
    """A raw column as TFX gives it: dense if it is never missing, else sparse."""
    value, missing = _tfx_value(raw, field.type)
    if not field.nullable:
        return value[:, tf.newaxis]
    rows = tf.where(~missing)
    shape = tf.stack([tf.shape(value, tf.int64)[0], 1])
    indices = tf.concat([rows, tf.zeros_like(rows)], axis=1)
    return tf.SparseTensor(indices, tf.gather(value, rows[:, 0]), shape)


def tfx_dtype(type_: ColumnType) -> Any:
    """The type in which TFX gives a column."""
    return {"float64": tf.float32, "string": tf.string}.get(type_, tf.int64)


def _tfx_value(raw: Tensor, type_: ColumnType) -> tuple[Tensor, Tensor]:
    if type_ == "string":
        return raw, raw == MISSING_TEXT
    if type_ in ("date", "timestamp"):
        missing = raw == MISSING_TIME
        return raw // MICROSECONDS_A_DAY if type_ == "date" else raw, missing
    missing = tf.math.is_nan(raw)
    known = tf.where(missing, tf.zeros_like(raw), raw)
    return tf.cast(known, tfx_dtype(type_)), missing


def write_manifest(folder: Path, manifest: TftManifest) -> None:
    """Write `tft.json`, the completion marker: call it last."""
    write_json(folder / MANIFEST, asdict(manifest))


def widths(outputs: Mapping[str, Any], but: Sequence[str]) -> dict[str, int]:
    """The width of each output of a `preprocessing_fn`, except those named.

    Args:
        outputs: Tensors of one row.
        but: Outputs that are no feature.

    Raises:
        DataError: an output that is sparse, text or has no fixed width.
    """
    found = {}
    for name, tensor in outputs.items():
        if name in but:
            continue
        if isinstance(tensor, (tf.SparseTensor, tf.RaggedTensor)) or tensor.dtype == tf.string:
            raise DataError(
                "a network takes dense numbers",
                where=f"preprocessing_fn: output '{name}'",
                got=type(tensor).__name__ if not hasattr(tensor, "dtype") else tensor.dtype.name,
                fix="make it dense, or text a vocabulary's index",
            )
        found[name] = int(np.prod(tensor.shape[1:]))
    return found
