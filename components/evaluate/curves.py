"""The points behind the curves of a report: ROC, precision and recall, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfp_suite.components.evaluate.metrics import BinaryScores, Floats, Ranking, RegressionScores

MAX_POINTS = 200
CALIBRATION_GROUPS = 10


@dataclass(frozen=True)
class Curve:
    """Points in order; `thresholds` are the scores they belong to, all finite."""

    x: list[float]
    y: list[float]
    thresholds: list[float]


def roc_curve(scores: BinaryScores) -> Curve | None:
    """False against true positive rate from (0, 0) to (1, 1); None if undefined.

    A row is called positive where its probability is at least the threshold; the first
    point's is just above the highest probability.
    """
    if scores.probability is None or scores.actual.all() or not scores.actual.any():
        return None
    thresholds, true, false = _counts(scores)
    first = float(np.nextafter(thresholds[0], np.inf))
    x = np.concatenate([[0.0], false / false[-1]])
    y = np.concatenate([[0.0], true / true[-1]])
    return _thinned(x, y, np.concatenate([[first], thresholds]))


def precision_recall_curve(scores: BinaryScores) -> Curve | None:
    """Recall against precision, from the highest score down; None if undefined."""
    if scores.probability is None or not scores.actual.any():
        return None
    thresholds, true, false = _counts(scores)
    return _thinned(true / true[-1], true / (true + false), thresholds)


@dataclass(frozen=True)
class Groups:
    """Rows in groups of about equal size by what was predicted: the mean prediction, the
    mean of what was, and an interval of that mean."""

    predicted: list[float]
    actual: list[float]
    low: list[float]
    high: list[float]


def calibration(scores: BinaryScores, z: float) -> Groups | None:
    """Mean probability against the share of positives, with Wilson intervals of +/- `z`."""
    if scores.probability is None:
        return None
    predicted, actual, low, high = [], [], [], []
    for rows in _equal_groups(scores.probability):
        n, share = len(rows), float(scores.actual[rows].mean())
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        predicted.append(float(scores.probability[rows].mean()))
        actual.append(share)
        low.append(max(0.0, float(centre - half)))
        high.append(min(1.0, float(centre + half)))
    return Groups(predicted, actual, low, high)


def fit_by_size(scores: RegressionScores) -> Groups:
    """Mean prediction against mean label, with the middle half of the labels as the range."""
    groups = Groups([], [], [], [])
    for rows in _equal_groups(scores.predicted, 20):
        low, high = np.quantile(scores.actual[rows], [0.25, 0.75])
        groups.predicted.append(float(scores.predicted[rows].mean()))
        groups.actual.append(float(scores.actual[rows].mean()))
        groups.low.append(float(low))
        groups.high.append(float(high))
    return groups


def _equal_groups(values: Floats, most: int = CALIBRATION_GROUPS) -> list[np.ndarray]:
    """Positions by rising value, cut in at most `most` groups; equal values stay together."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    cuts = {int(np.searchsorted(ranked, ranked[len(order) * i // most])) for i in range(1, most)}
    return [rows for rows in np.split(order, sorted(cuts - {0})) if len(rows)]


def _counts(scores: BinaryScores) -> tuple[Floats, Floats, Floats]:
    """The distinct probabilities, falling, and the true and false positives from there up."""
    assert scores.probability is not None
    ranking = Ranking.of(scores.probability, scores.actual)
    positive, negative = ranking.at_scores(np.ones((1, scores.rows)))
    thresholds = scores.probability[ranking.order][ranking.starts]
    return thresholds, np.cumsum(positive[0]), np.cumsum(negative[0])


def _thinned(x: Floats, y: Floats, thresholds: Floats) -> Curve:
    """At most `MAX_POINTS` points, evenly spaced along the curve's own length."""
    if len(x) > MAX_POINTS:
        length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        at = np.searchsorted(length, np.linspace(0, length[-1], MAX_POINTS))
        keep = np.unique(np.concatenate([[0], np.minimum(at, len(x) - 1)]))[:MAX_POINTS]
        keep[-1] = len(x) - 1
        x, y, thresholds = x[keep], y[keep], thresholds[keep]
    return Curve(x.tolist(), y.tolist(), thresholds.tolist())
