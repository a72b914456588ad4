"""The label column: the task that it implies, and its values as the target of an estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.contracts.errors import DataError, ParameterError
from kfp_suite.contracts.model import Task
from kfp_suite.features.precision import MAX_LOSS, rounding_of

TASKS = ("auto", "binary", "multiclass", "regression")
MAX_CLASSES = 1000


@dataclass(frozen=True)
class Target:
    """The target: the task and, for classification, the classes in their order."""

    task: Task
    classes: tuple[str | int | bool, ...] = ()

    def encode(self, column: pa.ChunkedArray) -> Any:
        """The column as class positions (int64), -1 for a class never seen in training, or
        as float64. Without nulls."""
        if self.task == "regression":
            return column.cast(pa.float64()).to_numpy()
        classes = pa.array(self.classes, column.type)
        return pc.fill_null(pc.index_in(column, classes), -1).to_numpy().astype(np.int64)


def target_of(label: str, column: pa.ChunkedArray, task: str, where: str) -> Target:
    """The target of the labels in the train split.

    Args:
        label: The label column's name.
        column: Its values, without nulls.
        task: `auto`, `binary`, `multiclass` or `regression`. `auto`: a boolean or string
            is classified, two integers are two classes, a float is a number.
        where: The dataset, for errors.

    Raises:
        ParameterError: an unknown task, one that the column's type does not do, or integers
            where `auto` cannot tell.
        DataError: labels that are constant, infinite or too many to be classes.
    """
    if task not in TASKS:
        raise ParameterError("not allowed", where="task", got=task, expected=" or ".join(TASKS))
    place = f"{where}: label '{label}'"
    kind = column.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        raise DataError(
            "a date cannot be a label",
            where=place,
            fix="make it a class or a number in ingest's SQL",
        )
    distinct = pc.unique(column)
    _check_varied(distinct, column, place)
    chosen = _auto(kind, len(distinct), place) if task == "auto" else task
    if chosen == "regression":
        if pa.types.is_string(kind):
            raise ParameterError(
                "text cannot be predicted as a number", where=place, fix="set task to multiclass"
            )
        return Target("regression")
    if pa.types.is_floating(kind):
        raise ParameterError(
            f"a float cannot be a class of a {chosen} model",
            where=place,
            fix="cast it to an integer or text in ingest's SQL, or set task to regression",
        )
    if len(distinct) > MAX_CLASSES:
        raise DataError(
            "too many classes",
            where=place,
            got=len(distinct),
            expected=f"at most {MAX_CLASSES}",
            fix="group them in ingest's SQL",
        )
    if chosen == "binary" and len(distinct) != 2:
        raise DataError(
            "not a binary label",
            where=place,
            got=f"{len(distinct)} values",
            expected="2 values",
            fix="set task to multiclass",
        )
    classes = tuple(sorted(distinct.to_pylist()))
    return Target("binary" if len(classes) == 2 else "multiclass", classes)


def check_precision(target: Any, learner: str) -> None:
    """Refuse labels whose differences would be lost in 32-bit floats.

    Args:
        target: Numeric labels, float64.
        learner: The learner, for the error.

    Raises:
        DataError: more than a thousandth of their standard deviation is lost.
    """
    rounding = rounding_of(target)
    if rounding.loss > MAX_LOSS:
        raise DataError(
            f"the labels are too close together for 32-bit floats, in which {learner} learns them",
            where="label",
            got=rounding,
            expected=f"a rounding of at most {MAX_LOSS:g} standard deviations",
            fix="subtract a constant in ingest's SQL, or train hist_gradient_boosting",
        )


def _check_varied(distinct: pa.Array, column: pa.ChunkedArray, place: str) -> None:
    if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column)).as_py():
        raise DataError(
            "the label is infinite in some rows",
            where=place,
            expected="finite numbers",
            fix="drop or cap those rows in ingest's SQL",
        )
    if len(distinct) < 2:
        raise DataError(
            "the label is constant",
            where=place,
            got=distinct[0].as_py(),
            expected="at least two values in split train",
            fix="check the query and the split",
        )


def _auto(kind: pa.DataType, distinct: int, place: str) -> str:
    if pa.types.is_floating(kind):
        return "regression"
    if pa.types.is_integer(kind) and distinct > 2:
        raise ParameterError(
            "integers may be classes or numbers",
            where=place,
            got=f"{distinct} values",
            fix="set task to multiclass or regression",
        )
    return "binary" if distinct == 2 else "multiclass"
