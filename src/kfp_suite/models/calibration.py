"""Calibration of probabilities, fitted on the eval split and applied when serving.

`sigmoid` is Platt scaling (Platt 1999) on the log-odds: a logistic regression of the class
on logit(p), two numbers a class; for few eval rows. `isotonic` is isotonic regression
(Zadrozny and Elkan 2002): the non-decreasing curve of least squares; for a thousand rows
or more. Of two classes the second is corrected; of several each against the others, after
which a row is scaled to sum to 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kfp_suite.contracts.canonical import read_json, write_json
from kfp_suite.contracts.parameters import parse

CALIBRATION = "calibration.json"
Method = Literal["isotonic", "sigmoid"]
METHODS: tuple[Method, ...] = ("isotonic", "sigmoid")
# Log-odds of probabilities of 0 and 1 would be infinite.
_MIN_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Curve:
    """From a probability to the corrected one.

    isotonic: straight lines between the points (x[i], y[i]), flat outside them.
    sigmoid: 1 / (1 + exp(-(x[0] * logit(p) + y[0]))).
    """

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """One curve for two classes, one a class for more."""

    method: Method
    curves: tuple[Curve, ...]

    def apply(self, probabilities: Any) -> Any:
        """The corrected probabilities, float64.

        Args:
            probabilities: Shape (rows, classes).
        """
        if len(self.curves) == 1:
            second = self._on(self.curves[0], probabilities[:, 1])
            return np.stack([1 - second, second], axis=1)
        found = np.stack(
            [self._on(curve, probabilities[:, i]) for i, curve in enumerate(self.curves)], axis=1
        )
        total = found.sum(axis=1, keepdims=True)
        even = np.full_like(found, 1 / len(self.curves))
        return np.divide(found, total, out=even, where=total > 0)

    def _on(self, curve: Curve, probability: Any) -> Any:
        if self.method == "isotonic":
            return np.interp(np.asarray(probability, np.float64), curve.x, curve.y)
        return 1 / (1 + np.exp(-(curve.x[0] * _log_odds(probability) + curve.y[0])))

    def save(self, folder: Path) -> None:
        """Write `calibration.json`."""
        write_json(folder / CALIBRATION, asdict(self))


def load_calibration(folder: Path) -> Calibration:
    """Read `calibration.json`.

    Raises:
        MissingError, ContractError: it is missing, or not JSON.
        ParameterError: it was not written by `save`.
    """
    return parse(Calibration, read_json(folder / CALIBRATION), str(folder / CALIBRATION))


def fit_calibration(method: Method, probabilities: Any, target: Any, weight: Any) -> Calibration:
    """Fit on rows that the estimator was not fitted on.

    Args:
        method: `isotonic` or `sigmoid`.
        probabilities: The estimator's; shape (rows, classes).
        target: The position of each row's class.
        weight: The rows' weights; None: 1 each.
    """
    classes = probabilities.shape[1]
    fit = _isotonic if method == "isotonic" else _sigmoid
    of = [1] if classes == 2 else range(classes)
    return Calibration(
        method, tuple(fit(probabilities[:, i].astype(float), target == i, weight) for i in of)
    )


def _isotonic(probability: Any, positive: Any, weight: Any) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1).fit(probability, positive, weight)
    return Curve(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _sigmoid(probability: Any, positive: Any, weight: Any) -> Curve:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(_log_odds(probability)[:, None], positive, weight)
    return Curve((float(fitted.coef_[0, 0]),), (float(fitted.intercept_[0]),))


def _log_odds(probability: Any) -> Any:
    p = np.clip(np.asarray(probability, np.float64), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return np.log(p / (1 - p))
