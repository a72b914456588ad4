"""JSON whose names and numbers are those that were written."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.exact_json import parse_json


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1", 0.1),
        ("1e17", 1e17),
        ("1e23", 1e23),
        ("-9007199254740992.0", -(2.0**53)),
        ("9007199254740993", 2**53 + 1),
        ("9007199254740993.0", Decimal(2**53 + 1)),
        ("-90071992547409930e-1", Decimal(-(2**53) - 1)),
        ("1e999", Decimal("1e999")),
        ("-1e999999999", Decimal("-1e999999999")),
        ('{"a": [{"b": 1}, {"b": 2}]}', {"a": [{"b": 1}, {"b": 2}]}),
        ('"\\u00e4"', "ä"),
    ],
)
@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_value_is_what_is_written(text: str, expected: Any, as_bytes: bool) -> None:
    found = parse_json(text.encode() if as_bytes else text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' is there twice in one object"),
        (b'[{"x": {"y": 1, "y": 2}}]', "the key 'y' is there twice in one object"),
        (b'{"a": 1, "\\u0061": 2}', "the key 'a' is there twice in one object"),
        (b"{nope", "the request is not JSON"),
        (b"", "the request is not JSON"),
        (b"[NaN]", "NaN is no number of JSON"),
        (b'"\xff"', "the request is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "the request is not JSON"),
    ],
)
def test_what_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_json(content)


def test_what_python_writes_for_numbers_that_json_lacks_is_read_where_it_is_allowed() -> None:
    found = parse_json("[NaN, -Infinity]", allow_nan=True)
    assert math.isnan(found[0])
    assert found[1] == -math.inf
