"""Parameters of a run: files, assignments, checks."""

from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import ContractError, MissingError, ParameterError
from kfp_suite.kubeflow.arguments import cluster_arguments
from kfp_suite.kubeflow.package import open_package
from kfp_suite.local.arguments import read_values
from kfp_suite.local.catalog import find_pipeline, load
from kfp_suite.local.checked_values import check_for_cluster
from kfp_suite.local.parameters import (
    Parameter,
    check,
    merge,
    parameter_file,
    parse_assignments,
    read_parameters,
)

KNOWN = {
    "label": Parameter("label", "String", True, None),
    "seed": Parameter("seed", "Integer", False, 0),
    "fraction": Parameter("fraction", "Float", False, 0.1),
    "split": Parameter("split", "Dict", False, {}),
    "slices": Parameter("slices", "List", False, []),
    "flag": Parameter("flag", "Boolean", False, False),
}


def test_assignments_are_read_as_the_parameter_is() -> None:
    assert parse_assignments(("label=007", "seed=7", "split={by: time}"), KNOWN) == {
        "label": "007",
        "seed": 7,
        "split": {"by": "time"},
    }


def test_an_assignment_needs_an_equals_sign() -> None:
    with pytest.raises(ParameterError) as caught:
        parse_assignments(("seed",), KNOWN)
    assert str(caught.value) == "not an assignment; got seed; expected --param name=value"


def test_a_dotted_assignment_reaches_into_a_mapping() -> None:
    merged = merge(KNOWN, {"split": {"by": "hash", "test": 0.1}}, {"split.test": 0.2, "seed": 1})
    assert merged == {"split": {"by": "hash", "test": 0.2}, "seed": 1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lable": "x"}, "p.yaml: unknown parameter 'lable'; did you mean 'label'?"),
        (
            {"lable": "x", "seeds": 1},
            "p.yaml: unknown parameters 'lable', 'seeds'; lable: did you mean 'label'?; "
            "seeds: did you mean 'seed'?",
        ),
        (
            {"label": "x", "seed": 1.5},
            "p.yaml: parameter 'seed' has the wrong type; got 1.5; expected a whole number",
        ),
        (
            {"label": "x", "seed": "many"},
            "p.yaml: parameter 'seed' has the wrong type; got many; expected a whole number",
        ),
        (
            {"label": "x", "seed": True},
            "p.yaml: parameter 'seed' has the wrong type; got True; expected a whole number",
        ),
        (
            {"label": "x", "split": "time"},
            "p.yaml: parameter 'split' has the wrong type; got time; expected a mapping",
        ),
        (
            {},
            "p.yaml: missing parameter 'label'; "
            "set it in the parameter file or with --param label=VALUE",
        ),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check(KNOWN, values, "p.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("from_file", "assigned", "place"),
    [
        ({"label": "x"}, {"lable": "x"}, "--param: unknown parameter 'lable'"),
        ({"label": "x"}, {"splt.test": 1}, "--param: unknown parameter 'splt'"),
        ({"label": "x"}, {"seed": "many"}, "--param: parameter 'seed'"),
        ({"label": "x"}, {"split.test": float("nan")}, "--param: split.test: not a finite"),
        ({"lable": "x"}, {"label": "x"}, "p.yaml: unknown parameter 'lable'"),
        ({"label": "x", "seed": "many"}, {"split.seed": 1}, "p.yaml: parameter 'seed'"),
        ({}, {"seed": 1}, "p.yaml: missing parameter 'label'"),
    ],
)
def test_an_error_is_where_the_value_was_set(
    from_file: dict[str, Any], assigned: dict[str, Any], place: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        check(KNOWN, merge(KNOWN, from_file, assigned), "p.yaml", assigned)
    assert str(caught.value).startswith(place)


def test_a_run_and_a_submission_say_where_a_name_was_assigned(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("{model_name: m, label: y, store: gs://b/m, sources: {a: gs://b/a.csv}}\n")
    wrong = {"lable": "x"}
    with pytest.raises(ParameterError, match="unknown parameter 'lable'") as local:
        read_values(load(find_pipeline("train_and_deploy")), file, wrong, "models")
    with pytest.raises(ParameterError, match="unknown parameter 'lable'") as cluster:
        cluster_arguments(open_package("train_and_deploy"), str(file), wrong)
    with pytest.raises(ParameterError, match="on a cluster Argo fills in") as filled:
        cluster_arguments(open_package("train_and_deploy"), str(file), {"sql": "{{x}}"})
    assert {e.value.where for e in (local, cluster, filled)} == {"--param"}


def test_right_values_pass() -> None:
    values = {"label": "x", "seed": 1, "fraction": 1, "flag": True, "slices": ["a"]}
    assert check(KNOWN, values, "p.yaml") == values
    assert isinstance(check(KNOWN, values, "p.yaml")["fraction"], float)


def test_null_is_a_text_for_a_text_parameter_on_the_command_line() -> None:
    assert parse_assignments(("label=null", "seed=null"), KNOWN) == {"label": "null", "seed": None}


def test_null_is_kept_inside_and_left_out_outside() -> None:
    values = {"label": "x", "seed": None, "split": {"key": None}}
    assert check(KNOWN, values, "p.yaml") == {"label": "x", "split": {"key": None}}
    with pytest.raises(ParameterError, match="missing parameter 'label'"):
        check(KNOWN, {"label": None}, "p.yaml")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"max": float("inf")},
            "split.max: not a finite number; got inf; "
            "expected a number; without a limit, leave the key out",
        ),
        ({"a": [float("nan")]}, "split.a[0]: not a finite number; got nan; expected a number"),
        (
            {"test_from": 1704067200123456789},
            "split.test_from: KFP rounds whole numbers of this size; got 1704067200123456789; "
            "expected at most 9007199254740992; or text, in quotes",
        ),
        ({"a": "{{$.x}}"}, "split.a: KFP fills in what stands in '{{$…}}'; got {{$.x}}; expected"),
        ({1: 2}, "split: a key that is not text; got 1; expected text, in quotes"),
        ({"a": {1}}, "split.a: a value of type builtins.set; got {1}; expected text, a number"),
        ({"a": "\ud800"}, "split.a: text that is not Unicode; got '\\ud800'"),
    ],
)
def test_what_would_not_arrive_is_refused_by_its_path(value: Any, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check(KNOWN, {"label": "x", "split": value}, "p.yaml")
    assert str(caught.value).startswith(f"p.yaml: {message}")


def test_what_is_deep_or_large_is_refused(tmp_path: Path) -> None:
    def nested(levels: int) -> Any:
        return {"a": nested(levels - 1)} if levels else 1

    assert check(KNOWN, {"label": "x", "split": nested(20)}, "p.yaml")
    with pytest.raises(ParameterError, match="nested too deeply; expected at most 20 levels"):
        check(KNOWN, {"label": "x", "split": nested(21)}, "p.yaml")
    file = tmp_path / "p.yaml"
    file.write_text("split: " + "[" * 5_000)
    with pytest.raises(ContractError, match="nested too deeply"):
        read_parameters(file)
    file.write_text("split: &a {b: *a}\n")
    with pytest.raises(ParameterError, match="nested too deeply"):
        check(KNOWN, read_parameters(file), "p.yaml")
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    file.write_text(bomb + "slices: *a8\n")
    with pytest.raises(ParameterError, match="too many values; expected at most 200,000"):
        check(KNOWN, {"label": "x", "slices": read_parameters(file)["slices"]}, "p.yaml")
    bomb = "a0: &a0 {x: 1, y: 1}\n"
    bomb += "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9))
    file.write_text(bomb)
    with pytest.raises(ContractError, match="more than 100000 keys in one mapping"):
        read_parameters(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-15", "2024-01-15"),
        ("2024-01-15T00:00:00+02:00", "2024-01-15T00:00:00+02:00"),
        ("012", "012"),
        ("0o14", "0o14"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("On", "On"),
        ("1e-3", 0.001),
        ("1.5", 1.5),
        ("-7", -7),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"\\ud83d\\ude00"', "😀"),
        ("{<<: {a: 1, b: 1}, b: 2}", {"a": 1, "b": 2}),
        ("{a: &a [1], b: *a}", {"a": [1], "b": [1]}),
        ("!!str 1", "1"),
        ("=", "="),
    ],
)
def test_yaml_means_what_is_written(tmp_path: Path, text: str, value: Any) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"slices: [{text}]\n" if text else "slices: [null]\n")
    assert check({"slices": KNOWN["slices"]}, read_parameters(file), "p.yaml") == {
        "slices": [value]
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is there twice"),
        ("a:\n  true: 1\n", "line 2: a key that is not text; put it in quotes"),
        ("a:\n- 1: 2\n", "line 2: a key that is not text; put it in quotes"),
        ("a: !!int 012\n", "line 1: '012' is not a decimal number"),
        ("a: !!bool no\n", "line 1: 'no' is not true or false"),
        ("a: !!timestamp 2024-01-15\n", "line 1: could not determine a constructor for the tag"),
        ("a: !!python/object:os.x {}\n", "line 1: could not determine a constructor for the tag"),
        ("a: [1\n", "line 2: "),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("a: " + "1" * 5_000, "line 1: a number of too many digits"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused_with_its_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ContractError) as caught:
        read_parameters(file)
    assert str(caught.value).startswith(f"{file}: not valid YAML; got {problem}")
    with pytest.raises(ParameterError, match="not valid YAML"):
        parse_assignments((f"split={text}",), KNOWN)


def test_numbers_are_taken_as_they_are_meant() -> None:
    assert check(KNOWN, {"label": 2012, "seed": 120.0}, "p.yaml") == {"label": "2012", "seed": 120}
    with pytest.raises(ParameterError, match="expected text; put it in quotes"):
        check(KNOWN, {"label": 1.5}, "p.yaml")  # 1.50 would be another text


def test_text_that_yaml_takes_for_another_value_says_to_quote_it() -> None:
    with pytest.raises(ParameterError) as caught:
        check(KNOWN, {"label": False}, "p.yaml")
    assert str(caught.value) == (
        "p.yaml: parameter 'label' has the wrong type; got False; expected text; "
        "put it in quotes: label: '…'"
    )


def test_what_a_cluster_would_not_take_is_refused() -> None:
    check_for_cluster({"sql": "x" * 90_000, "split": {}}, "p.yaml")
    with pytest.raises(ParameterError) as caught:
        check_for_cluster({"sql": "é" * 20_000, "split": {}}, "p.yaml")
    assert str(caught.value).startswith(
        "p.yaml: parameter 'sql' is too large for a cluster; got 120,002 bytes, of 120,004 in all; "
        "expected at most 100,000 bytes in all parameters"
    )
    with pytest.raises(ParameterError, match=r"sql: on a cluster Argo fills in what stands in"):
        check_for_cluster({"sql": "SELECT '{{x}}'"}, "p.yaml")


def test_a_parameter_file_must_be_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("- 1\n")
    with pytest.raises(ContractError, match="not a parameter file; expected a mapping"):
        read_parameters(file)
    file.write_text("a: [1\n")
    with pytest.raises(ContractError, match="not valid YAML"):
        read_parameters(file)
    file.write_text("seed: 1\n")
    assert read_parameters(file) == {"seed": 1}


def test_shipped_parameter_files_are_known_by_name() -> None:
    assert parameter_file("flights").name == "flights.yaml"
    with pytest.raises(MissingError) as caught:
        parameter_file("flihgts")
    assert str(caught.value) == "flihgts: no such parameter file; did you mean 'flights'?"
