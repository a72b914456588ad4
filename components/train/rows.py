"""A split as an estimator takes it: a matrix, targets and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.components.train.labels import Target
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import (
    DataError,
    MissingError,
    ParameterError,
    did_you_mean,
)
from kfp_suite.features.loading import Transform

BATCH_ROWS = 65_536
BALANCED = "balanced"
_COMPARED_ROWS = 65_536


@dataclass(frozen=True)
class Rows:
    """`matrix`: float32, shape (rows, features); `target`: class positions (int64) or
    float64, shape (rows,); `weight`: float64, shape (rows,), or None."""

    matrix: Any
    target: Any
    weight: Any = None

    def __len__(self) -> int:
        return len(self.target)


def rows_to_compare(train: Rows, judged: Rows | None) -> Any:
    """The matrix that a derived graph is proven on: up to 65,536 rows of eval, where there
    are some, and as many from all over train."""
    rows = train if judged is None else judged
    step = max(1, len(train) // _COMPARED_ROWS)
    parts = [rows.matrix[:_COMPARED_ROWS], train.matrix[::step][:_COMPARED_ROWS]]
    return np.ascontiguousarray(np.concatenate(parts))


def labels_of(data: Dataset, split: str, label: str) -> pa.ChunkedArray:
    """The labels of a split; null where a row has none (a NaN is none).

    Raises:
        MissingError: no such split or column.
        DataError: the split is empty or has no label at all.
    """
    known = [column.name for column in data.manifest.columns]
    if label not in known:
        raise MissingError(
            f"no label column '{label}'", where=data.path, fix=did_you_mean(label, known)
        )
    column = data.table(split, [label])[label]
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if column.null_count == len(column):
        raise DataError(
            "every label is null" if len(column) else f"split '{split}' has no rows",
            where=f"{data.path}: label '{label}'",
            fix="check the query and the split",
        )
    return column


def read_rows(
    data: Dataset,
    split: str,
    transform: Transform,
    target: Target,
    labels: pa.ChunkedArray,
    sample_weight: str,
) -> Rows:
    """The rows of a split that have a label of a known class.

    Raises:
        DataError: a value the transform cannot use, or a weight that is no weight.
        MissingError: no such column.
    """
    codes = target.encode(labels)
    kept = np.asarray(labels.is_valid())
    if target.task != "regression":
        kept &= codes >= 0
    inputs = [field.name for field in transform.inputs]
    matrix = np.empty((int(kept.sum()), len(transform.output_names)), np.float32)
    start = filled = 0
    for batch in data.batches(split, inputs, BATCH_ROWS):
        chosen = kept[start : start + batch.num_rows]
        start += batch.num_rows
        table = pa.Table.from_batches([batch])
        part = transform.transform(table if chosen.all() else table.filter(pa.array(chosen)))
        matrix[filled : filled + len(part)] = part
        filled += len(part)
    weight = _weights(data, split, sample_weight)[kept] if sample_weight else None
    return Rows(matrix, codes[kept], weight)


def _weights(data: Dataset, split: str, name: str) -> Any:
    types = {column.name: column.type for column in data.manifest.columns}
    place = f"{data.path}: sample_weight '{name}'"
    if name not in types:
        raise MissingError(f"no column '{name}'", where=place, fix=did_you_mean(name, types))
    if types[name] not in ("int64", "float64"):
        raise DataError("weights are numbers", where=place, got=types[name])
    weights = data.table(split, [name])[name].cast(pa.float64()).to_numpy()
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise DataError(
            "not weights",
            where=place,
            expected="finite numbers of at least 0, not all 0",
            fix="fill or drop such rows in ingest's SQL",
        )
    return weights


def class_weights(given: Mapping[str, Any], target: Target, codes: Any) -> Any:
    """The weight of each class, or None.

    Args:
        given: Class (as text) to weight; `{"balanced": true}` gives each class the same sum:
            rows / (classes * rows of the class), as scikit-learn's `balanced`.
        target: The classes.
        codes: The class position of each row.

    Raises:
        ParameterError: for regression, an unknown class or a weight that is not positive.
    """
    if not given:
        return None
    where = "class_weight"
    if target.task == "regression":
        raise ParameterError("numbers have no classes", where=where, fix="use sample_weight")
    counts = np.bincount(codes, minlength=len(target.classes))
    if dict(given) == {BALANCED: True}:
        return len(codes) / (len(counts) * counts)
    names = {_name(value): i for i, value in enumerate(target.classes)}
    weights = np.ones(len(names))
    for name, weight in given.items():
        if name not in names:
            raise ParameterError(
                f"unknown class '{name}'", where=where, fix=did_you_mean(name, names)
            )
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            raise ParameterError(
                "not a weight", where=f"{where}.{name}", got=weight, expected="a number above 0"
            )
        weights[names[name]] = weight
    return weights


def _name(value: str | int | bool) -> str:
    """A class as YAML and JSON write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
