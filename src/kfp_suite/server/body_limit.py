"""A request's body: in time, whole, unpacked, and no larger than a limit."""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import Any

from starlette.types import Receive, Scope, Send

from kfp_suite.server.refusals import refuse

CODINGS = ("gzip", "deflate")
"""The content codings that are unpacked; any other is refused with 415."""
READ_AT = "kfp_suite.read_at"
"""The key of a scope for the time at which its body was there, by the monotonic clock."""
_MAX_MEMBERS = 16
_LARGE_PACKED_BYTES = 8 * 1024


class BodyRefused(Exception):
    """A refused body, with the HTTP status of the answer."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


def _make_size_error(limit: int) -> BodyRefused:
    return BodyRefused(413, f"the body is over {limit:,} bytes; send fewer records at once")


class BodyLimit:
    """ASGI middleware: 413 for a body over a limit, before it is read whole; 408 for one that
    does not come in time; 415 for an unknown content coding."""

    def __init__(self, app: Any, limit: int, seconds: float, *, unpack: bool = True) -> None:
        """Guard `app`.

        Args:
            app: Gets the requests, with whole bodies.
            limit: Bytes, as they come and unpacked.
            seconds: How long a body may take to come.
            unpack: Whether `app` takes it unpacked.
        """
        self._app, self._limit, self._seconds, self._unpack = app, limit, seconds, unpack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length, coding = b"", b""
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"content-encoding":
                coding = coding + b"," + value if coding else value
        try:
            if length.isdigit() and int(length) > self._limit:
                raise _make_size_error(self._limit)
            packed_as = _coding(coding.decode("latin-1")) if coding and self._unpack else ""
            async with asyncio.timeout(self._seconds):
                chunks = await self._read(receive)
            if chunks is None:  # the client has gone
                return
            if packed_as:
                scope, chunks = await self._unpack_request(scope, chunks, packed_as)
        except TimeoutError:
            await refuse(scope, send, 408, f"the body did not come within {self._seconds:g} s")
        except BodyRefused as error:
            accepted = [(b"accept-encoding", ", ".join(CODINGS).encode())]
            headers = accepted if error.status == 415 else []
            await refuse(scope, send, error.status, str(error), headers)
        else:
            scope[READ_AT] = time.monotonic()
            waiting = iter(chunks)

            async def replay() -> Scope:
                return next(waiting, None) or await receive()

            await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> list[Scope] | None:
        """The messages of a body; None: the client has gone before it was whole.

        Raises:
            BodyRefused: it is over the limit.
        """
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunks.append(message)
            size += len(message.get("body", b""))
            if size > self._limit:
                raise _make_size_error(self._limit)
            if not message.get("more_body"):
                return chunks

    async def _unpack_request(
        self, scope: Scope, chunks: list[Scope], coding: str
    ) -> tuple[Scope, list[Scope]]:
        packed = b"".join(chunk.get("body", b"") for chunk in chunks)
        chunks.clear()
        body = await unpack_aside(packed, coding, self._limit)
        dropped = (b"content-encoding", b"content-length", b"transfer-encoding")
        headers = [pair for pair in scope["headers"] if pair[0] not in dropped]
        scope["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        return scope, [{"type": "http.request", "body": body, "more_body": False}]


def _coding(header: str) -> str:
    """The coding that a header `Content-Encoding` names, empty for none.

    Raises:
        BodyRefused: 415: it is not unpacked here.
    """
    name = header.strip().lower().removeprefix("x-")
    if name in ("", "identity"):
        return ""
    if name not in CODINGS:
        raise BodyRefused(
            415,
            f"content-encoding: got {header}; expected {' or '.join(CODINGS)}, or none",
        )
    return name


async def unpack_body(body: bytes, header: str, limit: int) -> bytes:
    """A body decoded by its header `Content-Encoding`.

    Raises:
        BodyRefused: it cannot be unpacked within `limit` bytes.
    """
    coding = _coding(header)
    return await unpack_aside(body, coding, limit) if coding else body


async def unpack_aside(packed: bytes, coding: str, limit: int) -> bytes:
    """`unpack`, on a thread if that may take long. Raises as `unpack`."""
    if len(packed) < _LARGE_PACKED_BYTES:
        return unpack(packed, coding, limit)
    return await asyncio.to_thread(unpack, packed, coding, limit)


def unpack(packed: bytes, coding: str, limit: int) -> bytes:
    """Unpack gzip (RFC 1952) or deflate (RFC 1950, or 1951 as some clients send).

    Raises:
        BodyRefused: 413: it is over `limit` bytes, and no more than these were unpacked; 400: it
            is not packed so, or ends in the middle.
    """
    parts: list[bytes] = []
    left, rest = limit, packed
    while rest:
        if len(parts) == (_MAX_MEMBERS if coding == "gzip" else 1):
            raise BodyRefused(
                400, f"the body has more than {len(parts)} parts packed with {coding}"
            )
        unpacker = zlib.decompressobj(_window(rest, coding))
        try:
            part = unpacker.decompress(rest, left + 1)
        except zlib.error as error:
            raise BodyRefused(400, f"the body is not packed with {coding}: {error}") from error
        left -= len(part)
        if left < 0:
            raise _make_size_error(limit)
        if not unpacker.eof:
            raise BodyRefused(400, f"the body, packed with {coding}, ends in the middle")
        parts.append(part)
        rest = unpacker.unused_data
    return b"".join(parts)


def _window(packed: bytes, coding: str) -> int:
    """zlib's `wbits`: which header it expects."""
    if coding == "gzip":
        return 16 + zlib.MAX_WBITS
    has_header = packed[0] & 15 == zlib.DEFLATED and int.from_bytes(packed[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
