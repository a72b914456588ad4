"""Limits on the size and time of a request's head: its first line and its headers.

The application is called once the head is complete. Without limits, a client that never ends its
head would hold a connection for ever, and the server would buffer all of it.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kfp_suite.server.door import TOO_LARGE_HEAD
from kfp_suite.server.limits import HEAD_SECONDS, MAX_HEAD_BYTES

DISCARD_SECONDS = 2.0
"""How long what a client still sends is read and dropped after a refusal. A socket that is closed
before is reset, and the client may never read why."""
_TOO_LATE = f"the request's headers did not come within {HEAD_SECONDS:g} s"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol: 431 for a head over `MAX_HEAD_BYTES`, 408 for one that is not
    complete within `HEAD_SECONDS`; the same for trailers."""

    _told = False  # whether the application was called with a request
    _untold = 0
    _late: TimerHandle | None = None
    _refused = False
    _discarding: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that sends nothing at first is treated as one that is silent between
        requests."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._unset_keepalive_if_required()
        self._in_time()
        if self._discarding is not None:
            self._discarding.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Of most requests the head is in the first bytes: then this costs nothing."""
        if self._refused:
            return
        self._told = False
        super().data_received(data)
        if self._told:
            self._untold = 0
            self._in_time()
            return
        self._untold += len(data)
        if self._untold > MAX_HEAD_BYTES:
            self._refuse(431, TOO_LARGE_HEAD)
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._refuse, 408, _TOO_LATE)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._told = True
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > (
            MAX_HEAD_BYTES
        ):
            self.scope["too_large_head"] = True  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._told = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it."""
        self._told = True
        super().on_message_complete()

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int, text: str) -> None:
        self._in_time()
        if not self._refused and not self.transport.is_closing():
            self._end(status, text)

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP."""
        self._end(400, msg)

    def _end(self, status: int, text: str) -> None:
        body = json.dumps({"error": text}).encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            # The answer to an earlier request can no longer be sent.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._discarding = self.loop.call_later(DISCARD_SECONDS, self.transport.close)
        else:
            self.transport.close()
