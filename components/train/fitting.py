"""Fit an estimator: by name, or by the user's own function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from kfp_suite.components.train.labels import Target, check_precision
from kfp_suite.components.train.rows import Rows
from kfp_suite.contracts.errors import DataError, ParameterError, did_you_mean
from kfp_suite.features.precision import rounding_of
from kfp_suite.models.estimators import framework_of, make_estimator
from kfp_suite.models.user_modules import describe_failure, mend_module

FUNCTION = "fit"
# In standard deviations of the labels. Linear models of scikit-learn round labels to the type
# of the matrix: with more than this, they are given one of 64 bits.
_EXACT = 1e-6


@dataclass(frozen=True)
class Training:
    """The argument of a user's `fit(training)`.

    `train` and `eval` hold `matrix` (float32, shape (rows, features)), `target` (class
    positions in `classes`, or numbers) and `weight` (or None); `eval` is None if the
    dataset has no such split. Seed whatever is random with `seed`.
    """

    train: Rows
    eval: Rows | None
    task: str
    classes: tuple[str | int | bool, ...]
    feature_names: tuple[str, ...]
    hyperparameters: Mapping[str, Any]
    seed: int
    threads: int


def fit_named(name: str, training: Training, early_stopping: int) -> Any:
    """An estimator by name, fitted.

    Args:
        name: See `make_estimator`.
        training: Rows and settings.
        early_stopping: Rounds without a better score on the eval split before it stops;
            0: off.

    Raises:
        ParameterError: an estimator without early stopping, or no eval split for it.
        DataError: the estimator refuses the rows.
    """
    target = Target(training.task, training.classes)  # type: ignore[arg-type]
    estimator = make_estimator(
        name, target.task, training.hyperparameters, seed=training.seed, threads=training.threads
    )
    extra = _early_stopping(estimator, name, training, early_stopping) if early_stopping else {}
    train = training.train
    if train.weight is not None:
        extra["sample_weight"] = train.weight
    matrix = train.matrix
    if target.task == "regression":
        if framework_of(estimator) != "sklearn":
            check_precision(train.target, name)
        elif rounding_of(train.target).loss > _EXACT:
            matrix = matrix.astype(np.float64)
    try:
        return estimator.fit(matrix, train.target, **extra)
    except Exception as error:
        raise DataError(
            f"{name} could not be fitted",
            where=f"{len(train):,} rows of split train",
            got=f"{type(error).__name__}: {error}",
            fix=_advice(str(error)),
        ) from error


def _advice(said: str) -> str:
    """The fix for an estimator's error about the rows."""
    if "class_weight" in said:
        return "give it as the parameter class_weight, not as a hyperparameter"
    return "see the transform's report: impute and scale what the estimator needs"


def _early_stopping(estimator: Any, name: str, training: Training, rounds: int) -> dict[str, Any]:
    """Set the estimator up, and return the further arguments of its `fit`."""
    if training.eval is None or not len(training.eval):
        raise ParameterError(
            "early stopping needs rows to judge by",
            where="early_stopping",
            got=rounds,
            fix="give ingest's split an eval part, or set early_stopping to 0",
        )
    judged = training.eval
    framework = framework_of(estimator)
    if framework == "xgboost":
        estimator.set_params(early_stopping_rounds=rounds)
        return {"eval_set": [(judged.matrix, judged.target)], "verbose": False}
    if framework == "lightgbm":
        import lightgbm

        return {
            "eval_set": [(judged.matrix, judged.target)],
            "callbacks": [lightgbm.early_stopping(rounds, verbose=False)],
        }
    if type(estimator).__name__.startswith("HistGradientBoosting"):
        estimator.set_params(early_stopping=True, n_iter_no_change=rounds)
        return {"X_val": judged.matrix, "y_val": judged.target}
    raise ParameterError(
        f"{name} has no early stopping on a split of its own",
        where="early_stopping",
        got=rounds,
        expected="0",
        fix="use hist_gradient_boosting, xgboost or lightgbm",
    )


def fit_by_module(module: ModuleType, training: Training) -> Any:
    """The return value of the user's `fit(training)`.

    Raises:
        ParameterError: no such function, or it failed.
    """
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        functions = [name for name, value in vars(module).items() if callable(value)]
        raise ParameterError(
            f"no function '{FUNCTION}(training)'",
            where="module_file",
            fix=did_you_mean(FUNCTION, functions),
        )
    try:
        estimator = function(training)
    except (Exception, SystemExit) as error:
        raise ParameterError(
            f"{FUNCTION}(training) failed",
            where="module_file",
            got=describe_failure(error),
            fix=mend_module(error),
        ) from error
    return estimator
