"""InferenceGraphs, as KServe's router answers them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from kfp_suite.contracts.errors import ContractError
from kfp_suite.server.gateway.graph import Graph, GraphError

REQUEST = {"instances": [{"animal": "dog", "legs": 4}]}


def graph(**nodes: Any) -> Graph:
    return Graph({"metadata": {"name": "zoo"}, "spec": {"nodes": nodes}})


def node(router: str, *steps: Mapping[str, Any]) -> dict[str, Any]:
    return {"routerType": router, "steps": list(steps)}


class Zoo:
    """Endpoints that answer their name and how many instances they saw, or fail."""

    def __init__(self, **failing: int) -> None:
        self.failing = failing
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, name: str, body: bytes) -> tuple[int, bytes]:
        found = json.loads(body)
        self.asked.append((name, found))
        if name in self.failing:
            return self.failing[name], json.dumps({"error": f"{name} is ill"}).encode()
        return 200, json.dumps({"predictions": [name] * len(found.get("instances", []))}).encode()

    def answer(self, of: Graph, request: Any = None) -> tuple[int, Any]:
        status, body = asyncio.run(of.answer(json.dumps(request or REQUEST).encode(), self))
        return status, json.loads(body)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def test_a_sequence_hands_on_the_request_or_the_answer() -> None:
    zoo = Zoo()
    found = graph(
        root=node(
            "Sequence",
            {"serviceName": "dog"},
            {"serviceName": "breed", "data": "$response", "mapPredictionsToInstances": True},
            {"serviceName": "size", "data": "$request"},
            {"serviceName": "raw", "data": "$response"},
        )
    )
    assert zoo.answer(found) == (200, {"predictions": []})
    assert [body for _, body in zoo.asked] == [
        REQUEST,
        {"instances": ["dog"]},
        REQUEST,
        {"predictions": ["size"]},
    ]


def test_a_sequence_ends_where_a_condition_does_not_hold() -> None:
    zoo = Zoo()
    steps = (
        {"serviceName": "dog"},
        {"serviceName": "breed", "condition": 'predictions.#(=="dog")'},
        {"serviceName": "cat", "condition": 'predictions.#(=="cat")'},
        {"serviceName": "never"},
    )
    assert zoo.answer(graph(root=node("Sequence", *steps))) == (200, {"predictions": ["breed"]})
    assert zoo.names == ["dog", "breed"]


@pytest.mark.parametrize(
    ("dependency", "answer", "asked"),
    [
        ("Hard", (503, {"error": "dog is ill"}), ["dog"]),
        ("Soft", (200, {"predictions": ["size"]}), ["dog", "size"]),
    ],
)
def test_a_hard_dependency_ends_a_sequence_and_a_soft_one_does_not(
    dependency: str, answer: tuple[int, Any], asked: list[str]
) -> None:
    zoo = Zoo(dog=503)
    first = {"serviceName": "dog", "dependency": dependency}
    assert zoo.answer(graph(root=node("Sequence", first, {"serviceName": "size"}))) == answer
    assert zoo.names == asked


def test_the_last_step_says_the_status() -> None:
    found = graph(root=node("Sequence", {"serviceName": "dog"}, {"serviceName": "size"}))
    assert Zoo(size=418).answer(found) == (418, {"error": "size is ill"})


def test_a_switch_takes_the_first_step_that_fits() -> None:
    found = graph(
        root=node(
            "Switch",
            {"serviceName": "cat", "condition": 'instances.#(animal=="cat")'},
            {"serviceName": "dog", "condition": 'instances.#(animal=="dog")'},
            {"serviceName": "other", "condition": "instances.0"},
        )
    )
    zoo = Zoo()
    assert zoo.answer(found)[1] == {"predictions": ["dog"]}
    assert zoo.answer(found, {"instances": [{"animal": "fox"}]})[1] == {"predictions": ["other"]}
    with pytest.raises(GraphError, match="no step of 'root' fits") as refused:
        zoo.answer(found, {"instances": []})
    assert refused.value.status == 404


def test_an_ensemble_names_every_answer() -> None:
    found = graph(
        root=node("Ensemble", {"serviceName": "dog", "name": "first"}, {"serviceName": "cat"})
    )
    assert Zoo().answer(found) == (
        200,
        {"first": {"predictions": ["dog"]}, "1": {"predictions": ["cat"]}},
    )
    told = Zoo(cat=500).answer(found)
    assert told == (200, {"first": {"predictions": ["dog"]}, "1": {"error": "cat is ill"}})
    hard = node("Ensemble", {"serviceName": "dog"}, {"serviceName": "cat", "dependency": "Hard"})
    assert Zoo(cat=500).answer(graph(root=hard)) == (500, {"error": "cat is ill"})


def test_a_splitter_keeps_its_shares_exactly() -> None:
    zoo = Zoo()
    steps = [{"serviceName": n, "weight": w} for n, w in (("a", 70), ("b", 20), ("c", 10))]
    found = graph(root=node("Splitter", *steps))
    for _ in range(200):
        zoo.answer(found)
    assert {name: zoo.names.count(name) for name in "abc"} == {"a": 140, "b": 40, "c": 20}


def test_nodes_lead_to_nodes() -> None:
    found = graph(
        root=node("Sequence", {"nodeName": "both"}, {"serviceName": "last", "data": "$response"}),
        both=node("Ensemble", {"serviceName": "dog", "name": "d"}, {"nodeName": "one"}),
        one=node("Switch", {"serviceName": "cat", "condition": "instances"}),
    )
    zoo = Zoo()
    zoo.answer(found)
    assert zoo.asked[-1] == ("last", {"d": {"predictions": ["dog"]}, "1": {"predictions": ["cat"]}})


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ({"start": node("Switch", {"serviceName": "a"})}, "no node 'root'"),
        ({"root": node("Loop", {"serviceName": "a"})}, "not a node"),
        ({"root": node("Sequence")}, "not a node"),
        ({"root": node("Sequence", {"nodeName": "root"})}, "nodes go round"),
        ({"root": node("Sequence", {"nodeName": "b"})}, "no node 'b'"),
        ({"root": node("Sequence", {"name": "x"})}, "without serviceName or nodeName"),
        ({"root": node("Splitter", {"serviceName": "a", "weight": 40})}, "weights that are not"),
        ({"root": node("Sequence", {"serviceUrl": "http://x"})}, "serviceUrl is not followed"),
        ({"root": node("Switch", {"serviceName": "a"})}, "never fits on KServe"),
        (
            {"root": node("Sequence", {"serviceName": "a", "condition": "predictions|0"})},
            "a condition is not followed on one machine",
        ),
    ],
)
def test_a_graph_that_is_not_one_is_refused(nodes: dict[str, Any], told: str) -> None:
    with pytest.raises(ContractError) as caught:
        graph(**nodes)
    assert told in str(caught.value)


def test_a_request_that_is_not_json_is_a_bad_request() -> None:
    found = graph(root=node("Sequence", {"serviceName": "dog"}))
    with pytest.raises(GraphError) as refused:
        asyncio.run(found.answer(b"{", Zoo()))
    assert refused.value.status == 400


def test_what_a_request_says_twice_is_refused() -> None:
    zoo = Zoo()
    found = graph(root=node("Sequence", {"serviceName": "dog"}))
    with pytest.raises(GraphError, match="the key 'instances' is there twice") as refused:
        asyncio.run(found.answer(b'{"instances": [1], "instances": [2]}', zoo))
    assert refused.value.status == 400
    assert zoo.names == []
