"""KServe's model server with our models: bound where it is told, and bounded."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import kserve
from kserve.model_server import app

from kfp_suite.components.contracts.errors import EndpointError, KfpSuiteError
from kfp_suite.components.server.model import ServedVersion, VersionedModel

MOST_BODY_BYTES = 32 * 1024 * 1024
POLL_SECONDS = 2.0
GRACE_SECONDS = 10

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: 413 for a body over a limit, before it is read whole."""

    def __init__(self, app: Any, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit:
            await self._refuse(send)
            return
        chunks, size = [], 0
        while True:
            message = await receive()
            chunks.append(message)
            size += len(message.get("body", b""))
            if size > self._limit:
                await self._refuse(send)
                return
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        waiting = iter(chunks)

        async def replay() -> Scope:
            return next(waiting, None) or await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, send: Send) -> None:
        text = f'{{"error": "the body is over {self._limit:,} bytes; send fewer records at once"}}'
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})


class Server(kserve.ModelServer):  # type: ignore[misc]
    """The KServe server, bound to `host`, that may follow a moving reference."""

    def __init__(self, host: str, http_port: int, grpc_port: int | None) -> None:
        super().__init__(
            http_port=http_port,
            grpc_port=grpc_port or 0,
            enable_grpc=grpc_port is not None,
            grace_period=GRACE_SECONDS,
        )
        self._host = host
        self._follow: Callable[[], ServedVersion | None] | None = None
        self._model: VersionedModel | None = None

    def follow(self, model: VersionedModel, newer: Callable[[], ServedVersion | None]) -> None:
        """Ask `newer` now and then, off the event loop, and serve what it gives."""
        self._model, self._follow = model, newer

    async def _serve(self) -> None:
        assert self._rest_server is not None
        self._rest_server.config.host = self._host
        follower = asyncio.create_task(self._poll())
        try:
            await super()._serve()
        finally:
            follower.cancel()

    async def _poll(self) -> None:
        while self._follow is not None and self._model is not None:
            await asyncio.sleep(POLL_SECONDS)
            try:
                found = await asyncio.to_thread(self._follow)
            except KfpSuiteError as error:
                log.warning("still serving version %s: %s", self._model.version, error)
                continue
            if found is not None:
                self._model.replace(found)
                log.info("now serving version %s", found.version)


def serve(
    models: list[VersionedModel],
    *,
    host: str,
    http_port: int,
    grpc_port: int | None = None,
    newer: Callable[[], ServedVersion | None] | None = None,
) -> None:
    """Serve until a signal.

    Args:
        models: What to serve; each by its name.
        host: The address to bind HTTP to.
        http_port: The port of V1 and V2 over HTTP.
        grpc_port: The port of V2 over gRPC, on all addresses; None: no gRPC.
        newer: Asked every 2 seconds for a version to replace the first model's with.

    Raises:
        EndpointError: the port is in use.
    """
    check_port(host, http_port)
    app.add_middleware(BodyLimit, limit=MOST_BODY_BYTES)
    server = Server(host, http_port, grpc_port)
    if newer is not None:
        server.follow(models[0], newer)
    server.start(models)


def check_port(host: str, port: int) -> None:
    """Raises EndpointError where the port cannot be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EndpointError(
                f"port {port} cannot be used",
                where=host,
                got=error.strerror,
                fix="choose another with --port",
            ) from error
