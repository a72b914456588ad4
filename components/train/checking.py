"""Checks of a fitted estimator: that it predicts, and predicts the task's own classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfp_suite.components.train.fitting import FUNCTION, Training
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.models.loading import FittedEstimator

_TRIED_ROWS = 256
_POSITIONS = "fit on training.train.target: it holds each class's position in training.classes"


def check_fitted(estimator: Any, training: Training, by_module: bool) -> None:
    """Check an estimator on some rows of train.

    Args:
        estimator: The fitted estimator.
        training: The rows it was fitted on.
        by_module: Whether the user's own `fit(training)` returned it.

    Raises:
        ParameterError: it is a class and not an object, was not fitted, is for another task,
            knows other classes, or its predictions are not valid.
    """
    where = "module_file" if by_module else "estimator"
    what = f"{FUNCTION}(training) returned" if by_module else "it is"
    name = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
    if isinstance(estimator, type) or not hasattr(estimator, "predict"):
        raise ParameterError(
            f"{what} no fitted estimator",
            where=where,
            got=f"the class {name}" if isinstance(estimator, type) else name,
            expected="an object with predict(X), and predict_proba(X) for probabilities",
        )
    _check_kind(estimator, training, where, f"{what} an estimator", name)
    known = getattr(estimator, "classes_", None)
    if training.task != "regression" and known is not None:
        expected = np.arange(len(training.classes))
        if not np.array_equal(np.asarray(known), expected):
            raise ParameterError(
                f"{what} an estimator of other classes",
                where=where,
                got=f"classes_ {', '.join(map(str, np.asarray(known).tolist()))}",
                expected=f"{', '.join(map(str, expected.tolist()))}",
                fix=_POSITIONS,
            )
    rows = training.train.matrix[:_TRIED_ROWS]
    try:
        scores = FittedEstimator(estimator, training.task).scores(rows)
    except Exception as error:
        raise ParameterError(
            f"{what} an estimator that does not predict",
            where=where,
            got=f"{name}: {type(error).__name__}: {error}",
            fix="return it fitted, for rows of the matrix it was fitted on",
        ) from error
    check_scores(scores, training, len(rows), where, f"{what} an estimator that predicts")


def check_scores(scores: Any, training: Training, rows: int, where: str, what: str) -> None:
    """Check predictions: of the right shape, finite, and of classes there are.

    Args:
        scores: As `FittedEstimator.scores` gives them.
        training: The task and its classes.
        rows: The number of rows that were predicted.
        where: The parameter at fault, if they are not right.
        what: Subject and verb of the error, such as "the estimator predicts".

    Raises:
        ParameterError: they are not.
    """
    classes = len(training.classes)
    shapes = [(rows,)] if training.task == "regression" else [(rows,), (rows, classes)]
    if scores.shape not in shapes:
        raise ParameterError(
            f"{what} another shape",
            where=where,
            got=scores.shape,
            expected=" or ".join(map(str, shapes)),
        )
    if scores.dtype.kind not in "fiub" or not np.isfinite(scores).all():
        raise ParameterError(
            f"{what} a value that is not a finite number",
            where=where,
            got=_first_not_finite(scores),
            fix="check the features for missing values and infinities, and the training",
        )
    if training.task == "regression":
        return
    if scores.ndim == 1 and not np.isin(scores, np.arange(classes)).all():
        raise ParameterError(
            f"{what} an unknown class",
            where=where,
            got=scores[~np.isin(scores, np.arange(classes))][0].item(),
            expected=f"0 to {classes - 1}",
            fix=_POSITIONS,
        )
    if scores.ndim == 2 and (scores.min() < -1e-6 or scores.max() > 1 + 1e-6):
        raise ParameterError(
            f"{what} a value that is not a probability",
            where=where,
            got=float(scores.min() if scores.min() < 0 else scores.max()),
            expected="0 to 1",
        )


def _check_kind(estimator: Any, training: Training, where: str, what: str, name: str) -> None:
    from sklearn.base import is_classifier, is_regressor

    if not hasattr(estimator, "__sklearn_tags__"):  # its kind is unknown
        return
    regression = training.task == "regression"
    if (is_regressor if not regression else is_classifier)(estimator):
        raise ParameterError(
            f"{what} of another task",
            where=where,
            got=name,
            expected="a regressor" if regression else "a classifier",
            fix="use the other kind, or set task",
        )


def _first_not_finite(scores: Any) -> object:
    if scores.dtype.kind not in "fiub":
        return repr(scores.ravel()[0])
    return float(scores[~np.isfinite(scores)][0])
