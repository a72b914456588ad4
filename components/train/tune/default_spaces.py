"""Default search spaces of the usual estimators.

They cover the hyperparameters that the libraries' own guides name as the first to tune; each
range is wide enough for tables of a thousand to some million rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.errors import ParameterError, did_you_mean

Space = Mapping[str, Any]

# Of few rows, a leaf or a neighbourhood is not most of them.
_PART: Space = {"share_of_rows": 0.1}
_TREES: Space = {
    "n_estimators": {"type": "int", "low": 100, "high": 500, "log": True},
    "max_features": [0.2, 0.4, 0.7, 1.0],
    "min_samples_leaf": {"type": "int", "low": 1, "high": 50, "log": True, **_PART},
}
SPACES: Mapping[str, Space] = {
    "hist_gradient_boosting": {
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "max_iter": {"type": "int", "low": 50, "high": 500, "log": True},
        "max_leaf_nodes": {"type": "int", "low": 7, "high": 127, "log": True},
        "min_samples_leaf": {"type": "int", "low": 5, "high": 200, "log": True, **_PART},
        "l2_regularization": {"low": 1e-3, "high": 10.0, "log": True},
    },
    "lightgbm": {
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "n_estimators": {"type": "int", "low": 50, "high": 500, "log": True},
        "num_leaves": {"type": "int", "low": 7, "high": 127, "log": True},
        "min_child_samples": {"type": "int", "low": 5, "high": 200, "log": True, **_PART},
        "reg_lambda": {"low": 1e-3, "high": 10.0, "log": True},
        "colsample_bytree": {"low": 0.4, "high": 1.0},
    },
    "xgboost": {
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "n_estimators": {"type": "int", "low": 50, "high": 500, "log": True},
        "max_depth": {"type": "int", "low": 3, "high": 10},
        "min_child_weight": {"low": 1.0, "high": 50.0, "log": True},
        "reg_lambda": {"low": 1e-3, "high": 10.0, "log": True},
        "colsample_bytree": {"low": 0.4, "high": 1.0},
        "subsample": {"low": 0.5, "high": 1.0},
    },
    "random_forest": _TREES,
    "extra_trees": _TREES,
    "logistic_regression": {"C": {"low": 1e-3, "high": 100.0, "log": True}},
    "ridge": {"alpha": {"low": 1e-3, "high": 1000.0, "log": True}},
    "lasso": {"alpha": {"low": 1e-4, "high": 10.0, "log": True}},
    "elastic_net": {
        "alpha": {"low": 1e-4, "high": 10.0, "log": True},
        "l1_ratio": {"low": 0.05, "high": 1.0},
    },
    "mlp": {
        "hidden_layer_sizes": [32, 64, 128, 256],
        "alpha": {"low": 1e-6, "high": 1e-1, "log": True},
        "learning_rate_init": {"low": 1e-4, "high": 1e-2, "log": True},
    },
    "k_neighbors": {
        "n_neighbors": {"type": "int", "low": 1, "high": 100, "log": True, **_PART},
        "weights": ["uniform", "distance"],
    },
    "svm": {"C": {"low": 1e-2, "high": 100.0, "log": True}},
}
_WIDER = 4.0


def space_of(estimator: str) -> dict[str, Any]:
    """The search space of an estimator, by itself.

    Raises:
        ParameterError: there is none for it.
    """
    if estimator not in SPACES:
        raise ParameterError(
            f"no search space for '{estimator}'",
            where="search_space",
            fix=f"write one; {did_you_mean(estimator, SPACES)}",
        )
    return {estimator: dict(SPACES[estimator])}


def space_around(estimator: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """A wider search space around a model: its numbers from a quarter to four times, within
    the bounds that fractions have; what it leaves to the default, as `space_of`.

    Raises:
        ParameterError: there is nothing to search.
    """
    known = SPACES.get(estimator, {})
    space: dict[str, Any] = dict(known)
    for name, value in hyperparameters.items():
        space[name] = _around(value, known.get(name))
    if not any(isinstance(one, (dict, list)) for one in space.values()):
        raise ParameterError(
            f"nothing to search around '{estimator}'", where="search_space", fix="write a space"
        )
    return {estimator: space}


def _has_part(usual: Any) -> bool:
    return isinstance(usual, Mapping) and "share_of_rows" in usual


def _around(value: Any, usual: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        return usual if isinstance(usual, list) and value in usual else value
    if isinstance(usual, list) and any(isinstance(one, float) for one in usual):
        value = float(value)  # KFP has written 1.0 as 1
    low, high = value / _WIDER, value * _WIDER
    if isinstance(usual, Mapping):
        whole, fraction = usual.get("type") == "int", not usual.get("log") and usual["high"] <= 1.0
    else:
        whole, fraction = isinstance(value, int), value <= 1.0 and isinstance(value, float)
    if whole:
        part = {"share_of_rows": usual["share_of_rows"]} if _has_part(usual) else {}
        top = {"high": math.ceil(high), "log": True}
        return {"type": "int", "low": max(1, math.floor(low)), **top, **part}
    return {"low": low, "high": min(high, 1.0) if fraction else high, "log": True}
