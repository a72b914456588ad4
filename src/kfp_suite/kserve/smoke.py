"""The first request to an endpoint: the model's own sample, with the answer it must give."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kfp_suite.contracts.errors import EndpointError, ParameterError
from kfp_suite.contracts.sample import Sample
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.runtimes.http_client import Answer, ask
from kfp_suite.runtimes.protocol import Question, difference

TOLERANCE = 1e-4
"""The largest difference of a probability, or of a number relative to it."""
MIN_SECONDS = 10.0
"""How long an endpoint that has just become ready is asked again, whatever time is left."""
MAX_UNNAMED_SECONDS = 30.0
"""How long no answer may be for want of a route, and a wrong one that names no version may come
from the servers before."""
_PAUSE = 1.0
_ANY_NAME = "kubernetes.default.svc"
"""A name that is known in every cluster."""


def address_of(service: Mapping[str, Any], ingress: str = "") -> tuple[str, dict[str, str]]:
    """The address of an InferenceService, and the headers of requests to it.

    Args:
        service: With its status.
        ingress: `http(s)://host[:port]` of the ingress, for clients outside the cluster that
            cannot resolve the endpoint's name; empty: the address inside the cluster.
    """
    status = service.get("status", {})
    url = str(status.get("url", ""))
    if ingress:
        return ingress, {"Host": urlsplit(url).netloc}
    inside = str(status.get("address", {}).get("url", ""))
    parts = urlsplit(inside or url)
    return f"{parts.scheme}://{parts.netloc}", {}


def check_askable(cluster: Cluster, service: Mapping[str, Any] | None, ingress: str) -> None:
    """Raises ParameterError if requests from here could not reach an endpoint.

    Call it before the endpoint is changed.

    Args:
        cluster: The cluster of the endpoint.
        service: The InferenceService as it is; None: it does not exist yet.
        ingress: As `address_of`.
    """
    if ingress or not cluster.is_outside:
        return
    base, _ = address_of(service or {})
    host = urlsplit(base).hostname or _ANY_NAME
    if not _has_address(host):
        raise ParameterError(
            "the endpoint could not be asked from here: its name is known inside the cluster alone",
            where="ingress",
            got=f"none, and {host} has no address here",
            expected="http(s)://HOST[:PORT] of the cluster's ingress",
            fix="set ingress (--param ingress=https://HOST), or run it on the cluster: "
            "kfp-suite submit",
        )


def _has_address(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def smoke_test(
    base: str,
    headers: Mapping[str, str],
    question: Question,
    sample: Sample,
    *,
    version: str = "",
    seconds: float = MIN_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Send the sample request and compare the answer with the model's own.

    An endpoint that has just become ready may not be reachable at once, and the former servers
    may answer a while longer, until every proxy has stopped sending requests to them. So the
    request is repeated, except if the version itself answers wrongly.

    Args:
        base: The address.
        headers: More headers.
        question: The sample as this server takes it.
        sample: With the model's own answers; an older model has none.
        version: The version that must answer; empty: any.
        seconds: The time that another version may answer, at least `MIN_SECONDS`; no answer, or
            a wrong one that names no version, is final after `MAX_UNNAMED_SECONDS`.
        sleep: Waits between tries.

    Returns:
        The answer.

    Raises:
        UnknownHostError: the endpoint's name cannot be resolved here: no version is at fault.
        EndpointError: no answer, another version's, or a wrong one.
    """
    seconds, waited = max(seconds, MIN_SECONDS), 0.0
    while True:
        asked = time.monotonic()
        try:
            return _ask_once(base, headers, question, sample, version)
        except EndpointError as error:
            waited += time.monotonic() - asked
            if waited >= _patience(error, seconds):
                raise
        sleep(_PAUSE)
        waited += _PAUSE


class _OtherVersionError(EndpointError):
    """The answer of another version than the one that must answer."""


class _WrongAnswerError(EndpointError):
    """Another answer than the model's, by the version that must answer."""


def _patience(error: EndpointError, seconds: float) -> float:
    """The seconds of repetition after such an error, of `seconds` in all."""
    if isinstance(error, _WrongAnswerError):
        return 0.0
    if isinstance(error, _OtherVersionError):
        return seconds
    return min(seconds, MAX_UNNAMED_SECONDS)


def _ask_once(
    base: str, headers: Mapping[str, str], question: Question, sample: Sample, version: str
) -> Answer:
    answer = ask(base, question, headers=headers)
    named = bool(version and answer.version)
    if named and answer.version != version:
        raise _OtherVersionError(
            "another version answered", where=base, got=answer.version, expected=version
        )
    far = difference(sample, answer.body) if sample.predictions else 0.0
    if not far <= TOLERANCE:
        raise (_WrongAnswerError if named else EndpointError)(
            "the endpoint does not answer as the model does",
            where=base + question.path,
            got=f"{answer.body} (difference {far:g})",
            expected=f"{list(sample.predictions)} within {TOLERANCE:g}",
            fix="compare the server's library versions with those in model.json",
        )
    return answer
