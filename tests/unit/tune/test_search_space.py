"""The search space: what may be written, what a grid is, what is searched around a model."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from kfp_suite.components.train.tune.default_spaces import SPACES, space_around, space_of
from kfp_suite.components.train.tune.search_space import parse_space
from kfp_suite.components.train.tune.study import Sampler
from kfp_suite.contracts.errors import KfpSuiteError, ParameterError
from kfp_suite.models.estimators import ESTIMATORS, make_estimator


def test_a_grid_is_every_combination_in_order() -> None:
    space = parse_space(
        {
            "ridge": {"alpha": {"low": 0.0, "high": 1.0, "step": 0.5}},
            "lasso": {
                "alpha": [1.0, 2.5],
                "max_iter": {"type": "int", "low": 5, "high": 6, "step": 1},
            },
        }
    )
    assert [(one.estimator, dict(one.hyperparameters)) for one in space.grid()] == [
        ("ridge", {"alpha": 0.0}),
        ("ridge", {"alpha": 0.5}),
        ("ridge", {"alpha": 1.0}),
        ("lasso", {"alpha": 1, "max_iter": 5}),
        ("lasso", {"alpha": 1, "max_iter": 6}),
        ("lasso", {"alpha": 2.5, "max_iter": 5}),
        ("lasso", {"alpha": 2.5, "max_iter": 6}),
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "search_space: empty"),
        ({"ridge": 3}, "search_space.ridge: not a mapping"),
        ({"ridge": {"alpha": {"low": 1}}}, "search_space.ridge.alpha: missing key 'high'"),
        ({"ridge": {"alpha": {"low": 2, "high": 1}}}, "not a range"),
        ({"ridge": {"alpha": {"low": 0, "high": 1, "log": True}}}, "above 0 and has no step"),
        ({"ridge": {"alpha": {"type": "int", "low": 0.5, "high": 1}}}, "not whole numbers"),
        ({"ridge": {"alpha": {"low": 0, "hihg": 1}}}, "unknown key 'hihg'; did you mean 'high'?"),
        ({"ridge": {"alpha": []}}, "search_space.ridge.alpha: not allowed"),
    ],
)
def test_a_space_that_is_not_right_is_one_line(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parse_space(space)
    assert message in str(refused.value)


def test_a_grid_needs_steps() -> None:
    with pytest.raises(ParameterError, match=r"search_space.ridge.alpha: a grid needs steps"):
        parse_space({"ridge": {"alpha": {"low": 0, "high": 1}}}).grid()
    many = {"type": "int", "low": 1, "high": 1000, "step": 1}
    with pytest.raises(ParameterError, match="a grid of 1,000,000 trials"):
        parse_space({"mlp": {"a": many, "b": many}}).grid()


@pytest.mark.parametrize("name", SPACES)
def test_what_is_usual_is_what_the_estimator_takes(name: str) -> None:
    space = parse_space(space_of(name))
    sampler = Sampler("random", space, 0, 0, 1, lower_is_better=False, prune=False)
    task = "binary" if ESTIMATORS[name].classifier else "regression"
    for asked in sampler.ask(range(20), {}):
        made = asked.candidate
        make_estimator(made.estimator, task, made.hyperparameters, seed=0, threads=1)  # type: ignore[arg-type]


def test_no_usual_space_is_said_with_what_there_is() -> None:
    with pytest.raises(ParameterError, match="did you mean 'lightgbm'"):
        space_of("lightgmb")


def test_the_space_around_a_model_is_wider_and_keeps_what_is_no_number() -> None:
    given = {"learning_rate": 0.1, "max_leaf_nodes": 31, "loss": "log_loss", "max_features": 0.8}
    space = space_around("hist_gradient_boosting", given)["hist_gradient_boosting"]
    assert space["learning_rate"] == {"low": 0.025, "high": 0.4, "log": True}
    assert space["max_leaf_nodes"] == {"type": "int", "low": 7, "high": 124, "log": True}
    assert space["loss"] == "log_loss"
    assert space["max_features"]["high"] == 1.0
    assert space["min_samples_leaf"] == SPACES["hist_gradient_boosting"]["min_samples_leaf"]
    parse_space({"hist_gradient_boosting": space})


def test_a_share_of_one_is_no_count() -> None:
    space = parse_space(space_of("random_forest"))
    shares = space.estimators["random_forest"]["max_features"].grid()
    made = [
        make_estimator("random_forest", "binary", {"max_features": one}, seed=0, threads=1)
        for one in shares
    ]
    assert [type(one.max_features) for one in made] == [float] * 4
    around = space_around("random_forest", {"max_features": 1, "min_samples_leaf": 1})
    assert around["random_forest"]["max_features"] == {"low": 0.25, "high": 1.0, "log": True}
    assert around["random_forest"]["min_samples_leaf"]["type"] == "int"


@pytest.mark.parametrize(
    ("name", "hyperparameter", "given", "made"),
    [
        ("random_forest", "max_features", 1.0, 1.0),
        ("random_forest", "max_features", 3.0, 3),
        ("random_forest", "max_samples", 1.0, 1.0),
        ("random_forest", "min_samples_leaf", 1.0, 1),
        ("hist_gradient_boosting", "max_features", 1.0, 1.0),
        ("hist_gradient_boosting", "max_leaf_nodes", 31.0, 31),
        ("lightgbm", "colsample_bytree", 1.0, 1),
    ],
)
def test_what_kfp_made_of_a_number_is_undone(
    name: str, hyperparameter: str, given: float, made: float
) -> None:
    estimator = make_estimator(name, "binary", {hyperparameter: given}, seed=0, threads=1)
    found = estimator.get_params()[hyperparameter]
    assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(("jobs", "made"), [(None, 3), (-1, 3), (0, 3), (2, 2), ("all", "all")])
def test_the_number_of_threads_is_set_where_it_is_open(jobs: object, made: object) -> None:
    given = {"n_jobs": jobs}
    estimator = make_estimator("random_forest", "binary", given, seed=0, threads=3)
    assert estimator.n_jobs == made


def test_nothing_to_search_around() -> None:
    with pytest.raises(KfpSuiteError, match="nothing to search around 'dummy'"):
        space_around("dummy", {"strategy": "prior"})


def test_optuna_is_told_what_it_asked() -> None:
    """A value it has seen is of the same distribution: else it would refuse the next trial."""
    space = parse_space({**space_of("ridge"), "lasso": {"alpha": [0.1, 1.0], "max_iter": 500}})
    sampler = Sampler("tpe", space, 3, 0, 1, lower_is_better=True, prune=True)
    asked = sampler.ask(range(4), {})
    assert {one.candidate.estimator for one in asked} <= {"ridge", "lasso"}
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
