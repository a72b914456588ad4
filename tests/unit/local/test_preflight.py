"""A parameter that no step would take is refused before a run starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kfp_suite.cli.main import cli
from kfp_suite.contracts.errors import MissingError, ParameterError
from kfp_suite.kubeflow.arguments import cluster_arguments
from kfp_suite.kubeflow.package import open_package
from kfp_suite.local import preflight
from kfp_suite.local.arguments import run_arguments
from kfp_suite.local.catalog import find_pipeline, load
from kfp_suite.local.local import open_root
from kfp_suite.local.parameters import parameter_file, parameters_of
from kfp_suite.local.preflight import check_all_values, check_libraries, check_values

GOOD: dict[str, Any] = {
    "model_name": "wings",
    "sources": {"birds": "gs://bucket/birds.csv"},
    "label": "species",
    "store": "gs://bucket/models",
}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"thresholds": {"auc": {"min": 0.7}}}, "thresholds: unknown metric 'auc'"),
    (
        {"thresholds": {"f1_macro": {"mim": 0.7}}},
        "thresholds: f1_macro: unknown key 'mim'; did you mean 'min'?",
    ),
    ({"thresholds": {"rmse": {"mim": 1}}}, "thresholds: rmse: unknown key 'mim'"),
    ({"thresholds": {"rmse": {"max": 1}}, "task": "binary"}, "thresholds: unknown metric 'rmse'"),
    ({"slices": [["a", "a"]]}, "slices: a slice is not allowed"),
    ({"comparison": {"metrik": "rmse"}}, "comparison: unknown key 'metrik'"),
    ({"comparison": {"metric": "rmse"}, "task": "binary"}, "comparison: metric: unknown metric"),
    ({"split": {"by": "day"}}, "split.by: unknown rule 'day'"),
    ({"split": {"by": "hash", "test": 0}}, "split: no rows for the split 'test'"),
    ({"split": {"by": "time", "column": "day"}}, "split: no rows for the split 'test'"),
    ({"validation": {"skwe": {}}}, "validation: unknown key 'skwe'; did you mean 'skew'?"),
    ({"features": {"feature": []}}, "features: unknown key 'feature'"),
    ({"estimator": "random_forrest"}, "estimator: unknown estimator 'random_forrest'"),
    (
        {"estimator": "random_forest", "hyperparameters": {"n_estimator": 3}},
        "hyperparameters: unknown hyperparameter 'n_estimator'",
    ),
    ({"infra_limits": {"p50": 3}}, "infra_limits: unknown key 'p50'"),
    ({"infra_limits": {"p50_ms": -3}}, "infra_limits.p50_ms: out of range"),
    ({"runtime": "tritn"}, "runtime: unknown"),
    ({"endpoint": {"min_replica": 1}}, "endpoint: unknown key 'min_replica'"),
    ({"notify": {"slak": []}}, "notify: unknown key 'slak'; did you mean 'slack'?"),
    ({"sources": {"birds": {"uri": "x.csv", "delimitr": ";"}}}, "sources.birds"),
    ({"task": "multi"}, "task: not allowed; got multi; expected auto or binary or"),
    ({"task": "multi", "thresholds": {"auc": {"min": 0.7}}}, "task: not allowed"),
    ({"model_name": "My Model"}, "model_name: not a model name; got My Model"),
    ({"target": "moon"}, "target: not allowed; got moon; expected local or cluster"),
    ({"namespace": "My_Team"}, "namespace: not a namespace; got My_Team"),
    ({"on_bad_rows": "maybe"}, "on_bad_rows: not allowed; got maybe"),
    ({"max_bad_fraction": 4.0}, "max_bad_fraction: out of range; got 4.0"),
    ({"max_query_seconds": 0}, "max_query_seconds: "),
    ({"min_slice_rows": 0}, "min_slice_rows: out of range; got 0; expected at least 1"),
    ({"label": ""}, "label: no label"),
    ({"early_stopping": -3}, "early_stopping: out of range; got -3"),
    ({"threshold": 7.0}, "threshold: out of range; got 7.0"),
    ({"threshold": 0.0}, "threshold: out of range; got 0.0"),
    ({"seed": -1}, "seed: out of range; got -1"),
    ({"calibration": "platt"}, "calibration: not allowed; got platt"),
    ({"class_weight": {"owl": -1}}, "class_weight.owl: not a weight; got -1"),
    ({"class_weight": {"balanced": "yes"}}, "class_weight.balanced: not a weight; got yes"),
    (
        {"class_weight": {"balanced": True}, "task": "regression"},
        "class_weight: numbers have no classes",
    ),
    ({"infra_place": "moon"}, "infra_place: not allowed; got moon"),
    ({"deploy_on_failure": "cry"}, "deploy_on_failure: not allowed; got cry"),
    (
        {"split": {"by": "time", "column": "day", "test_from": "2024-13-01"}},
        "split.test_from: not a bound for 'day' (date); got 2024-13-01",
    ),
    (
        {"split": {"by": "time", "column": "n", "eval_from": 9.0, "test_from": 5.0}},
        "split: eval would have no time of its own",
    ),
]
WRONG_ELSEWHERE: list[tuple[str, dict[str, Any], str]] = [
    ("tune", {"search": "bayes"}, "search: not allowed; got bayes"),
    ("tune", {"trials": 0}, "trials and shards: out of range; got 0 trials in 1 shards"),
    ("tune", {"shards": 0}, "trials and shards: out of range; got 32 trials in 0 shards"),
    ("tune", {"search_space": {"ridgy": {"alpha": 1}}}, "search_space: unknown estimator"),
    ("tune", {"metric": "acuracy"}, "metric: unknown metric 'acuracy'"),
    ("backfill", {"start": "2024-01-32"}, "start: not a date; got 2024-01-32"),
    ("backfill", {"every": "year"}, "every: not allowed; got year"),
    ("progressive_delivery", {"steps": [50, 10]}, "steps: not allowed; got [50, 10]"),
    ("progressive_delivery", {"steps": ["ten"]}, "steps: "),
    ("progressive_delivery", {"undecided": "wait"}, "undecided: not allowed; got wait"),
    ("progressive_delivery", {"attempt": 0}, "attempt: out of range; got 0"),
    ("progressive_delivery", {"timeout_seconds": 0}, "timeout_seconds: out of range; got 0"),
    ("progressive_delivery", {"limits": {"eror_rate": 1}}, "limits: unknown key 'eror_rate'"),
]
GOOD_ELSEWHERE: dict[str, dict[str, Any]] = {
    "tune": GOOD,
    "backfill": GOOD
    | {
        "sources": {"birds": "gs://bucket/${start}.csv"},
        "start": "2024-01-01",
        "end": "2024-03-01",
    },
    "progressive_delivery": {"model_name": "wings", "store": "gs://bucket/models"},
}


def defaults(pipeline: str = "train_and_deploy") -> dict[str, Any]:
    known = parameters_of(load(find_pipeline(pipeline)))
    return {name: parameter.default for name, parameter in known.items()}


@pytest.mark.parametrize(("values", "message"), WRONG, ids=[message for _, message in WRONG])
def test_the_parameter_and_the_key_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_values(defaults() | GOOD | values)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("pipeline", "values", "message"), WRONG_ELSEWHERE)
def test_what_one_pipeline_alone_has_is_checked(
    pipeline: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        check_values(defaults(pipeline) | GOOD_ELSEWHERE[pipeline] | values)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("pipeline", "values"),
    [
        ("tune", {}),
        ("tune", {"search": "grid", "trials": 0, "search_space": {"ridge": {"alpha": [1, 2]}}}),
        ("tune", {"metric": "rmse"}),
        ("backfill", {}),
        ("progressive_delivery", {}),
        ("progressive_delivery", {"steps": [0.0, 100.0], "shadow": 10}),
        ("train_and_deploy_tensorflow", {"class_weight": {"owl": 2, "wren": 0.5}}),
        ("retrain", {"class_weight": {"balanced": True}}),
        ("retrain", {"split": {"by": "time", "column": "n", "eval_from": 5.0, "test_from": 9.0}}),
        ("retrain", {"split": {"by": "time", "column": "t", "test_from": "2024-01-31T08:30"}}),
    ],
)
def test_a_step_is_checked_only_if_the_pipeline_has_it(
    pipeline: str, values: dict[str, Any]
) -> None:
    check_values(defaults(pipeline) | GOOD_ELSEWHERE.get(pipeline, GOOD) | values)


@pytest.mark.parametrize("task", ["auto", "binary", "multiclass", "regression"])
def test_values_that_a_task_takes_pass(task: str) -> None:
    metric = "rmse" if task == "regression" else "accuracy"
    check_values(
        defaults()
        | GOOD
        | {
            "task": task,
            "thresholds": {metric: {"min": 0.1, "max": 0.9}},
            "comparison": {"metric": metric},
            "slices": ["island", ["island", "sex"]],
            "hyperparameters": {"max_depth": 3.0},
        }
    )


@pytest.mark.parametrize("name", ["flights", "penguins", "digits", "flights_tensorflow"])
def test_the_shipped_parameters_pass(name: str) -> None:
    check_values(yaml.safe_load(parameter_file(name).read_text()))


def test_an_estimator_of_your_own_is_left_to_its_step() -> None:
    check_values(GOOD | {"estimator": "mine.of_the_image_alone.Estimator"})
    check_values(GOOD | {"estimator": "hist_gradient_boosting", "module_file": "mine.py"})


def test_a_local_run_and_a_submitted_one_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump(GOOD | {"thresholds": {"auc": {"min": 0.7}}}))
    with pytest.raises(ParameterError, match="unknown metric 'auc'"):
        run_arguments(load(find_pipeline("train_and_deploy")), file, {}, open_root(tmp_path / "r"))
    with pytest.raises(ParameterError, match="unknown metric 'auc'"):
        cluster_arguments(open_package("train_and_deploy"), str(file), {})


def test_check_lists_every_error(tmp_path: Path) -> None:
    file = tmp_path / "parameters.yaml"
    wrong = {"thresholds": {"auc": {"min": 0.7}}, "slices": [[]], "endpoint": {"replica": 1}}
    file.write_text(yaml.safe_dump(GOOD | wrong))
    done = CliRunner().invoke(cli, ["check", "train_and_deploy", "--params", str(file)])
    assert done.exit_code == 2
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == [
        "thresholds",
        "slices",
        "endpoint",
    ]
    assert not done.stdout


def test_each_value_is_checked_though_another_is_wrong() -> None:
    wrong = {"label": "", "threshold": 7.0, "seed": -1, "task": "multi", "target": "moon"}
    found = check_all_values(defaults() | GOOD | wrong | {"thresholds": {"accuracy": {"min": 1}}})
    assert {error.where for error in found.errors} == set(wrong)


def test_a_parameter_has_one_error() -> None:
    without_window = {"sources": {"birds": {"uri": "x.csv", "delimitr": ";"}}}
    found = check_all_values(defaults("backfill") | GOOD_ELSEWHERE["backfill"] | without_window)
    assert [error.where for error in found.errors] == ["sources.birds"]


def test_check_says_what_it_could_not_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(library: str) -> Callable[[object], None]:
        def check(values: object) -> None:
            raise ModuleNotFoundError(f"No module named '{library}'", name=library)

        return check

    monkeypatch.setattr(preflight, "_CHECKS", {"slices": fail("duckdb")})
    assert check_all_values({"slices": ["a"]}).unchecked == ("slices",)
    monkeypatch.setattr(preflight, "_CHECKS", {"slices": fail("kfp_suite.components.slices")})
    with pytest.raises(ModuleNotFoundError):  # a defect of the suite is not a missing library
        check_all_values({"slices": ["a"]})


def test_check_finds_no_error_in_the_shipped_parameters() -> None:
    done = CliRunner().invoke(cli, ["check", "train_and_deploy", "--params", "penguins"])
    assert (done.exit_code, done.stdout) == (0, "no error in 5 parameters of train_and_deploy\n")


def test_a_library_that_is_not_installed_is_named_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_libraries(["kfp-suite-python-sklearn:0.1.0", "registry.example.com/theirs:1"])
    with pytest.raises(MissingError, match=r"pip install 'kfp-suite\[tensorflow\]'"):
        check_libraries(["kfp-suite-python-tensorflow:0.1.0"])


def test_the_library_of_an_estimator_is_looked_up_and_not_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = (
        "import sys\n"
        "from kfp_suite.local.preflight import check_values\n"
        "check_values({'estimator': 'random_forest', 'hyperparameters': {}})\n"
        "print([name for name in ('sklearn', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ParameterError, match=r"estimator: cannot import 'xgboost\.\w+'"):
        check_values({"estimator": "xgboost", "task": "binary"})
    with pytest.raises(ParameterError, match="linear_regression does not do binary"):
        check_values({"estimator": "linear_regression", "task": "binary"})
