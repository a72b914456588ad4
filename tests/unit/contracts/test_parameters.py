"""Mappings become typed parameters, or an error that names the key."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest
from pydantic import ConfigDict

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import parse, whole_numbers


@dataclass(frozen=True)
class Inner:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    width: int = 1


@dataclass(frozen=True)
class Outer:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    name: str
    kind: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=Inner)


def test_floats_of_kfp_become_the_declared_integers() -> None:
    parsed = parse(Outer, {"name": "x", "inner": {"width": 3.0}}, "spec")
    assert parsed == Outer("x", inner=Inner(3))
    assert isinstance(parsed.inner.width, int)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "spec: missing key 'name'"),
        ({"nam": "x"}, "spec: unknown key 'nam'; did you mean 'name'?"),
        ({"name": "x", "knd": "a"}, "spec: unknown key 'knd'; did you mean 'kind'?"),
        (
            {"name": "x", "inner": {"widht": 1}},
            "spec: unknown key 'widht'; did you mean 'width'?",
        ),
        (
            {"name": "x", "kind": "c"},
            "spec: 'kind' is not allowed; got c; expected input should be 'a' or 'b'",
        ),
        (
            {"name": "x", "inner": {"width": 1.5}},
            "spec: 'inner.width' is not allowed; got 1.5; expected input should be a valid "
            "integer, got a number with a fractional part",
        ),
    ],
)
def test_what_is_wrong_is_named(value: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse(Outer, value, "spec")
    assert str(caught.value) == message


def test_whole_numbers_reach_into_mappings_and_lists() -> None:
    assert whole_numbers({"a": 2.0, "b": [1.0, 0.5, {"c": 3.0}], "d": "x"}) == {
        "a": 2,
        "b": [1, 0.5, {"c": 3}],
        "d": "x",
    }
