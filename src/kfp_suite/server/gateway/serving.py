"""Serve manifests until a signal."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from kfp_suite.runtimes.local import address_of, bind
from kfp_suite.server.body_limit import BodyLimit
from kfp_suite.server.cors import add_cors
from kfp_suite.server.door import Door
from kfp_suite.server.gateway.gateway import Gateway
from kfp_suite.server.gateway.reconciler import DRAIN_SECONDS, Follower
from kfp_suite.server.header_limits import BoundedProtocol
from kfp_suite.server.limits import BODY_SECONDS, MAX_BODY_BYTES
from kfp_suite.server.logs import say_served, show_own_log
from kfp_suite.server.shutdown import DrainingServer, GivenUp

_KEEP_ALIVE_SECONDS = 65


def serve_manifests(
    manifests: Sequence[Path], *, host: str, port: int, cors_origins: Sequence[str] = ()
) -> None:
    """Serve InferenceServices and InferenceGraphs, and follow their files.

    Args:
        manifests: Their files.
        host: The address to bind to.
        port: Of HTTP.
        cors_origins: Origins of web pages that may send requests; `*`: all; empty: none.

    Raises:
        KfpSuiteError: a manifest that is not one, or a version that does not start.
    """
    show_own_log("uvicorn")
    asyncio.run(_serve(list(manifests), host, port, cors_origins))


class GatewayServer(DrainingServer):
    """An HTTP server that ends when `should_exit` is set, and leaves signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Of none."""
        yield


async def _serve(manifests: list[Path], host: str, port: int, cors_origins: Sequence[str]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with tempfile.TemporaryDirectory(prefix="kfp-suite-serve-") as scratch:
        async with Gateway() as gateway:
            url = f"http://{address_of(host, port)}"
            follower = Follower(gateway, manifests, Path(scratch), url)
            try:
                first = asyncio.create_task(follower.first())
                waiting = asyncio.create_task(ended.wait())
                await asyncio.wait((first, waiting), return_when=asyncio.FIRST_COMPLETED)
                if not first.done():
                    first.cancel()
                    return
                first.result()
                server = GatewayServer(gateway_config(gateway, cors_origins), bind(host, port))
                say_served(gateway.served(), host, port, graphs=gateway.graphs)
                await _serve_until(waiting, server, follower)
            finally:
                follower.withdraw()
                await follower.stop()


async def _serve_until(
    ended: asyncio.Task[bool], server: GatewayServer, follower: Follower
) -> None:
    serving = asyncio.create_task(server.serve())
    following = asyncio.create_task(follower.follow())
    try:
        await asyncio.wait((serving, ended), return_when=asyncio.FIRST_COMPLETED)
    finally:
        following.cancel()
        follower.withdraw()
        server.should_exit = True
        await serving


def gateway_config(gateway: Gateway, cors_origins: Sequence[str] = ()) -> uvicorn.Config:
    """How a gateway is served: within the same bounds as the server.

    Args:
        gateway: The application.
        cors_origins: As of `serve_manifests`.
    """
    app = gateway.app()
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES, seconds=BODY_SECONDS, unpack=False)
    app.add_middleware(GivenUp)
    app.add_middleware(Door)
    add_cors(app, cors_origins)
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(DRAIN_SECONDS),
    )
