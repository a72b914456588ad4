"""A parameter that no step would take is refused before a run starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kfp_suite.components.contracts.errors import MissingError, ParameterError
from kfp_suite.pipelines.cli.main import cli
from kfp_suite.pipelines.kubeflow.arguments import cluster_arguments
from kfp_suite.pipelines.kubeflow.package import open_package
from kfp_suite.pipelines.runs import preflight
from kfp_suite.pipelines.runs.arguments import run_arguments
from kfp_suite.pipelines.runs.catalog import find_pipeline, load
from kfp_suite.pipelines.runs.local import open_root
from kfp_suite.pipelines.runs.parameters import parameter_file, parameters_of
from kfp_suite.pipelines.runs.preflight import check_all_values, check_libraries, check_values

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
]


def defaults() -> dict[str, Any]:
    known = parameters_of(load(find_pipeline("train_and_deploy")))
    return {name: parameter.default for name, parameter in known.items()}


@pytest.mark.parametrize(("values", "message"), WRONG, ids=[message for _, message in WRONG])
def test_the_parameter_and_the_key_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_values(defaults() | GOOD | values)
    assert str(caught.value).startswith(message)


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
