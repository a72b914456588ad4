"""Serve manifests until a signal."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from kfp_suite.components.server.gateway.following import DRAIN_SECONDS, Follower
from kfp_suite.components.server.gateway.gateway import Gateway
from kfp_suite.components.server.lingering import linger


def serve_manifests(manifests: Sequence[Path], *, host: str, port: int) -> None:
    """Serve InferenceServices and InferenceGraphs, and follow their files.

    Args:
        manifests: Their files.
        host: The address to bind to.
        port: Of HTTP.

    Raises:
        KfpSuiteError: a manifest that is not one, or a version that does not start.
    """
    asyncio.run(_serve(list(manifests), host, port))


async def _serve(manifests: list[Path], host: str, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    gateway = Gateway()
    with tempfile.TemporaryDirectory(prefix="kfp-suite-serve-") as scratch:
        follower = Follower(gateway, manifests, Path(scratch), f"http://{host}:{port}")
        runner = web.AppRunner(gateway.app(), access_log=None, shutdown_timeout=DRAIN_SECONDS)
        following = None
        try:
            first = asyncio.create_task(follower.first())
            waiting = asyncio.create_task(ended.wait())
            await asyncio.wait((first, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                first.cancel()
                return
            first.result()
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            following = asyncio.create_task(follower.follow())
            await waiting
        finally:
            if following is not None:
                following.cancel()
            follower.withdraw()
            await _let_out(gateway, runner)
            await runner.cleanup()
            await follower.stop()


async def _let_out(gateway: Gateway, runner: web.AppRunner) -> None:
    """Let nobody new in, and the clients know."""
    gateway.ending = True
    for site in runner.sites:
        await site.stop()
    server = runner.server
    if server is not None:
        await linger(lambda: server.connections)
