"""Answers without a prediction: one form of answer, one line in the log.

An answer is `{"error": "..."}`. The log has the request and the reason, and no traceback:
tracebacks are for defects.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope, Send

_MAX_CHARS = 500
_FIRST_REFUSAL = 400
log = logging.getLogger("uvicorn.refusals")  # in uvicorn's format, with the time


def log_refusal(scope: Scope, status: int, text: str) -> None:
    """Log a refused request in one line, with control characters escaped."""
    client, _ = scope.get("client") or ("-", 0)
    what = f"{scope.get('method', '-')} {scope.get('path', '')}"
    log.warning("%s %s: %d %s", client, one_line(what), status, one_line(text))


def one_line(text: str) -> str:
    """A text from outside as one line of a log."""
    shown = text[:_MAX_CHARS].encode("unicode_escape").decode()
    return shown if len(text) <= _MAX_CHARS else shown + "…"


def log_refusals_once() -> None:
    """Leave refused requests out of uvicorn's access log, since `log_refusal` logs them."""
    logging.getLogger("uvicorn.access").addFilter(_is_no_refusal)


def _is_no_refusal(record: logging.LogRecord) -> bool:
    arguments = record.args
    status = arguments[-1] if isinstance(arguments, tuple) and arguments else 0
    return not (isinstance(status, int) and status >= _FIRST_REFUSAL)


async def refuse(
    scope: Scope,
    send: Send,
    status: int,
    text: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Answer in place of an application, as the last answer of the connection."""
    log_refusal(scope, status, text)
    body = json.dumps({"error": text}).encode()
    sent = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})


def refusal(scope: Scope, status: int, text: str, headers: Any = None) -> Response:
    """The answer of an application."""
    log_refusal(scope, status, text)
    content = json.dumps({"error": text})
    return Response(content, status, headers, media_type="application/json")


async def refuse_path(request: Request, error: Exception) -> Response:
    """Answer to an unknown path or method."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    standard = HTTPStatus(error.status_code).phrase
    if error.status_code in (404, 405) and error.detail == standard:
        text = f"{what}: no such path" if error.status_code == 404 else f"{what}: no such method"
    else:
        text = error.detail
    return refusal(request.scope, error.status_code, text, error.headers)


async def tell_defect(request: Request, error: Exception) -> Response:
    """Answer 500 to an exception that the client did not cause.

    The text of such an exception may hold data or paths, so it is in the log alone.
    """
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    content = json.dumps({"error": f"{type(error).__name__}: see the server's log"})
    return Response(content, 500, media_type="application/json")
