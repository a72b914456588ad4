"""Parameters of a run: files, assignments, checks."""

from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.contracts.errors import ContractError, MissingError, ParameterError
from kfp_suite.pipelines.runs.parameters import (
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


def test_right_values_pass() -> None:
    values = {"label": "x", "seed": 1, "fraction": 1, "flag": True, "slices": ["a"]}
    assert check(KNOWN, values, "p.yaml") == values


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
