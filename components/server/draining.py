"""SIGTERM: what was begun over HTTP and gRPC is finished, and nothing new is begun."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import uvicorn
from kserve.protocol.rest.server import _RefreshingServer

from kfp_suite.components.server.lingering import linger
from kfp_suite.components.server.unanswered import Receive, Scope, Send, refuse


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
            await refuse(send, 503, "this server ends before it could answer; ask again")


class DrainingServer(_RefreshingServer):  # type: ignore[misc]
    """KServe's HTTP server."""

    def __init__(
        self,
        config: uvicorn.Config,
        beside: grpc.aio.Server | None,
        listener: socket.socket | None = None,
    ) -> None:
        """Serve.

        Args:
            config: Where, and what; and how long what was begun may take.
            beside: The gRPC server that ends with it.
            listener: What to listen on; None: what the configuration says.
        """
        super().__init__(config)
        self._beside, self._listener = beside, listener

    async def serve(self, sockets: Any = None) -> None:
        """Until a signal."""
        await super().serve(sockets if self._listener is None else [self._listener])

    async def shutdown(self, sockets: Any = None) -> None:
        """Finish what is there."""
        await asyncio.gather(self._end_http(sockets), self._end_grpc())

    async def _end_http(self, sockets: Any) -> None:
        for listener in self.servers:
            listener.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        await linger(lambda: self.server_state.connections)
        await super().shutdown(sockets)

    async def _end_grpc(self) -> None:
        if self._beside is not None:
            await self._beside.stop(self.config.timeout_graceful_shutdown)
