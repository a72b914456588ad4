"""Metrics of a scored split, all under many row weights at once.

A `Scored` split holds what a model said of each row; `measure` takes weights of shape
(resamples, rows) and gives, for every metric, an array of shape (resamples,). Weights of 1
give the plain metric, the counts of a bootstrap resample give that resample's. An undefined
metric (ROC AUC if there is one class) is NaN. Definitions are scikit-learn's unless said
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kfp_suite.contracts.model import Task

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Better = Literal["higher", "lower", "none"]

CALIBRATION_BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. (2017)."""
MAX_CLASSES_FOR_ROC = 30
"""One-versus-rest ROC AUC takes time in proportion to the classes; beyond these it is left out."""
RESIDUAL_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

BINARY: Mapping[str, Better] = {
    "roc_auc": "higher",
    "average_precision": "higher",
    "log_loss": "lower",
    "brier": "lower",
    "calibration_error": "lower",
    "accuracy": "higher",
    "balanced_accuracy": "higher",
    "precision": "higher",
    "recall": "higher",
    "f1": "higher",
    "mcc": "higher",
    "prevalence": "none",
    "predicted_positive_rate": "none",
}
MULTICLASS: Mapping[str, Better] = {
    "accuracy": "higher",
    "balanced_accuracy": "higher",
    "f1_macro": "higher",
    "f1_weighted": "higher",
    "precision_macro": "higher",
    "precision_weighted": "higher",
    "recall_macro": "higher",
    "recall_weighted": "higher",
    "mcc": "higher",
    "log_loss": "lower",
    "roc_auc_ovr": "higher",
    "top_2_accuracy": "higher",
    "top_3_accuracy": "higher",
    "top_5_accuracy": "higher",
    "calibration_error": "lower",
}
REGRESSION: Mapping[str, Better] = {
    "rmse": "lower",
    "mae": "lower",
    "median_ae": "lower",
    "r2": "higher",
    "mape": "lower",
    "bias": "none",
}
METRICS: Mapping[Task, Mapping[str, Better]] = {
    "binary": BINARY,
    "multiclass": MULTICLASS,
    "regression": REGRESSION,
}
"""The metrics of each task, in the order reports show them, and which way is better."""
PRIMARY: Mapping[Task, str] = {
    "binary": "roc_auc",
    "multiclass": "f1_macro",
    "regression": "rmse",
}
"""What champion and challenger are compared by, unless the user says."""
NEEDS_PROBABILITIES = frozenset(
    {
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier",
        "calibration_error",
        "roc_auc_ovr",
        "top_2_accuracy",
        "top_3_accuracy",
        "top_5_accuracy",
    }
)
SHARES = frozenset(
    {name for of in (BINARY, MULTICLASS) for name, better in of.items() if better == "higher"}
) - {"mcc"}
"""Metrics from 0 to 1, of which 1 means that nothing was wrong."""
TOP_K = {"top_2_accuracy": 2, "top_3_accuracy": 3, "top_5_accuracy": 5}


class Scored(Protocol):
    """What a model said of the rows of a split."""

    @property
    def rows(self) -> int:
        """How many rows."""

    def take(self, rows: Integers) -> Scored:
        """The rows at these positions."""

    def measure(self, weights: Floats) -> dict[str, Floats]:
        """Every metric that applies, for each of the weightings."""

    def why_undefined(self, metric: str) -> str:
        """Why `metric` has no value on these rows."""

    def support(self, metric: str) -> int:
        """How many rows a share rests on; of several shares, the fewest."""


@dataclass(frozen=True)
class BinaryScores:
    """Two classes: `actual` and `predicted` (bool) say whether a row is of the second one,
    `probability` (0 to 1) how likely the model held that."""

    actual: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    probability: Floats | None

    @property
    def rows(self) -> int:
        return len(self.actual)

    def take(self, rows: Integers) -> BinaryScores:
        probability = None if self.probability is None else self.probability[rows]
        return BinaryScores(self.actual[rows], self.predicted[rows], probability)

    def measure(self, weights: Floats) -> dict[str, Floats]:
        cells = _sums(2 * self.actual.astype(np.int64) + self.predicted, 4, weights)
        tn, fp, fn, tp = cells.T
        total, positive, flagged = cells.sum(axis=1), tp + fn, tp + fp
        recall, specificity = _ratio(tp, positive), _ratio(tn, tn + fp)
        found = {
            "accuracy": _ratio(tp + tn, total),
            "balanced_accuracy": (recall + specificity) / 2,
            "precision": _ratio(tp, flagged),
            "recall": recall,
            "f1": _ratio(2 * tp, positive + flagged),
            "mcc": _ratio(
                tp * tn - fp * fn,
                np.sqrt(positive) * np.sqrt(flagged) * np.sqrt(tn + fp) * np.sqrt(tn + fn),
            ),
            "prevalence": _ratio(positive, total),
            "predicted_positive_rate": _ratio(flagged, total),
        }
        if self.probability is not None:
            truth, ranked = self.actual.astype(np.float64), self._ranked
            assert ranked is not None
            positives, negatives = ranked.at_scores(weights)
            found |= {
                "roc_auc": roc_area(positives, negatives),
                "average_precision": average_precision(positives, negatives),
                "log_loss": _mean(self._row_loss, weights),
                "brier": _mean((self.probability - truth) ** 2, weights),
                "calibration_error": _calibration_error(self.probability, truth, weights),
            }
        return {name: found[name] for name in BINARY if name in found}

    def why_undefined(self, metric: str) -> str:
        if self.probability is None and metric in NEEDS_PROBABILITIES:
            return "the model gives no probabilities"
        if metric == "precision":
            return "no row was predicted positive"
        if self.actual.all() or not self.actual.any():
            return "the rows are all of one class"
        return "only one class was predicted"

    def support(self, metric: str) -> int:
        positive, flagged = int(self.actual.sum()), int(self.predicted.sum())
        if metric in ("roc_auc", "balanced_accuracy"):
            return min(positive, self.rows - positive)
        if metric in ("recall", "f1", "average_precision"):
            return positive
        return flagged if metric == "precision" else self.rows

    @cached_property
    def _ranked(self) -> Ranking | None:
        return None if self.probability is None else Ranking.of(self.probability, self.actual)

    @cached_property
    def _row_loss(self) -> Floats:
        assert self.probability is not None
        of_truth = np.where(self.actual, self.probability, 1 - self.probability)
        return _log_loss_of(of_truth)


@dataclass(frozen=True)
class MulticlassScores:
    """Several classes, by their position in `classes`.

    `actual` may be `len(classes)`: a class the model was never trained on, which counts as
    one more class, never predicted. `probabilities` has shape (rows, classes).
    """

    actual: Integers
    predicted: Integers
    probabilities: Floats | None
    classes: int

    @property
    def rows(self) -> int:
        return len(self.actual)

    def take(self, rows: Integers) -> MulticlassScores:
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return MulticlassScores(
            self.actual[rows], self.predicted[rows], probabilities, self.classes
        )

    def measure(self, weights: Floats) -> dict[str, Floats]:
        size = self.classes + 1
        support = _sums(self.actual, size, weights)
        guessed = _sums(self.predicted, size, weights)
        right = _sums(self.actual, size, weights * (self.actual == self.predicted))
        total = support.sum(axis=1)
        present = support > 0
        judged = present | (guessed > 0)
        recall = _ratio(right, support, empty=0.0)
        precision = _ratio(right, guessed, empty=0.0)
        f1 = _ratio(2 * right, support + guessed, empty=0.0)
        accuracy = _ratio(right.sum(axis=1), total)
        share = _ratio(support, total[:, None])
        covariance = right.sum(axis=1) * total - (support * guessed).sum(axis=1)
        spread = np.sqrt(total**2 - (guessed**2).sum(axis=1)) * np.sqrt(
            total**2 - (support**2).sum(axis=1)
        )
        found = {
            "accuracy": accuracy,
            "balanced_accuracy": _mean_where(recall, present),
            "f1_macro": _mean_where(f1, judged),
            "f1_weighted": (f1 * share).sum(axis=1),
            "precision_macro": _mean_where(precision, judged),
            "precision_weighted": (precision * share).sum(axis=1),
            "recall_macro": _mean_where(recall, judged),
            "recall_weighted": (recall * share).sum(axis=1),
            "mcc": _ratio(covariance, spread),
        }
        if self.probabilities is not None:
            found["log_loss"] = _mean(self._row_loss, weights)
            found["calibration_error"] = _calibration_error(
                self.probabilities.max(axis=1),
                (self.probabilities.argmax(axis=1) == self.actual).astype(np.float64),
                weights,
            )
            if self.classes <= MAX_CLASSES_FOR_ROC:
                areas = np.stack([roc_area(*r.at_scores(weights)) for r in self._rankings], axis=1)
                found["roc_auc_ovr"] = _mean_where(areas, ~np.isnan(areas))
            for name, k in TOP_K.items():
                if k < self.classes:
                    found[name] = _mean((self._rank_of_truth < k).astype(np.float64), weights)
        return {name: found[name] for name in MULTICLASS if name in found}

    def why_undefined(self, metric: str) -> str:
        if self.probabilities is None and metric in NEEDS_PROBABILITIES:
            return "the model gives no probabilities"
        if metric in TOP_K:
            return f"there are {self.classes} classes only"
        if metric == "roc_auc_ovr" and self.classes > MAX_CLASSES_FOR_ROC:
            return f"left out beyond {MAX_CLASSES_FOR_ROC} classes"
        return "the rows are all of one class"

    def support(self, metric: str) -> int:
        if metric.endswith("_weighted") or metric == "accuracy" or metric in TOP_K:
            return self.rows
        counts = np.bincount(self.actual)
        return int(counts[counts > 0].min())

    def confusion(self) -> Integers:
        """Counts of shape (classes + 1, classes + 1): actual by predicted."""
        size = self.classes + 1
        cells = np.bincount(self.actual * size + self.predicted, minlength=size * size)
        return cells.reshape(size, size)

    @cached_property
    def _rankings(self) -> list[Ranking]:
        assert self.probabilities is not None
        return [Ranking.of(self.probabilities[:, k], self.actual == k) for k in range(self.classes)]

    @cached_property
    def _row_loss(self) -> Floats:
        assert self.probabilities is not None
        return _log_loss_of(_pick(self.probabilities, self.actual))

    @cached_property
    def _rank_of_truth(self) -> Integers:
        """How many classes the model held likelier than the true one (ties: the later)."""
        assert self.probabilities is not None
        order = np.argsort(self.probabilities, axis=1, kind="stable")[:, ::-1]
        hit = order == self.actual[:, None]
        return np.where(hit.any(axis=1), hit.argmax(axis=1), self.classes)


@dataclass(frozen=True)
class RegressionScores:
    """Numbers: `actual` and `predicted`, finite."""

    actual: Floats
    predicted: Floats

    @property
    def rows(self) -> int:
        return len(self.actual)

    @property
    def residuals(self) -> Floats:
        """Predicted minus actual."""
        return self.predicted - self.actual

    def take(self, rows: Integers) -> RegressionScores:
        return RegressionScores(self.actual[rows], self.predicted[rows])

    def measure(self, weights: Floats) -> dict[str, Floats]:
        """The median counts weights as repeated rows, so they are whole numbers here."""
        residuals = self.residuals
        squared = _mean(residuals**2, weights)
        total = weights.sum(axis=1)
        centre = _mean(self.actual, weights)
        # Around one fixed centre first: the plain sum of squares cancels for large labels.
        shifted = self.actual - self.actual.mean()
        variance = _mean(shifted**2, weights) - (centre - self.actual.mean()) ** 2
        spread = np.where(self.actual.max() > self.actual.min(), variance, 0.0)
        return {
            "rmse": np.sqrt(squared),
            "mae": _mean(np.abs(residuals), weights),
            "median_ae": _median(np.abs(residuals), weights, total),
            "r2": 1 - _ratio(squared, spread),
            "mape": _mean(np.abs(residuals) / np.abs(self.actual), weights)
            if self.actual.all()
            else np.full(len(weights), np.nan),
            "bias": _mean(residuals, weights),
        }

    def why_undefined(self, metric: str) -> str:
        if metric == "mape":
            return "the label is 0 in some rows"
        return "the label is the same in all rows"

    def support(self, metric: str) -> int:
        return self.rows


@dataclass(frozen=True)
class Ranking:
    """Rows by falling score, and where each run of equal scores starts."""

    order: Integers
    positive: Floats
    starts: Integers

    @classmethod
    def of(cls, scores: Floats, positive: NDArray[np.bool_]) -> Ranking:
        order = np.argsort(-scores, kind="stable")
        starts = np.append(0, np.flatnonzero(np.diff(scores[order])) + 1)
        return cls(order, positive[order].astype(np.float64), starts)

    def at_scores(self, weights: Floats) -> tuple[Floats, Floats]:
        """The weight of positives and of negatives at each distinct score, falling."""
        ranked = weights[:, self.order]
        positive = ranked * self.positive
        negative = ranked - positive
        if len(self.starts) < len(self.order):
            positive = np.add.reduceat(positive, self.starts, axis=1)
            negative = np.add.reduceat(negative, self.starts, axis=1)
        return positive, negative


def roc_area(positive: Floats, negative: Floats) -> Floats:
    """The area under the ROC curve, by trapezoids: a tie counts half (Mann-Whitney)."""
    above = np.cumsum(positive, axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    above -= positive / 2
    return _ratio(np.einsum("bi,bi->b", negative, above), pairs)


def average_precision(positive: Floats, negative: Floats) -> Floats:
    """Precision at each score, weighted by the recall gained there."""
    found = np.cumsum(positive, axis=1)
    flagged = np.cumsum(negative, axis=1)
    flagged += found
    # Before the first row of any weight nothing is flagged, and nothing found.
    np.maximum(flagged, np.finfo(np.float64).tiny, out=flagged)
    precision = np.divide(found, flagged, out=flagged)
    return _ratio(np.einsum("bi,bi->b", positive, precision), positive.sum(axis=1))


def _sums(codes: Integers, size: int, weights: Floats) -> Floats:
    """The weight of each code, of shape (resamples, size)."""
    return np.stack([np.bincount(codes, row, size) for row in weights])


def _mean(values: Floats, weights: Floats) -> Floats:
    mean: Floats = (weights @ values) / weights.sum(axis=1)
    return mean


def _ratio(top: Floats, bottom: Floats, empty: float = np.nan) -> Floats:
    """`top / bottom`, and `empty` where bottom is 0."""
    bottom = np.broadcast_to(bottom, np.shape(top))
    ratio: Floats = np.divide(top, bottom, out=np.full(np.shape(top), empty), where=bottom != 0)
    return ratio


def _mean_where(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """The mean of each row's chosen values."""
    return _ratio(np.where(chosen, values, 0.0).sum(axis=1), chosen.sum(axis=1))


def _log_loss_of(probability: Floats) -> Floats:
    """Minus the logarithm, clipped where scikit-learn clips: at the float's precision."""
    epsilon = np.finfo(np.float64).eps
    loss: Floats = -np.log(np.clip(probability, epsilon, 1 - epsilon))
    return loss


def _pick(probabilities: Floats, actual: Integers) -> Floats:
    """The probability of each row's own class; 0 for a class that was never trained on."""
    rows, classes = probabilities.shape
    picked = probabilities[np.arange(rows), np.minimum(actual, classes - 1)]
    return np.where(actual < classes, picked, 0.0)


def _calibration_error(confidence: Floats, right: Floats, weights: Floats) -> Floats:
    """Expected calibration error: |mean confidence - share right| over equal-width bins."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = _sums(bins, CALIBRATION_BINS, weights * (confidence - right))
    return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def _median(values: Floats, weights: Floats, total: Floats) -> Floats:
    """The median of values repeated by whole weights; the middle two averaged."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    reached = np.cumsum(weights[:, order], axis=1)
    medians = [
        (
            ranked[np.searchsorted(row, (n - 1) // 2, side="right")]
            + ranked[np.searchsorted(row, n // 2, side="right")]
        )
        / 2
        for row, n in zip(reached, total, strict=True)
    ]
    return np.asarray(medians)
