"""The status file of a manifest: one owner at a time, and always a gateway that serves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.gateway_status import (
    GatewayStatus,
    answers,
    read_status,
    status_path,
    wait_for_gateway,
    wait_until_observed,
    write_status,
)
from kfp_suite.kserve.graphs import inference_graph
from kfp_suite.kserve.manifests import to_yaml
from kfp_suite.runtimes.local import LOOPBACK, bind, free_port
from kfp_suite.server.gateway.gateway import Gateway
from kfp_suite.server.gateway.reconciler import Follower
from kfp_suite.server.gateway.serving import GatewayServer, gateway_config


class Running:
    """A gateway that follows a manifest, in this process."""

    def __init__(self, manifest: Path) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._gateway = Gateway()
        self._follower = Follower(self._gateway, [manifest], manifest.parent, self.url)
        config = gateway_config(self._gateway)
        self._server = GatewayServer(config, bind(LOOPBACK, self.port))

    async def start(self) -> None:
        await self._follower.first()
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        self._following = asyncio.create_task(self._follower.follow())

    async def die(self) -> None:
        """As by SIGKILL: nothing is tidied up."""
        self._following.cancel()
        with suppress(asyncio.CancelledError):
            await self._following
        self._server.should_exit = self._server.force_exit = True
        await self._serving

    async def stop(self) -> None:
        self._follower.withdraw()
        await self.die()


@asynccontextmanager
async def running(manifest: Path) -> AsyncIterator[Running]:
    gateway = Running(manifest)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def eventually(holds: Callable[[], object], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "a graph.yaml"
    nodes = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "wings"}]}}
    file.write_text(to_yaml(inference_graph("both", "models", nodes, {})))
    return file


def owner(manifest: Path) -> str:
    status = read_status(manifest)
    return status.url if status else ""


async def _with_two(manifest: Path) -> None:
    first, second, third = Running(manifest), Running(manifest), Running(manifest)
    await first.start()
    await eventually(lambda: owner(manifest) == first.url)
    await second.start()
    await asyncio.sleep(0.7)  # it has looked several times
    assert owner(manifest) == first.url
    # One that ends hands over; the end of the other then finds a file that is not its own.
    await first.stop()
    await eventually(lambda: owner(manifest) == second.url)
    await first.stop()
    assert owner(manifest) == second.url
    # One that was killed leaves its file, which the next one takes over.
    await third.start()
    await second.die()
    await eventually(lambda: owner(manifest) == third.url)
    await third.stop()
    assert not status_path(manifest).exists()


# A gateway that dies in the middle of a request leaves its connection open, on purpose.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_of_two_gateways_one_owns_the_status_until_it_is_gone(manifest: Path) -> None:
    asyncio.run(_with_two(manifest))
    gc.collect()


async def _with_damage(manifest: Path) -> None:
    async with running(manifest):
        await eventually(lambda: owner(manifest))
        before = read_status(manifest)
        for content in (None, b"", b"{}", b"[1", b'{"url": 1}', b"[]", b"\xff"):
            if content is None:
                status_path(manifest).unlink()
            else:
                status_path(manifest).write_bytes(content)
            await eventually(lambda: read_status(manifest) == before)


def test_a_status_that_is_gone_or_broken_is_written_again(manifest: Path) -> None:
    asyncio.run(_with_damage(manifest))


async def _alive(manifest: Path) -> tuple[bool, bool, bool]:
    async with running(manifest):
        await eventually(lambda: owner(manifest))
        status = read_status(manifest)
        assert status is not None
        there = await asyncio.to_thread(answers, status)
        other = await asyncio.to_thread(answers, GatewayStatus("another", status.url))
    return there, other, await asyncio.to_thread(answers, status)


def test_a_gateway_answers_for_itself_alone(manifest: Path) -> None:
    """Not for another one whose port it was given, and not when it has ended."""
    assert asyncio.run(_alive(manifest)) == (True, False, False)
    assert not answers(GatewayStatus("one", "file:///etc/hostname"))


def test_who_waits_for_a_gateway_is_told_how_to_start_one(manifest: Path) -> None:
    with pytest.raises(EndpointError) as caught:
        wait_for_gateway(manifest, 0.1)
    assert str(caught.value) == (
        f"{manifest}: no gateway serves the manifest; got no status beside it; "
        f"expected served within 0.1 s; kfp-suite serve '{manifest}'"
    )
    write_status(manifest, GatewayStatus("one", "http://127.0.0.1:1", "sha256:other", ready=True))
    assert wait_for_gateway(manifest, 0.1).url == "http://127.0.0.1:1"
    with pytest.raises(EndpointError, match=r"no gateway serves .*; got a graph\.yaml\.status"):
        wait_until_observed(manifest, 0.1)
    observed = digest_bytes(manifest.read_bytes())
    write_status(manifest, GatewayStatus("one", "http://127.0.0.1:1", observed, ready=True))
    assert wait_until_observed(manifest, 0.1).ready
