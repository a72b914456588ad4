"""What versions did in the rollout, and nothing that servers did before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from kfp_suite.components.rollout.measuring import (
    REQUESTS,
    Growth,
    Scrape,
    parse_metrics,
    scrape_prometheus,
    scrape_url,
)
from kfp_suite.components.rollout.sequential import Counts
from kfp_suite.contracts.errors import EndpointError
from tests.unit.rollout.answering import answering


def page(errors: int, requests: int, version: int) -> str:
    labels = f'model_name="wings",model_version="{version}"'
    return (
        "# TYPE kfp_suite_requests_total counter\n"
        f'kfp_suite_requests_total{{{labels},code="200"}} {requests - errors}\n'
        f'kfp_suite_requests_total{{{labels},code="500"}} {errors}\n'
    )


def looks(*scrapes: dict[str, tuple[int, int]]) -> Growth:
    """Of version 1: errors and requests of each server, a look after the other."""
    rounds = iter(scrapes)

    def scrape() -> Scrape:
        return {
            server: parse_metrics(page(*counted, 1), "wings")
            for server, counted in next(rounds).items()
        }

    return Growth(scrape)


def test_a_counter_that_fell_was_started_anew() -> None:
    growth = looks({"a": (3, 100)}, {"a": (3, 120)}, {"a": (1, 10)}, {"a": (2, 30)})
    assert growth.look()["1"].errors == Counts(0, 20)
    assert growth.look()["1"].errors == Counts(1, 30)
    assert growth.look()["1"].errors == Counts(2, 50)


def test_a_server_that_goes_takes_nothing_away() -> None:
    """Three servers with a long history; one scales away."""
    old = {"a": (10_000, 1_000_000), "b": (10_000, 1_010_000), "c": (5, 100)}
    left = {"a": (10_000, 1_000_050), "b": (10_000, 1_010_050)}
    growth = looks(old, left, {**left, "a": (10_001, 1_000_060)})
    assert growth.look()["1"].errors == Counts(0, 100)
    assert growth.look()["1"].errors == Counts(1, 110)


def test_a_server_that_comes_brings_no_history_along() -> None:
    growth = looks(
        {"a": (0, 100)},
        {"a": (0, 110), "b": (5_000, 60_000)},
        {"a": (0, 120), "b": (5_002, 60_010)},
    )
    assert growth.look()["1"].errors == Counts(0, 10)
    assert growth.look()["1"].errors == Counts(2, 30)


def test_a_scrape_that_was_missed_loses_nothing_and_adds_nothing() -> None:
    growth = looks({"a": (50_000, 90_000)}, {}, {"a": (50_001, 90_010)})
    assert growth.look() == {}
    assert growth.look()["1"].errors == Counts(1, 10)


def test_the_first_error_of_a_known_server_counts() -> None:
    """A counter with a label that was not there before began at 0."""
    ok, bad = page(0, 10, 1).splitlines()[1], page(3, 10, 1).splitlines()[2]
    pages = iter([ok, f"{ok}\n{bad}"])
    growth = Growth(lambda: {"a": parse_metrics(f"{next(pages)}\n", "wings")})
    assert growth.look()["1"].errors == Counts(3, 3)


def test_servers_are_told_apart_and_summed() -> None:
    growth = looks(
        {"a": (0, 0), "b": (0, 0)}, {"a": (0, 10), "b": (0, 20)}, {"a": (0, 15), "b": (0, 20)}
    )
    assert growth.look()["1"].errors.total == 30
    assert growth.look()["1"].errors.total == 35
    assert parse_metrics(page(0, 99, 7), "feet") == {}


@pytest.mark.parametrize(
    "text",
    [
        "<html>no metrics</html>",
        'kfp_suite_requests_total{model_name="wings",code="200"} 3\n',
        'kfp_suite_requests_total{model_version="1",code="2xx"} 3\n',
        'kfp_suite_predictions_total{model_version="1"} 3\n',
        'kfp_suite_predictions_total{model_version="1",outcome="right"} NaN\n',
    ],
)
def test_metrics_that_cannot_be_read_are_an_error(text: str) -> None:
    with pytest.raises(EndpointError, match="http://x: not metrics that can be read"):
        parse_metrics(text, "wings", "http://x")


@contextmanager
def prometheus(said: Callable[[str], list[dict[str, object]]]) -> Iterator[str]:
    """One that answers a query with a vector."""

    def answer(path: str) -> tuple[int, bytes]:
        query = parse_qs(urlsplit(path).query)["query"][0]
        return 200, json.dumps({"data": {"result": said(query)}}).encode()

    with answering(answer) as address:
        yield address


def test_a_prometheus_is_asked_for_each_server() -> None:
    """A sum over servers falls when one goes, and looks like a counter that was started anew."""
    now = [{"a": 1_000_000, "b": 1_010_000, "c": 100}]

    def said(query: str) -> list[dict[str, object]]:
        assert "sum" not in query
        assert query.endswith('{model_name="wings",namespace="models"}')
        if not query.startswith(REQUESTS):
            return []
        shared = {"__name__": REQUESTS, "model_name": "wings", "model_version": "1", "code": "200"}
        return [
            {"metric": {**shared, "pod": pod, "instance": "x"}, "value": [0, str(count)]}
            for pod, count in now[0].items()
        ]

    with prometheus(said) as address:
        growth = Growth(lambda: scrape_prometheus(address, "wings", "models"))
        now[0] = {"a": 1_000_050, "b": 1_010_050, "d": 700_000}
        assert growth.look()["1"].errors == Counts(0, 100)


def test_what_is_refused_is_told_from_what_fails() -> None:
    labels = 'model_name="wings",model_version="1"'
    codes = {200: 10, 302: 1, 400: 3, 429: 2, 499: 1, 500: 4, 503: 1}
    text = "".join(
        f'kfp_suite_requests_total{{{labels},code="{code}"}} {count}\n'
        for code, count in codes.items()
    )
    pages = iter(["", text])
    found = Growth(lambda: {"a": parse_metrics(next(pages), "wings")}).look()["1"]
    assert (found.errors, found.refused) == (Counts(5, 22), Counts(6, 22))


def test_metrics_that_break_off_do_not_answer() -> None:
    """To be asked for again, like those that do not answer at all."""
    with (
        answering(lambda _: (200, b"#"), {"content-length": "1000"}) as address,
        pytest.raises(EndpointError, match="the metrics do not answer; got IncompleteRead"),
    ):
        scrape_url(f"{address}/metrics", "wings")


def test_a_prometheus_that_answers_something_else_is_an_error() -> None:
    with (
        prometheus(lambda _: [{"metric": {"code": "200"}, "value": [0, "1"]}]) as address,
        pytest.raises(EndpointError, match="not an answer of a Prometheus"),
    ):
        scrape_prometheus(address, "wings")
