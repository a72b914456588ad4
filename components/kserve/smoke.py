"""The first request to an endpoint: the model's own sample, with the answer it must give."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.contracts.sample import Sample
from kfp_suite.components.runtimes.asking import Answer, ask
from kfp_suite.components.runtimes.exchange import Question, difference

TOLERANCE = 1e-4
"""The largest difference of a probability, or of a number relative to it."""
_TRIES = 5
_PAUSE = 1.0


def address_of(service: Mapping[str, Any], ingress: str = "") -> tuple[str, dict[str, str]]:
    """Where an InferenceService is asked, and the headers that takes.

    Args:
        service: With its status.
        ingress: `http(s)://host[:port]` of the ingress, for who is outside the cluster and
            cannot resolve the endpoint's name; empty: the address inside the cluster.
    """
    status = service.get("status", {})
    url = str(status.get("url", ""))
    if ingress:
        return ingress, {"Host": urlsplit(url).netloc}
    inside = str(status.get("address", {}).get("url", ""))
    parts = urlsplit(inside or url)
    return f"{parts.scheme}://{parts.netloc}", {}


def smoke_test(
    base: str,
    headers: Mapping[str, str],
    question: Question,
    sample: Sample,
    *,
    version: str = "",
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Ask for the sample and compare with what the model itself says of it.

    An endpoint that has just become ready may not be reached at once: what fails is tried
    again a few times; a wrong answer is wrong the first time.

    Args:
        base: The address.
        headers: More headers.
        question: The sample as this server takes it.
        sample: With the model's own answers, or without, from an older model.
        version: The version that must answer; empty: whatever it says.
        sleep: What waits between tries.

    Raises:
        EndpointError: no answer, another version's, or another answer.
    """
    answer = _first_answer(base, headers, question, sleep)
    if version and answer.version and answer.version != version:
        raise EndpointError(
            "another version answered", where=base, got=answer.version, expected=version
        )
    if sample.predictions:
        far = difference(sample, answer.body)
        if not far <= TOLERANCE:
            raise EndpointError(
                "the endpoint does not answer as the model does",
                where=base + question.path,
                got=f"{answer.body} (difference {far:g})",
                expected=f"{list(sample.predictions)} within {TOLERANCE:g}",
                fix="compare the server's library versions with those in model.json",
            )
    return answer


def _first_answer(
    base: str,
    headers: Mapping[str, str],
    question: Question,
    sleep: Callable[[float], None],
) -> Answer:
    for tried in range(1, _TRIES):
        try:
            return ask(base, question, headers=headers)
        except EndpointError:
            sleep(_PAUSE * tried)
    return ask(base, question, headers=headers)
