"""A request's body that is too large, or does not come: refused before it costs anything."""

from __future__ import annotations

import asyncio
from typing import Any

from kfp_suite.components.server.unanswered import Receive, Scope, Send, refuse


class BodyLimit:
    """ASGI middleware: 413 for a body over a limit, before it is read whole; 408 for one that
    does not come in time."""

    def __init__(self, app: Any, limit: int, seconds: float) -> None:
        """Of `limit` bytes and `seconds`."""
        self._app, self._limit, self._seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit:
            await self._too_large(send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                chunks = await self._read(receive)
        except TimeoutError:
            await refuse(send, 408, f"the body did not come within {self._seconds:g} s")
            return
        if chunks is None:
            await self._too_large(send)
            return
        waiting = iter(chunks)

        async def replay() -> Scope:
            return next(waiting, None) or await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> list[Scope] | None:
        """The messages of a body, None where it is too large."""
        chunks, size = [], 0
        while True:
            message = await receive()
            chunks.append(message)
            size += len(message.get("body", b""))
            if size > self._limit:
                return None
            if message["type"] != "http.request" or not message.get("more_body"):
                return chunks

    async def _too_large(self, send: Send) -> None:
        text = f"the body is over {self._limit:,} bytes; send fewer records at once"
        await refuse(send, 413, text)
