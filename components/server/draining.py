"""SIGTERM: what was begun over HTTP and gRPC is finished, and nothing new is begun."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import uvicorn
from kserve.protocol.rest.server import _RefreshingServer

from kfp_suite.components.server.lingering import linger

GRACE_SECONDS = 10
"""How long requests may take that were there when the server was asked to stop."""


class DrainingServer(_RefreshingServer):  # type: ignore[misc]
    """KServe's HTTP server; `beside`: the gRPC server that ends with it."""

    def __init__(self, config: uvicorn.Config, beside: grpc.aio.Server | None) -> None:
        super().__init__(config)
        self._beside = beside

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
            await self._beside.stop(GRACE_SECONDS)
