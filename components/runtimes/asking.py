"""One request to an endpoint, and its answer: JSON over HTTP."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.runtimes.exchange import Question

VERSION_HEADER = "x-model-version"
VERSION_CHOICE = "x-kfp-suite-version"
"""A request header: the number of the version that is to answer, for A/B tests by header."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint said, the version that said it (empty where it does not tell), and
    how many seconds it took."""

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
        timeout: Seconds without an answer.

    Raises:
        EndpointError: no answer, not 200, or not JSON.
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
        with urllib.request.urlopen(call, timeout=timeout) as response:  # noqa: S310
            content, version = response.read(), response.headers.get(VERSION_HEADER, "")
    except urllib.error.HTTPError as error:
        raise EndpointError(
            f"answered {error.code}", where=url, got=error.read().decode(errors="replace")
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError("did not answer", where=url, got=str(error)) from error
    try:
        body = json.loads(content)
    except ValueError as error:
        raise EndpointError("did not answer JSON", where=url, got=str(error)) from error
    if not version and isinstance(body, dict):
        version = str(body.get("model_version") or "")
    return Answer(body, version, time.monotonic() - started)
