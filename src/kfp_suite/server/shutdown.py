"""SIGTERM: what was begun over HTTP and gRPC is finished, and nothing new is begun."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from kfp_suite.server.keep_alive import linger, refuse_new
from kfp_suite.server.refusals import refuse


class GivenUp:
    """ASGI middleware: 503 for a request that is not waited for any longer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            await refuse(scope, send, 503, "this server ends before it could answer; ask again")


# After a pause every connection that waited has been accepted: the loop looks for them first.
_ACCEPT_SECONDS = 0.05


class DrainingServer(uvicorn.Server):
    """An HTTP server that listens on sockets which are open already."""

    def __init__(
        self, config: uvicorn.Config, listeners: Sequence[socket.socket], *, shared: bool = False
    ) -> None:
        """Serve.

        Args:
            config: The application, and how long requests in progress may take.
            listeners: The sockets to listen on.
            shared: Whether other processes accept from the same sockets. They still do when
                this one ends, so it leaves the sockets as they are.
        """
        super().__init__(config)
        self._listeners, self._shared = list(listeners), shared

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until a signal."""
        await super().serve(self._listeners)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is there."""
        self.server_state.default_headers.append((b"connection", b"close"))
        if not self._shared:
            for listener in self._listeners:
                refuse_new(listener)
        await asyncio.sleep(_ACCEPT_SECONDS)
        for server in self.servers:
            server.close()
        await linger(lambda: self.server_state.connections, _is_fresh)
        await super().shutdown(sockets)


def _is_fresh(connection: Any) -> bool:
    """Whether a connection has not had a request yet."""
    return getattr(connection, "cycle", None) is None
