"""Conditions of graphs: what gjson's paths lead to, and which of them are not followed."""

from __future__ import annotations

from typing import Any

import pytest

from kfp_suite.server.gateway.conditions import Condition, NotFollowed

DOCUMENT: dict[str, Any] = {
    "a": {"b": [{"n": "x.y"}, {"c": 3}]},
    "x.y": None,
    "empty": [],
    "none": None,
}
PENGUINS = {
    "instances": [
        {"island": "Torgersen", "mass": 3750, "wild": True, "code": "3"},
        {"island": "Dream", "mass": 4200.5, "wild": False, "tags": ["a", "b"]},
        {"island": None},
    ]
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("a", True),
        ("a.b.1.c", True),
        ("a.b.01.c", True),
        ("a.b.7", False),
        ("a.x", False),
        ("none", True),
        ("none.x", False),
        ("x\\.y", True),
        ("x.y", False),
        ("a.b.#(c==3)", True),
        ("a.b.#(c = 3)", True),
        ("a.b.#(c==4)", False),
        ("a.b.#(c>2).c", True),
        ("a.b.#(c>2).n", False),
        ("a.b.#(c<=2)", False),
        ('a.b.#(n=="x.y")', True),
        ("a.b.#(n==x.y)", True),
        ("a.b.#(c!=3)", False),
        ("a.b.#(n>1)", True),  # as texts
        ("a.b.#(c)", True),
        ("a.b.#(d)", False),
        ("a.b.#", True),
        ("empty.#", True),
        ("empty.#.x", True),
        ("empty.0", False),
        ("a.#", False),
        ("a.b.#(c==4)#", True),  # a list, though an empty one
        ("a.#(c==4)#", False),
        ("*.b.0", True),
        ("?.b", True),
        ("z*", False),
        ("e*.0", False),
        ("@this", True),
        ("@this.a", True),
        ("[@this]", True),
        ("[@this].#(a.b.#(c==3))", True),
        ("[@this].#(a.b.#(c==4))", False),
    ],
)
def test_a_path_leads_to_something_or_to_nothing(condition: str, holds: bool) -> None:
    assert Condition.parse(condition).holds(DOCUMENT) is holds


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ('island%"Dre*"', True),
        ('island%"D?e*"', True),
        ('island%"Dre"', False),
        ('island!%"*r*"', False),
        ('island!%"D*"', True),
        ('island == "Torgersen"', True),
        ("island==null", False),
        ("island!=Dream", True),
        ("mass>4200", True),
        ("mass>=4200.5", True),
        ("mass>5e3", False),
        ('mass=="3750"', True),  # by the type of what is there
        ("code==3", True),
        ("wild==true", True),
        ("wild!=true", True),
        ("wild>false", True),
        ("wild==maybe", False),
        ("tags==a", False),
        ('tags.#(=="b")', True),
        ("tags.1", True),
        ("tags.2", False),
    ],
)
def test_a_query_compares_as_gjson_does(query: str, holds: bool) -> None:
    assert Condition.parse(f"instances.#({query})").holds(PENGUINS) is holds


@pytest.mark.parametrize("document", [[1, 2], 3, "text", None])
def test_any_json_is_a_document(document: Any) -> None:
    assert Condition.parse("@this").holds(document)
    assert Condition.parse("1").holds(document) is isinstance(document, list)
    assert Condition.parse("#(==2)").holds(document) is isinstance(document, list)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "a..b",
        "a.",
        ".a",
        "..#.a",
        "a|b",
        "a.@reverse",
        "@reverse",
        "@this|a",
        "{a,b}",
        "[a,b]",
        "!true",
        "a.#(b==1",
        "a.#()",
        "a.#(b==~true)",
        "a.#(b==1)x",
        "a.#x",
    ],
)
def test_what_is_not_followed_is_refused(condition: str) -> None:
    with pytest.raises(NotFollowed):
        Condition.parse(condition)
