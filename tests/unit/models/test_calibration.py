"""Corrected probabilities: against scikit-learn's own, saved, and closer to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.models.calibration import (
    CALIBRATION,
    METHODS,
    Calibration,
    Method,
    fit_calibration,
    load_calibration,
)


def said(classes: int) -> tuple[Any, Any, Any, Any]:
    """An over-confident classifier on two halves of some rows."""
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(4_000, 1))
    matrix = np.hstack([shared + 0.1 * generator.normal(size=(4_000, 1)) for _ in range(6)])
    noisy = shared[:, 0] + generator.normal(size=4_000)
    target = np.digitize(noisy, [0] if classes == 2 else [-0.7, 0.7])
    model = GaussianNB().fit(matrix[:1_000], target[:1_000])
    half = slice(1_000, 2_500), slice(2_500, 4_000)
    return model, matrix, target, half


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_said_of_new_rows_is_closer_to_the_truth(method: Method, classes: int) -> None:
    model, matrix, target, (fitting, new) = said(classes)
    calibration = fit_calibration(
        method, model.predict_proba(matrix[fitting]), target[fitting], None
    )
    raw = model.predict_proba(matrix[new])
    better = calibration.apply(raw)
    assert better.sum(axis=1) == pytest.approx(1)
    assert log_loss(target[new], better) < 0.8 * log_loss(target[new], raw)


@pytest.mark.parametrize("classes", [2, 3])
def test_isotonic_is_that_of_scikit_learn(classes: int) -> None:
    model, matrix, target, (fitting, new) = said(classes)
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="isotonic")
    theirs.fit(matrix[fitting], target[fitting])
    ours = fit_calibration("isotonic", model.predict_proba(matrix[fitting]), target[fitting], None)
    expected = theirs.predict_proba(matrix[new])
    assert ours.apply(model.predict_proba(matrix[new])) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_weights_count(method: Method) -> None:
    model, matrix, target, (fitting, _) = said(2)
    probabilities = model.predict_proba(matrix[fitting])
    weight = np.where(target[fitting] == 1, 3.0, 1.0)
    plain = fit_calibration(method, probabilities, target[fitting], None).apply(probabilities)
    heavy = fit_calibration(method, probabilities, target[fitting], weight).apply(probabilities)
    assert heavy[:, 1].mean() > plain[:, 1].mean() + 0.1


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_is_what_is_loaded(method: Method, tmp_path: Path) -> None:
    model, matrix, target, (fitting, new) = said(3)
    probabilities = model.predict_proba(matrix[fitting])
    calibration = fit_calibration(method, probabilities, target[fitting], None)
    calibration.save(tmp_path)
    loaded = load_calibration(tmp_path)
    raw = model.predict_proba(matrix[new])
    assert np.array_equal(loaded.apply(raw), calibration.apply(raw))
    (tmp_path / CALIBRATION).write_text('{"method": "magic", "curves": []}')
    with pytest.raises(ParameterError, match="method"):
        load_calibration(tmp_path)


def _fitted(method: Method) -> Calibration:
    model, matrix, target, (fitting, _) = said(2)
    return fit_calibration(method, model.predict_proba(matrix[fitting]), target[fitting], None)


FITTED = {method: _fitted(method) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
@given(first=st.floats(0, 1, width=32), second=st.floats(0, 1, width=32))
def test_the_order_of_rows_is_kept(method: Method, first: float, second: float) -> None:
    low, high = sorted([first, second])
    found = FITTED[method].apply(np.array([[1 - low, low], [1 - high, high]]))
    assert 0 <= found[0, 1] <= found[1, 1] <= 1
