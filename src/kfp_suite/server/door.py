"""Checks of each request before it is read, of its method and its form, and the count of answers.

Every answer to a request that names a model is counted for the version that serves, also if the
request could not be read, was too large or came too late.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from kfp_suite.runtimes.http_client import VERSION_HEADER
from kfp_suite.server.body_limit import READ_AT
from kfp_suite.server.limits import MAX_HEAD_BYTES
from kfp_suite.server.refusals import refuse

TOO_LARGE_HEAD = f"the request's headers are over {MAX_HEAD_BYTES:,} bytes"
Observe = Callable[[str, str, int, float], None]
_PREDICTS = re.compile(
    r"/v1/models/(?P<v1>[^/:]+):predict|/v2/models/(?P<v2>[^/]+)(?:/versions/[^/]+)?/infer"
)
_VERSION = VERSION_HEADER.encode()
_JSON_LENGTH = b"inference-header-content-length"


class Door:
    """ASGI middleware, the outermost."""

    def __init__(
        self,
        app: Any,
        version_of: Callable[[str], str | None] | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Let requests through to `app`.

        Args:
            app: Gets the requests.
            version_of: Gives the version of a model that serves now; None for an unknown model.
            observe: Counts a prediction: model, version, HTTP status, seconds from when its
                body was there to when its answer began.
        """
        self._app, self._version_of, self._observe = app, version_of, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET; the protocol leaves out the body
            scope = {**scope, "method": "GET"}
        model = None
        if scope["method"] == "POST" and (found := _PREDICTS.fullmatch(scope["path"])):
            if found["v2"]:
                _set_content_type(scope)
            model = found["v1"] or found["v2"]
        if model is None or self._version_of is None:
            await self._enter(scope, receive, send)
        else:
            await self._count_call(model, scope, receive, send)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("too_large_head"):
            await refuse(scope, send, 431, TOO_LARGE_HEAD)
        else:
            await self._app(scope, receive, send)

    async def _count_call(self, model: str, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._version_of is not None
        before = self._version_of(model)
        if before is None:
            await self._enter(scope, receive, send)
            return
        started, is_counted = time.monotonic(), False

        def count(version: str, status: int) -> None:
            nonlocal is_counted
            is_counted = True
            if self._observe is not None:
                seconds = time.monotonic() - scope.get(READ_AT, started)
                self._observe(model, version, status, seconds)

        async def watch(message: Scope) -> None:
            if message["type"] == "http.response.start":
                version = before
                for name, value in message["headers"]:
                    if name == _VERSION:
                        version = value.decode()
                        break
                else:
                    message["headers"] = [*message["headers"], (_VERSION, before.encode())]
                count(version, message["status"])
            await send(message)

        try:
            await self._enter(scope, receive, watch)
        except Exception:  # Starlette answers a defect with 500 outside of all middleware
            if not is_counted:
                count(before, 500)
            raise


def _set_content_type(scope: Scope) -> None:
    """V2's body is JSON, or JSON and bytes if a header has its length: the content type adds
    nothing, and clients send many (tritonclient none, curl that of a form)."""
    headers = scope["headers"]
    binary = any(name == _JSON_LENGTH for name, _ in headers)
    kind = b"application/octet-stream" if binary else b"application/json"
    if (b"content-type", kind) not in headers:
        rest = [pair for pair in headers if pair[0] != b"content-type"]
        scope["headers"] = [*rest, (b"content-type", kind)]
