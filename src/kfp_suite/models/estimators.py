"""Estimators by name: the class of `estimator: random_forest`, for example, for each task."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.model import Framework, Task
from kfp_suite.contracts.parameters import whole_numbers


@dataclass(frozen=True)
class EstimatorKind:
    """Import paths of a named estimator; "" for a task that it does not do."""

    classifier: str = ""
    regressor: str = ""
    framework: Framework = "sklearn"

    def path(self, task: Task) -> str:
        """The import path for a task, "" for none."""
        return self.regressor if task == "regression" else self.classifier


def _sklearn(module: str, classifier: str = "", regressor: str = "") -> EstimatorKind:
    prefix = f"sklearn.{module}."
    return EstimatorKind(
        prefix + classifier if classifier else "", prefix + regressor if regressor else ""
    )


ESTIMATORS: Mapping[str, EstimatorKind] = {
    "ada_boost": _sklearn("ensemble", "AdaBoostClassifier", "AdaBoostRegressor"),
    "decision_tree": _sklearn("tree", "DecisionTreeClassifier", "DecisionTreeRegressor"),
    "dummy": _sklearn("dummy", "DummyClassifier", "DummyRegressor"),
    "elastic_net": _sklearn("linear_model", "", "ElasticNet"),
    "extra_trees": _sklearn("ensemble", "ExtraTreesClassifier", "ExtraTreesRegressor"),
    "gaussian_naive_bayes": _sklearn("naive_bayes", "GaussianNB"),
    "gradient_boosting": _sklearn(
        "ensemble", "GradientBoostingClassifier", "GradientBoostingRegressor"
    ),
    "hist_gradient_boosting": _sklearn(
        "ensemble", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor"
    ),
    "k_neighbors": _sklearn("neighbors", "KNeighborsClassifier", "KNeighborsRegressor"),
    "lasso": _sklearn("linear_model", "", "Lasso"),
    "lightgbm": EstimatorKind("lightgbm.LGBMClassifier", "lightgbm.LGBMRegressor", "lightgbm"),
    "linear_regression": _sklearn("linear_model", "", "LinearRegression"),
    "logistic_regression": _sklearn("linear_model", "LogisticRegression"),
    "mlp": _sklearn("neural_network", "MLPClassifier", "MLPRegressor"),
    "random_forest": _sklearn("ensemble", "RandomForestClassifier", "RandomForestRegressor"),
    "ridge": _sklearn("linear_model", "RidgeClassifier", "Ridge"),
    "sgd": _sklearn("linear_model", "SGDClassifier", "SGDRegressor"),
    "svm": _sklearn("svm", "SVC", "SVR"),
    "xgboost": EstimatorKind("xgboost.XGBClassifier", "xgboost.XGBRegressor", "xgboost"),
}

# Overrides of library defaults that do not fit.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # scikit-learn's "auto" splits the train rows at random, unasked.
    "hist_gradient_boosting": {"early_stopping": False},
    "lightgbm": {"verbose": -1, "deterministic": True, "force_row_wise": True},
    "logistic_regression": {"max_iter": 1000},
}

# Parameters of xgboost.train that its scikit-learn interface does not list: aliases, and
# settings of single boosters and objectives.
_XGBOOST_NAMES = frozenset(
    [
        "alpha",
        "aft_loss_distribution",
        "aft_loss_distribution_scale",
        "eta",
        "huber_slope",
        "lambda",
        "lambdarank_bias_norm",
        "lambdarank_normalization",
        "lambdarank_num_pair_per_sample",
        "lambdarank_pair_method",
        "lambdarank_unbiased",
        "max_cached_hist_node",
        "min_split_loss",
        "ndcg_exp_gain",
        "normalize_type",
        "nthread",
        "one_drop",
        "process_type",
        "quantile_alpha",
        "rate_drop",
        "refresh_leaf",
        "sample_type",
        "seed",
        "seed_per_iteration",
        "skip_drop",
        "top_k",
        "tweedie_variance_power",
        "updater",
        "disable_default_eval_metric",
        "extmem_single_page",
        "feature_selector",
        "num_class",
    ]
)

_PARALLEL = {"extra_trees", "k_neighbors", "lightgbm", "random_forest", "xgboost"}


def make_estimator(
    name: str, task: Task, hyperparameters: Mapping[str, Any], *, seed: int, threads: int
) -> Any:
    """A new estimator.

    Args:
        name: One of `ESTIMATORS`, or the import path of a scikit-learn estimator class.
        task: The task of the model.
        hyperparameters: Its keyword arguments. Whole floats become integers, since KFP has only
            floats; but 1 stays 1.0 (all of them) for parameters that are a count or a share.
        seed: Its `random_state`, if it has one that is not given.
        threads: Its `n_jobs`, if it trains on several and that is not given, or -1.

    Raises:
        ParameterError: an unknown name or hyperparameter, or an estimator that does not do
            the task.
    """
    kind = _import(_path(name, task))
    check_hyperparameters(name, task, hyperparameters)
    known = inspect.signature(kind).parameters
    given = {**_DEFAULTS.get(name, {}), **_shares(kind, whole_numbers(dict(hyperparameters)))}
    if "random_state" in known:
        given.setdefault("random_state", seed)
    if name in _PARALLEL and _is_open(given.get("n_jobs")):
        given["n_jobs"] = threads
    try:
        return kind(**given)
    except Exception as error:
        raise ParameterError(
            f"{name} does not take these hyperparameters",
            where="hyperparameters",
            got=f"{type(error).__name__}: {error}",
        ) from error


def _is_open(jobs: object) -> bool:
    """Whether `n_jobs` is not given, or means as many as there are."""
    return not jobs or (isinstance(jobs, (int, float)) and jobs < 0)


def check_estimator(name: str, task: Task) -> None:
    """Check an estimator with its usual hyperparameters, without the import of its library.

    Args:
        name: One of `ESTIMATORS`.
        task: The task of the model.

    Raises:
        ParameterError: an unknown name, an estimator that does not do the task, or one whose
            library is not installed.
    """
    path = _path(name, task)
    if importlib.util.find_spec(path.partition(".")[0]) is None:
        _import(path)  # raises with the reason


def check_hyperparameters(name: str, task: Task, hyperparameters: Mapping[str, Any]) -> None:
    """Check the names of hyperparameters; no data is needed.

    Args:
        name: As `make_estimator`.
        task: The task of the model.
        hyperparameters: Its keyword arguments.

    Raises:
        ParameterError: an unknown estimator or hyperparameter, with the near miss.
    """
    kind = _import(_path(name, task))
    known = _known_hyperparameters(kind)
    for key in hyperparameters:
        if known is not None and key not in known:
            raise ParameterError(
                f"unknown hyperparameter '{key}' of {name}",
                where="hyperparameters",
                fix="give it as the parameter class_weight"
                if key == "class_weight"
                else did_you_mean(key, known),
            )


def _known_hyperparameters(kind: Any) -> set[str] | None:
    """The names that an estimator's class takes; None if they are unknown."""
    parameters = inspect.signature(kind).parameters
    named = {name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    if len(named) == len(parameters):
        return named
    # The scikit-learn interfaces of these two take any keyword, and ignore unknown ones.
    framework = kind.__module__.partition(".")[0]
    if framework == "xgboost":
        return named | set(kind().get_params()) | _XGBOOST_NAMES
    if framework == "lightgbm":
        from lightgbm.basic import _ConfigAliases

        aliases = _ConfigAliases._get_all_param_aliases()
        return named | set(kind().get_params()) | set(aliases) | set().union(*aliases.values())
    return None


def _shares(kind: Any, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """1 as 1.0 for parameters that scikit-learn reads as a share if they are floats."""
    constraints = getattr(kind, "_parameter_constraints", {})
    return {
        key: 1.0 if value == 1 and any(map(_is_share, constraints.get(key, ()))) else value
        for key, value in hyperparameters.items()
    }


def _is_share(constraint: Any) -> bool:
    kind = getattr(constraint, "type", None)
    return getattr(kind, "__name__", "") == "RealNotInt" and 1.0 in constraint


def framework_of(estimator: object) -> Framework:
    """The library a fitted estimator comes from."""
    package = type(estimator).__module__.partition(".")[0]
    return "xgboost" if package == "xgboost" else "lightgbm" if package == "lightgbm" else "sklearn"


def _path(name: str, task: Task) -> str:
    if "." in name:
        return name
    if name not in ESTIMATORS:
        raise ParameterError(
            f"unknown estimator '{name}'", where="estimator", fix=did_you_mean(name, ESTIMATORS)
        )
    path = ESTIMATORS[name].path(task)
    if not path:
        able = [other for other, kind in ESTIMATORS.items() if kind.path(task)]
        raise ParameterError(
            f"{name} does not do {task}", where="estimator", fix=f"use one of {', '.join(able)}"
        )
    return path


def _import(path: str) -> Any:
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # the import of a user's package may fail in any way
        raise ParameterError(
            f"cannot import '{path}'",
            where="estimator",
            got=f"{type(error).__name__}: {error}",
            fix="install the package in the image of this step, and of the server",
        ) from error
    if not (isinstance(found, type) and hasattr(found, "fit") and hasattr(found, "predict")):
        raise ParameterError(
            f"'{path}' is not an estimator",
            where="estimator",
            expected="a class with fit(X, y) and predict(X)",
        )
    return found
