"""Score a split with a model, batch by batch, into what `metrics` measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from kfp_suite.components.evaluate.metrics import (
    BinaryScores,
    Floats,
    Integers,
    MulticlassScores,
    RegressionScores,
)
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import (
    ContractError,
    DataError,
    MissingError,
    did_you_mean,
)
from kfp_suite.contracts.model import ModelManifest

BATCH_ROWS = 65_536

Scores = BinaryScores | MulticlassScores | RegressionScores


class Prediction(Protocol):
    """A model's predictions of rows: class values or numbers, and probabilities of shape
    (rows, classes) if it has them."""

    @property
    def values(self) -> Any: ...

    @property
    def probabilities(self) -> Any: ...


class Predictor(Protocol):
    """A loaded model."""

    @property
    def manifest(self) -> ModelManifest: ...

    def predict(self, table: pa.Table) -> Prediction: ...


@dataclass(frozen=True)
class LabelledRows:
    """The rows of a split that have a label.

    `columns` holds the label and the slices' columns of those rows; `labelled` says which
    rows of the split they are.
    """

    dataset: Dataset
    split: str
    label: str
    columns: pa.Table
    labelled: np.ndarray[Any, np.dtype[np.bool_]]

    @property
    def unlabelled(self) -> int:
        """How many rows have none."""
        return int(len(self.labelled) - self.labelled.sum())


def read_rows(dataset: Dataset, split: str, label: str, columns: list[str]) -> LabelledRows:
    """The labelled rows of a split, with their label and `columns`.

    Raises:
        MissingError: no such split or label column.
        DataError: the split has no labelled row.
    """
    known = [column.name for column in dataset.manifest.columns]
    if label not in known:
        raise MissingError(
            f"no label column '{label}'", where=dataset.path, fix=did_you_mean(label, known)
        )
    table = dataset.table(split, list(dict.fromkeys([label, *columns])))
    labelled = np.asarray(table[label].is_valid())
    if pa.types.is_floating(table[label].type):
        labelled &= ~np.isnan(table[label].to_numpy())
    if not labelled.any():
        raise DataError(
            f"split '{split}' " + ("has no rows with a label" if len(table) else "is empty"),
            where=dataset.path,
            fix="give it rows in ingest's split, or evaluate on another split",
        )
    return LabelledRows(dataset, split, label, table.filter(pa.array(labelled)), labelled)


def score(model: Predictor, rows: LabelledRows) -> Scores:
    """The predictions of `model` for `rows`.

    Raises:
        MissingError: a column the model reads is not in the dataset.
        DataError: a label of a binary model that is neither of its classes.
        ContractError: predictions that are not finite, or not of the model's classes.
    """
    values, probabilities = _predict(model, rows)
    manifest, label = model.manifest, rows.columns[rows.label]
    if manifest.task == "regression":
        actual = np.asarray(label.cast(pa.float64()), dtype=np.float64)
        predicted = np.asarray(values, dtype=np.float64)
        _check_finite(predicted, rows)
        return RegressionScores(actual, predicted)
    predicted_codes = _codes(_array_values(values), manifest.classes)
    if (predicted_codes == len(manifest.classes)).any():
        raise ContractError(
            "the model predicted a class that its manifest does not name",
            where=rows.dataset.path,
            expected=f"one of {', '.join(map(str, manifest.classes))}",
        )
    codes = class_positions(label, manifest.classes)
    if probabilities is not None:
        _check_finite(probabilities, rows)
    if manifest.task == "multiclass":
        return MulticlassScores(codes, predicted_codes, probabilities, len(manifest.classes))
    if (codes > 1).any():
        unseen = label[int(np.argmax(codes > 1))].as_py()
        raise DataError(
            f"a value of label '{rows.label}' that the model was not trained on",
            where=f"{rows.dataset.path}: split {rows.split}",
            got=unseen,
            expected=f"one of {', '.join(map(str, manifest.classes))}",
            fix="drop or map such rows in ingest's SQL",
        )
    positive = None if probabilities is None else np.ascontiguousarray(probabilities[:, 1])
    return BinaryScores(codes == 1, predicted_codes == 1, positive)


def unseen_classes(model: ModelManifest, rows: LabelledRows) -> dict[str, int]:
    """Label values that a classifier was never trained on, and how many rows have each."""
    if model.task == "regression":
        return {}
    known = set(model.classes)
    counted = rows.columns[rows.label].value_counts()
    pairs = zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)
    return {str(value): count for value, count in pairs if value not in known}


def class_positions(labels: pa.ChunkedArray, classes: tuple[str | int | bool, ...]) -> Integers:
    """The position of each label in `classes`; their number for one that is not among them."""
    return _codes(_column_values(labels), classes)


def _predict(model: Predictor, rows: LabelledRows) -> tuple[Any, Floats | None]:
    columns = _input_columns(model.manifest, rows.dataset)
    values: list[Any] = []
    probabilities: list[Floats] = []
    start = 0
    for batch in rows.dataset.batches(rows.split, columns, BATCH_ROWS):
        labelled = rows.labelled[start : start + batch.num_rows]
        start += batch.num_rows
        table = pa.Table.from_batches([batch]).filter(pa.array(labelled))
        if not table.num_rows:
            continue
        prediction = model.predict(table)
        values.append(np.asarray(prediction.values))
        if prediction.probabilities is not None:
            probabilities.append(np.asarray(prediction.probabilities, dtype=np.float64))
    return np.concatenate(values), np.concatenate(probabilities) if probabilities else None


def _input_columns(manifest: ModelManifest, dataset: Dataset) -> list[str]:
    known = [column.name for column in dataset.manifest.columns]
    for field in manifest.signature.inputs:
        if field.required and field.name not in known:
            raise MissingError(
                f"no column '{field.name}', which the model reads",
                where=dataset.path,
                fix=did_you_mean(field.name, known),
            )
    return [field.name for field in manifest.signature.inputs if field.name in known]


def _codes(values: tuple[list[Any], Integers], classes: tuple[str | int | bool, ...]) -> Integers:
    """The position of each value in `classes`; their number for a value not among them."""
    distinct, inverse = values
    positions: Mapping[Any, int] = {value: i for i, value in enumerate(classes)}
    return np.array([positions.get(v, len(classes)) for v in distinct], np.int64)[inverse]


def _column_values(column: pa.ChunkedArray) -> tuple[list[Any], Integers]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)


def _array_values(values: Any) -> tuple[list[Any], Integers]:
    distinct, inverse = np.unique(values, return_inverse=True)
    return distinct.tolist(), inverse


def _check_finite(predicted: Floats, rows: LabelledRows) -> None:
    if not np.isfinite(predicted).all():
        raise ContractError(
            "the model predicted a value that is not finite",
            where=f"{rows.dataset.path}: split {rows.split}",
            fix="check the features for infinities, and the model's training",
        )


def class_name(value: str | int | bool) -> str:
    """A class as people and JSON write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
