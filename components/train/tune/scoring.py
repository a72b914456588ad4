"""The scores of trials: scikit-learn's metrics on rows that a trial was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kfp_suite.components.train.fitting import Training, fit_named
from kfp_suite.components.train.rows import Rows
from kfp_suite.components.train.tune.search_space import Candidate
from kfp_suite.contracts.errors import DataError, ParameterError, did_you_mean
from kfp_suite.contracts.model import Task
from kfp_suite.models.loading import FittedEstimator

_RUNGS = (1 / 9, 1 / 3, 1.0)
"""The parts of train that a trial judged on eval is fitted on, one after the other."""
_MIN_ROWS = 1000
"""Of a part: what is good for many rows is not seen on fewer."""
Measure = Callable[[Any, Any], float]


@dataclass(frozen=True)
class Metric:
    """A metric of a task. `of`: its input: predictions, the positive class's probability, all
    probabilities, or any ranking score."""

    name: str
    measure: str
    of: str = "prediction"
    options: tuple[tuple[str, Any], ...] = ()


def _metrics(*metrics: Metric) -> Mapping[str, Metric]:
    return {metric.name: metric for metric in metrics}


_LOG_LOSS = Metric("log_loss", "log_loss", "probabilities")
METRICS: Mapping[Task, Mapping[str, Metric]] = {
    "binary": _metrics(
        Metric("roc_auc", "roc_auc_score", "ranking"),
        Metric("average_precision", "average_precision_score", "ranking"),
        _LOG_LOSS,
        Metric("brier", "brier_score_loss", "probability"),
        Metric("accuracy", "accuracy_score"),
        Metric("f1", "f1_score"),
    ),
    "multiclass": _metrics(
        Metric("f1_macro", "f1_score", options=(("average", "macro"),)),
        _LOG_LOSS,
        Metric("accuracy", "accuracy_score"),
    ),
    "regression": _metrics(
        Metric("rmse", "root_mean_squared_error"),
        Metric("mae", "mean_absolute_error"),
        Metric("r2", "r2_score"),
    ),
}
"""By task; the first of each is what a search without one is for, as evaluate compares."""


def metric_of(name: str, task: Task) -> Metric:
    """The metric called `name`, or the task's own.

    Raises:
        ParameterError: the task has no such metric.
    """
    known = METRICS[task]
    if not name:
        return next(iter(known.values()))
    if name not in known:
        raise ParameterError(
            f"unknown metric '{name}' of a {task} model",
            where="metric",
            fix=did_you_mean(name, known),
        )
    return known[name]


@dataclass(frozen=True)
class Step:
    """A step of every trial: row positions of train to fit on, and to be judged on; `judged`
    None: the eval split."""

    fitted: Any
    judged: Any = None


def steps_of(training: Training, folds: int, seed: int, groups: Any = None) -> list[Step]:
    """The folds of a cross-validation over train; or, with 0 folds, growing parts of train,
    each judged on eval.

    Args:
        training: The rows.
        folds: How many; 0 for growing parts.
        seed: What they are drawn by.
        groups: Of each row of train, the number of its group, which no fold cuts; None: rows
            stand for themselves.

    Raises:
        ParameterError: one fold, more than a class has rows or than there are groups, or no
            eval split to judge by.
    """
    rows = len(training.train)
    if folds == 0:
        if training.eval is None or not len(training.eval):
            raise ParameterError(
                "there is no eval split to judge by",
                where="folds",
                got=0,
                fix="give ingest's split an eval part, or cross-validate: folds=5",
            )
        order = np.random.default_rng(seed).permutation(rows)
        counts = [round(rows * part) for part in _RUNGS]
        return [
            Step(np.sort(order[:count])) for count in counts if count >= _MIN_ROWS or count == rows
        ]
    if not 2 <= folds <= rows:
        raise ParameterError(
            "out of range", where="folds", got=folds, expected=f"0, or 2 to {rows}"
        )
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    classes = training.task != "regression"
    if classes and (fewest := np.bincount(training.train.target).min()) < folds:
        raise ParameterError(
            "a class has fewer rows than there are folds",
            where="folds",
            got=folds,
            expected=f"at most {fewest}",
        )
    if groups is not None and (count := len(np.unique(groups))) < folds:
        raise ParameterError(
            "fewer groups of the split's key than folds",
            where="folds",
            got=folds,
            expected=f"at most {count}",
        )
    if groups is None:
        kind = StratifiedKFold if classes else KFold
    else:
        kind = StratifiedGroupKFold if classes else GroupKFold
    parts = kind(folds, shuffle=True, random_state=seed)
    target = training.train.target
    return [Step(fit, judged) for fit, judged in parts.split(np.zeros(rows), target, groups)]


@dataclass(frozen=True)
class Score:
    """The score of a step; None if the candidate could not be fitted, with the reason."""

    value: float | None
    why: str = ""


def score(
    training: Training, candidate: Candidate, step: Step, metric: Metric, early_stopping: int
) -> Score:
    """Fit a candidate on one core, and judge it.

    Raises:
        ParameterError: a hyperparameter that the estimator does not take.
    """
    import threadpoolctl

    judged = training.eval if step.judged is None else _rows(training.train, step.judged)
    assert judged is not None
    part = replace(
        training,
        train=_rows(training.train, step.fitted),
        eval=judged,
        hyperparameters=candidate.hyperparameters,
        threads=1,
    )
    with threadpoolctl.threadpool_limits(1):
        try:
            estimator = fit_named(candidate.estimator, part, early_stopping)
            return Score(_measure(estimator, judged, part, metric))
        except ParameterError:
            raise
        except DataError as error:
            return Score(None, str(error))
        except Exception as error:  # an estimator may raise errors of its own
            return Score(None, f"{type(error).__name__}: {error}")


def _measure(estimator: Any, judged: Rows, part: Training, metric: Metric) -> float:
    import sklearn.metrics

    if metric.of == "prediction":
        said = np.asarray(estimator.predict(judged.matrix))
    elif metric.of == "ranking" and not hasattr(estimator, "predict_proba"):
        if not hasattr(estimator, "decision_function"):
            raise DataError("the estimator has no scores that rank", where=metric.name)
        said = np.asarray(estimator.decision_function(judged.matrix))
    else:
        said = FittedEstimator(estimator, part.task).scores(judged.matrix)
        if said.ndim == 1:
            raise DataError("the estimator has no probabilities", where=metric.name)
        said = said if metric.of == "probabilities" else said[:, 1]
    options = dict(metric.options)
    if metric.of == "probabilities":
        options["labels"] = list(range(said.shape[1]))
    value = float(getattr(sklearn.metrics, metric.measure)(judged.target, said, **options))
    if not np.isfinite(value):
        raise DataError("the metric is not defined on these rows", where=metric.name, got=value)
    return value


def _rows(rows: Rows, positions: Any) -> Rows:
    weight = None if rows.weight is None else rows.weight[positions]
    return Rows(rows.matrix[positions], rows.target[positions], weight)
