"""Labelled records: what an answer that is none, or is not one of predictions, counts as."""

from __future__ import annotations

import json

import pytest

from kfp_suite.components.rollout.quality import ROWS_A_REQUEST, Labelled
from kfp_suite.components.rollout.sequential import Counts
from tests.unit.rollout.answering import answering

RECORDS = [{"x": i, "y": True} for i in range(3 * ROWS_A_REQUEST)]


def labelled() -> Labelled:
    return Labelled(RECORDS, "y", 0.0)


def test_an_answer_of_500_ends_no_rollout() -> None:
    """Whose it was, the servers' own counters say."""
    right = json.dumps({"predictions": [True] * ROWS_A_REQUEST}).encode()
    answers = iter([(500, b"{}"), (200, right), (200, right)])
    sent = labelled()
    with answering(lambda _: next(answers), {"x-model-version": "1"}) as address:
        sent.send(address, "wings", {}, 3)
    assert sent.wrong == {"1": Counts(0, 2 * ROWS_A_REQUEST)}


def test_an_answer_that_breaks_off_ends_no_rollout() -> None:
    sent = labelled()
    said = {"x-model-version": "1", "content-length": "1000"}
    with answering(lambda _: (200, b"{"), said) as address:
        sent.send(address, "wings", {}, 1)
    assert sent.wrong == {}


def test_nobody_there_ends_no_rollout() -> None:
    sent = labelled()
    sent.send("http://127.0.0.1:9", "wings", {}, 1)
    assert sent.wrong == {}


@pytest.mark.parametrize(
    "body", [{}, [], "no", {"predictions": None}, {"predictions": [True]}, {"outputs": [1]}]
)
def test_an_answer_without_a_prediction_a_record_is_wrong_in_each(body: object) -> None:
    sent = labelled()
    with answering(lambda _: (200, json.dumps(body).encode()), {"x-model-version": "2"}) as address:
        sent.send(address, "wings", {}, 1)
    assert sent.wrong == {"2": Counts(ROWS_A_REQUEST, ROWS_A_REQUEST)}
