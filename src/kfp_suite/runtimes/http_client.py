"""One request to an endpoint, and its answer: JSON over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.runtimes.protocol import Question

VERSION_HEADER = "x-model-version"
VERSION_CHOICE = "x-kfp-suite-version"
"""A request header: the number of the version that is to answer, for A/B tests by header."""
_PART = 1 << 20


class UnknownHostError(EndpointError):
    """The name of an endpoint leads nowhere from here: nobody has been asked."""


@dataclass(frozen=True)
class Answer:
    """An endpoint's answer, the version that gave it (empty if the endpoint does not name one),
    and its latency in seconds."""

    body: Any
    version: str
    seconds: float


def ask(
    base: str,
    question: Question,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> Answer:
    """Send one request.

    Args:
        base: The server's address: `http://host:port`.
        question: Path and body.
        headers: More headers: `Host` behind an ingress, `Authorization`.
        timeout: Seconds until the answer is there, whole.

    Raises:
        UnknownHostError: nobody here knows the server's name.
        EndpointError: no answer, half of one, not 200, or not JSON.
    """
    url = base.rstrip("/") + question.path
    if not url.startswith(("http://", "https://")):
        raise EndpointError("not an address", where=url, expected="http(s)://…")
    call = urllib.request.Request(  # noqa: S310 - checked above
        url,
        json.dumps(question.body).encode(),
        {"content-type": "application/json", **(headers or {})},
    )
    started = time.monotonic()
    try:
        status, content, version = _answered(call, timeout)
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        kind = UnknownHostError if isinstance(cause, socket.gaierror) else EndpointError
        raise kind("did not answer", where=url, got=str(error) or repr(error)) from error
    if status != 200:
        raise EndpointError(f"answered {status}", where=url, got=content.decode(errors="replace"))
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EndpointError("did not answer JSON", where=url, got=str(error)) from error
    if not version and isinstance(body, dict):
        version = str(body.get("model_version") or "")
    return Answer(body, version, time.monotonic() - started)


def _answered(call: urllib.request.Request, timeout: float) -> tuple[int, bytes, str]:
    """Status, body, and the version that answered.

    Raises:
        OSError, HTTPException: no whole answer in time.
    """
    ends = time.monotonic() + timeout
    try:
        response = urllib.request.urlopen(call, timeout=timeout)  # noqa: S310
    except urllib.error.HTTPError as error:
        response = error
    with response:
        # urllib's time-out is per read: a body that drips in would never end.
        found = []
        while part := response.read1(_PART):
            found.append(part)
            if time.monotonic() > ends:
                raise TimeoutError("timed out in the middle of the answer")
        if response.length:
            raise http.client.IncompleteRead(b"".join(found), response.length)
        return response.status, b"".join(found), response.headers.get(VERSION_HEADER, "")
