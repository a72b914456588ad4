"""Trials are kept when they end, the same everywhere, and the best of them is found."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.train.training_data import read_inputs
from kfp_suite.components.train.tune import executor
from kfp_suite.components.train.tune.best.executor import best_trial
from kfp_suite.components.train.tune.default_spaces import SPACES
from kfp_suite.components.train.tune.executor import TuneParameters, tune
from kfp_suite.components.train.tune.plan.executor import PlanParameters, plan_trials
from kfp_suite.components.train.tune.scoring import METRICS
from kfp_suite.components.train.tune.search_space import Range, parse_space
from kfp_suite.components.train.tune.study import (
    Sampler,
    Study,
    Trial,
    lower_is_better,
    rank_trials,
)
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.errors import DataError, KfpSuiteError, ParameterError
from kfp_suite.stores.sources import parse_sources, pin
from tests.steps import STEPS, write_source

SPACE = {
    "logistic_regression": {"C": {"low": 1e-4, "high": 10.0, "log": True}},
    "decision_tree": {"max_depth": {"type": "int", "low": 1, "high": 6}, "criterion": ["gini"]},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_source(folder)
    for name in ("resolve", "ingest", "transform"):
        STEPS[name](folder, folder)
    return folder


@pytest.fixture
def parameters(tmp_path: Path) -> TuneParameters:
    return TuneParameters(
        label="late",
        search_space=SPACE,
        trials=12,
        folds=3,
        store=str(tmp_path / "store"),
        model_name="rows",
    )


def run(parameters: TuneParameters, made: Path, output: Path) -> list[Trial]:
    study = tune(parameters, made / "dataset", made / "transform", output)
    written = json.loads((output / "trials.json").read_text())
    kept = {trial.name: trial for trial in study.trials()}
    assert [json.loads(json.dumps(asdict(kept[one["name"]]))) for one in written] == written
    return [kept[one["name"]] for one in written]


@pytest.mark.parametrize("search", ["tpe", "random"])
def test_the_same_search_gives_the_same_trials_on_any_number_of_cores(
    search: str,
    parameters: TuneParameters,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = run(replace(parameters, search=search), made, tmp_path / "one")
    assert len(first) == 12
    monkeypatch.setattr(executor, "available_cpus", lambda: 1)
    other = replace(parameters, search=search, store=str(tmp_path / "other"))
    assert run(other, made, tmp_path / "two") == first


def test_a_search_that_was_killed_goes_on_where_it_was(
    parameters: TuneParameters, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(replace(parameters, store=str(tmp_path / "whole")), made, tmp_path / "whole-out")
    kept: list[str] = []
    keep = Study.keep

    def killed(study: Study, trial: Trial) -> None:
        if len(kept) == 5:
            raise KeyboardInterrupt
        keep(study, trial)
        kept.append(trial.name)

    monkeypatch.setattr(Study, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        run(parameters, made, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    scored: list[str] = []
    run_batch = executor._run

    def counted(batch: Any, *rest: Any) -> Any:
        scored.extend(asked.name for asked in batch)
        return run_batch(batch, *rest)

    monkeypatch.setattr(Study, "keep", keep)
    monkeypatch.setattr(executor, "_run", counted)
    assert run(parameters, made, tmp_path / "out") == whole
    assert not set(scored) & set(kept)


@pytest.mark.parametrize("estimator", ["svm", "ridge"])
def test_what_ranks_is_searched_for_without_probabilities(
    estimator: str, parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    asked = replace(parameters, search_space={estimator: SPACES[estimator]}, trials=2)
    found = run(asked, made, tmp_path / "ranked")
    assert [trial.value for trial in found if trial.value is None or trial.value <= 0.5] == []
    brier = run(replace(asked, metric="brier"), made, tmp_path / "brier")
    assert {trial.why for trial in brier} == {"brier: the estimator has no probabilities"}


def test_more_trials_keep_those_there_are(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    few = run(replace(parameters, trials=8), made, tmp_path / "few")
    more = run(parameters, made, tmp_path / "more")
    assert more[:8] == few
    assert len(more) == 12


def test_another_search_is_another_study(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    uris = {
        tune(
            replace(parameters, trials=1, **more),
            made / "dataset",
            made / "transform",
            tmp_path / "out",
        ).uri
        for more in ({}, {"seed": 1}, {"folds": 2}, {"metric": "accuracy"}, {"prune": False})
    }
    assert len(uris) == 5


def test_shards_of_a_grid_are_the_grid(
    made: Path, parameters: TuneParameters, tmp_path: Path
) -> None:
    space = {"decision_tree": {"max_depth": [1, 2, 3, 4, 5], "criterion": ["gini", "entropy"]}}
    plan = plan_trials(PlanParameters(space, search="grid", trials=0, shards=3), tmp_path / "plan")
    assert [shard["count"] for shard in plan] == [4, 3, 3]
    found = []
    for shard in plan:
        part = replace(
            parameters,
            search="grid",
            search_space=shard["search_space"],
            trials=shard["count"],
            shard=shard["shard"],
            shards=shard["shards"],
            prune=False,
        )
        found += run(part, made, tmp_path / f"shard-{shard['shard']}")
    tried = {(t.hyperparameters["max_depth"], t.hyperparameters["criterion"]) for t in found}
    assert tried == {(d, c) for d in (1, 2, 3, 4, 5) for c in ("gini", "entropy")}


def test_what_is_hopeless_is_given_up(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    any_seed = {"random_state": {"type": "int", "low": 0, "high": 10**6}}
    bad_and_good = {
        "decision_tree": {"max_depth": [3, 4, 5], **any_seed},
        "sklearn.tree.DecisionTreeClassifier": any_seed,
        "dummy": {"strategy": ["prior"], **any_seed},
    }
    given = replace(parameters, search="random", search_space=bad_and_good, trials=40)
    trials = run(given, made, tmp_path / "out")
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned
    assert {trial.estimator for trial in pruned} == {"dummy"}
    assert all(len(trial.scores) == 1 and trial.value is None for trial in pruned)
    without = run(replace(given, prune=False), made, tmp_path / "without")
    assert {trial.state for trial in without} == {"complete"}


def test_a_search_tries_what_it_starts_from_and_does_not_end_below_it(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    # Of this space, nothing is as good as what it starts from, which is outside of it.
    fixed = {"max_depth": 1, "min_samples_leaf": 250}
    space = {"decision_tree": {**fixed, "criterion": ["gini", "entropy"]}}
    start = {"max_depth": 6.0, "min_samples_leaf": 2.0}
    given = replace(
        parameters, search_space=space, trials=6, estimator="decision_tree", hyperparameters=start
    )
    first, *others = run(given, made, tmp_path / "out")
    assert first.hyperparameters == {"max_depth": 6, "min_samples_leaf": 2}
    assert first.state == "complete"
    uri = tune(given, made / "dataset", made / "transform", tmp_path / "again").uri
    best = best_trial([uri], tmp_path / "best", tmp_path / "best.html")
    assert best.name == first.name
    assert best.value is not None
    assert all(trial.value is None or trial.value < best.value for trial in others)
    # Without hyperparameters it is the library's defaults, with what the space fixes.
    plain = replace(given, hyperparameters={}, estimator="", trials=1)
    (only,) = run(plain, made, tmp_path / "plain")
    assert (only.estimator, only.hyperparameters) == ("decision_tree", fixed)


def _trial(name: str, hyperparameters: dict[str, Any], value: float | None) -> Trial:
    return Trial(name, "decision_tree", hyperparameters, "complete", "log_loss", (), value)


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        ({"type": "int", "low": 2, "high": 8, "step": 2}, [2, 8, 4.0], [1, 9, 10, 5, 4.5]),
        ({"low": 0.0, "high": 1.0, "step": 0.25}, [0, 0.75, 1.0], [-0.25, 1.25, 0.3]),
        ({"low": 0.001, "high": 1.0, "log": True}, [0.001, 0.5, 1], [0, 1.001, math.nan]),
        (["a", "b", None], ["a", None], ["c", 1]),
    ],
)
def test_optuna_learns_of_the_trials_within_the_space(
    dimension: Any, inside: list[Any], outside: list[Any]
) -> None:
    space = parse_space({"decision_tree": {"a": dimension, "b": ["x"]}})
    sampler = Sampler("tpe", space, 0, 0, 1, lower_is_better=True, prune=False)
    values = [*inside, *outside, "text", [1]]
    finished = {
        trial.name: trial
        for number, value in enumerate(values)
        for trial in [_trial(f"0-{number:04}", {"a": value}, 0.5)]
    }
    finished["0-0100"] = _trial("0-0100", {}, 0.5)
    (asked,) = sampler.ask([len(values)], finished)
    known = asked._study.get_trials(deepcopy=False)[:-1]
    assert [trial.params["decision_tree.a"] for trial in known] == inside


def test_a_trial_that_optuna_refuses_ends_the_search() -> None:
    space = parse_space({"decision_tree": {"max_depth": [1, 2]}})
    sampler = Sampler("tpe", space, 0, 0, 1, lower_is_better=True, prune=False)
    without_value = _trial("0-0000", {"max_depth": 1}, None)
    with pytest.raises(ValueError, match="set for a complete trial"):
        sampler.ask([1], {without_value.name: without_value})


def test_a_candidate_is_fitted_once(
    parameters: TuneParameters, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []
    run_batch = executor._run

    def counted(batch: Any, *rest: Any) -> Any:
        fitted.extend(asked.name for asked in batch)
        return run_batch(batch, *rest)

    monkeypatch.setattr(executor, "_run", counted)
    space = {"decision_tree": {"max_depth": [1, 2, 3]}}
    trials = run(replace(parameters, search_space=space, prune=False), made, tmp_path / "out")
    assert len(trials) == 12
    assert len(fitted) <= 4  # three, and the library's default
    values: dict[Any, set[Any]] = {}
    for trial in trials:
        values.setdefault(trial.hyperparameters.get("max_depth"), set()).add(trial.value)
    assert all(len(found) == 1 for found in values.values())


def test_a_grid_has_no_more_trials_than_combinations(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    space = {"decision_tree": {"max_depth": [1, 2, 3]}}
    given = replace(parameters, search="grid", search_space=space, trials=5)
    with pytest.raises(ParameterError, match="more trials than the grid has combinations; got 5;"):
        run(given, made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_leaves_of_few_rows_are_not_most_of_them(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    usual = {"hist_gradient_boosting": SPACES["hist_gradient_boosting"]}
    assert usual["hist_gradient_boosting"]["min_samples_leaf"]["high"] == 200
    rows = len(read_inputs(parameters, made / "dataset", made / "transform").training.train)
    space = parse_space(usual).of_rows(rows)
    found = space.estimators["hist_gradient_boosting"]["min_samples_leaf"]
    assert isinstance(found, Range)
    assert (found.low, found.high) == (5, rows // 10)
    assert rows < 400


def test_folds_keep_the_groups_of_the_split_together(tmp_path: Path) -> None:
    """The label is one of each group's, and the features tell the group: of a new group nothing
    is known, so an honest score is that of chance."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    features = generator.normal(size=(60, 3))[groups] + 1e-3 * generator.normal(size=(600, 3))
    late = generator.random(60) < 0.5
    lines = ["g,a,b,c,late"]
    lines += [
        f"{group},{a},{b},{c},{str(bool(late[group])).lower()}"
        for group, (a, b, c) in zip(groups, features, strict=True)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    sources = parse_sources({"t": str(tmp_path / "rows.csv")})
    ingest(
        IngestParameters(split={"by": "hash", "key": ["g"], "eval": 0.0, "test": 0.2}),
        {name: pin(name, source) for name, source in sources.items()},
        tmp_path / "dataset",
        tmp_path / "preview",
    )
    transform(
        TransformParameters(features={"features": ["a", "b", "c"]}, label="late"),
        tmp_path / "dataset",
        tmp_path / "transform",
        tmp_path / "report",
    )
    given = TuneParameters(
        label="late",
        search_space={"decision_tree": {"max_depth": [8]}},
        trials=1,
        folds=5,
        store=str(tmp_path / "store"),
        model_name="grouped",
    )
    study = tune(given, tmp_path / "dataset", tmp_path / "transform", tmp_path / "out")
    (trial,) = study.trials()
    assert trial.value is not None
    assert trial.value < 0.75


def test_a_trial_that_cannot_be_fitted_is_a_record_too(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    space = {"k_neighbors": {"n_neighbors": [5, 100_000]}}
    given = replace(parameters, search="grid", search_space=space, trials=2)
    good, bad = run(given, made, tmp_path / "out")
    assert (good.state, bad.state) == ("complete", "failed")
    assert "Expected n_neighbors <= n_samples_fit" in bad.why


def test_a_hyperparameter_that_is_none_ends_the_search(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    given = replace(parameters, search_space={"ridge": {"alhpa": [1.0]}})
    with pytest.raises(ParameterError, match="did you mean 'alpha'"):
        run(given, made, tmp_path / "out")


def test_judged_on_eval_a_small_table_is_fitted_whole(
    parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    trials = run(replace(parameters, folds=0), made, tmp_path / "out")
    assert {len(trial.scores) for trial in trials} == {1}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"search": "brute"}, "search: not allowed; got brute"),
        ({"trials": 0}, "at least one trial"),
        ({"shard": 2, "shards": 2}, "a shard below the number of shards"),
        ({"folds": 1}, "folds: out of range; got 1"),
        ({"folds": 300}, "a class has fewer rows than there are folds"),
        ({"metric": "rmse"}, "unknown metric 'rmse' of a binary model"),
        ({"label": "latte"}, "no label column 'latte'; did you mean 'late'?"),
    ],
)
def test_bad_parameters_are_one_line(
    more: dict[str, Any], message: str, parameters: TuneParameters, made: Path, tmp_path: Path
) -> None:
    with pytest.raises(KfpSuiteError) as refused:
        run(replace(parameters, **more), made, tmp_path / "out")
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


def trial(name: str, value: float | None, metric: str = "rmse", state: Any = "complete") -> Trial:
    why = "" if value is not None else "could not be fitted"
    return Trial(name, "ridge", {"alpha": 0.5}, state, metric, (), value, why)


def test_the_best_is_the_lowest_where_lower_is_better() -> None:
    trials = [trial("0-1", 3.0), trial("0-2", None, state="failed"), trial("0-3", 1.0)]
    assert [one.name for one in rank_trials(trials)] == ["0-3", "0-1", "0-2"]
    equal = [trial("0-2", 0.5, "r2"), trial("0-1", 0.5, "r2"), trial("0-3", 0.7, "r2")]
    assert [one.name for one in rank_trials(equal)] == ["0-3", "0-1", "0-2"]


def test_which_metrics_are_better_low_is_what_scikit_learn_says() -> None:
    import sklearn.metrics

    scorers = set(sklearn.metrics.get_scorer_names())
    negative = {
        "log_loss": "neg_log_loss",
        "brier": "neg_brier_score",
        "rmse": "neg_root_mean_squared_error",
        "mae": "neg_mean_absolute_error",
    }
    names = {name for known in METRICS.values() for name in known}
    assert {name for name in names if lower_is_better(name)} == set(negative)
    assert set(negative.values()) <= scorers


def test_the_best_is_reported(parameters: TuneParameters, made: Path, tmp_path: Path) -> None:
    trials = run(parameters, made, tmp_path / "out")
    uri = tune(parameters, made / "dataset", made / "transform", tmp_path / "again").uri
    best = best_trial([uri, uri], tmp_path / "study", tmp_path / "report.html")
    values = [one.value for one in trials if one.value is not None]
    assert best.value == np.max(values)
    left = json.loads((tmp_path / "study" / "study.json").read_text())
    assert left["best"]["name"] == best.name
    assert sum(left["trials"].values()) == 12
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page


def test_no_complete_trial_says_why(tmp_path: Path) -> None:
    study = Study.open(f"{tmp_path}/store/rows/_studies/abc")
    study.keep(trial("0-0000", None, state="failed"))
    with pytest.raises(DataError, match="could not be fitted"):
        best_trial([study.uri], tmp_path / "study", tmp_path / "report.html")


def test_shards_of_two_searches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="not of one study"):
        best_trial(["a/_studies/1", "a/_studies/2"], tmp_path / "s", tmp_path / "r.html")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"search_space": {"rigde": {}}}, "unknown estimator 'rigde'; did you mean 'ridge'?"),
        ({"search": "grid"}, "a grid needs steps"),
        ({"search": "best"}, "search: not allowed"),
        ({"trials": 0}, "at least one trial"),
        ({"shards": 0}, "1 to 1,000 shards"),
        ({"estimator": "dummy"}, "no search space for 'dummy'"),
    ],
)
def test_a_wrong_plan_fails_before_anything_is_read(
    more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError) as refused:
        plan_trials(PlanParameters(**more), tmp_path / "plan")
    assert message in str(refused.value)


def test_shards_are_no_more_than_trials(tmp_path: Path) -> None:
    plan = plan_trials(PlanParameters(trials=3, shards=8), tmp_path / "plan")
    assert [(one["shard"], one["shards"], one["count"]) for one in plan] == [
        (0, 3, 1),
        (1, 3, 1),
        (2, 3, 1),
    ]
