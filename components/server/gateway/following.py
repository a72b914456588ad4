"""Manifests as files: what they ask for is started, switched to, and what they no longer ask
for is drained, as KServe's controller does with objects.

Beside each manifest lies its status:

    <manifest>.status.json   {observed, ready, url, versions, error}

`observed` is the digest of the manifest's bytes that the rest is about.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.contracts.canonical import write_json
from kfp_suite.components.contracts.digests import digest_bytes
from kfp_suite.components.contracts.errors import KfpSuiteError
from kfp_suite.components.kserve.canary import split_of
from kfp_suite.components.kserve.manifests import Served, read_manifest
from kfp_suite.components.server.gateway.backends import Backend, Start
from kfp_suite.components.server.gateway.gateway import Gateway
from kfp_suite.components.server.gateway.graph import Graph
from kfp_suite.components.server.gateway.routing import Route
from kfp_suite.components.server.limits import PREDICT_SECONDS, drain_seconds
from kfp_suite.components.server.threads import Threads

LOOK_SECONDS = 0.2
DRAIN_SECONDS = drain_seconds(PREDICT_SECONDS)
_LONGEST_PAUSE = 30.0
_MOST_STARTS = 64

log = logging.getLogger(__name__)


def status_file(manifest: Path) -> Path:
    """Where the status of a manifest is."""
    return manifest.with_name(f"{manifest.name}.status.json")


@dataclass
class _Followed:
    """An InferenceService: its file, what was seen of it, and its processes; `work` is what is
    under way to what the file of digest `wanted` asks for."""

    path: Path
    wanted: str = ""
    work: asyncio.Task[None] | None = None
    observed: str = ""
    name: str = ""
    backends: dict[Served, Backend] = field(default_factory=dict)
    starting: dict[Served, tuple[Start, asyncio.Task[Backend]]] = field(default_factory=dict)
    error: str = ""
    retry_at: float = 0.0
    pause: float = 1.0


class Follower:
    """Keeps a gateway at what manifests say."""

    def __init__(self, gateway: Gateway, manifests: list[Path], scratch: Path, url: str) -> None:
        """Of `manifests`, with versions copied to `scratch`; `url`: the gateway's own."""
        self._gateway, self._scratch, self._url = gateway, scratch, url
        self._followed = [_Followed(path) for path in manifests]
        self._draining: set[asyncio.Task[None]] = set()
        # A start may take minutes: none waits for another, nor does what else is on a thread.
        self._threads = Threads(_MOST_STARTS, "start")

    async def follow(self) -> None:
        """Look at the files until cancelled."""
        await asyncio.gather(*map(self._follow, self._followed))

    async def _follow(self, followed: _Followed) -> None:
        while True:
            await self._look(followed)
            await asyncio.sleep(LOOK_SECONDS)

    async def first(self) -> None:
        """The first look at all of them.

        Raises:
            KfpSuiteError: a manifest that is not one, or a version that does not start.
        """
        for followed in self._followed:
            followed.work = asyncio.create_task(self._first(followed))
        await asyncio.gather(*(one.work for one in self._followed if one.work is not None))

    async def _first(self, followed: _Followed) -> None:
        content = followed.path.read_bytes()
        followed.wanted = digest_bytes(content)
        await self._reconcile(followed, content)
        self._tell(followed)

    async def stop(self) -> None:
        """End every process."""
        tasks = [*self._draining, *(one.work for one in self._followed if one.work is not None)]
        for task in tasks:
            task.cancel()
        starting = [one for followed in self._followed for one in followed.starting.values()]
        for start, _ in starting:  # a thread cannot be cancelled
            start.give_up()
        await asyncio.gather(*tasks, *(task for _, task in starting), return_exceptions=True)
        for followed in self._followed:
            status_file(followed.path).unlink(missing_ok=True)
            for backend in followed.backends.values():
                await asyncio.to_thread(backend.stop)

    async def _look(self, followed: _Followed) -> None:
        """Begin anew where the file has changed, a server has ended, or the last try failed."""
        try:
            content = await asyncio.to_thread(followed.path.read_bytes)
        except OSError:
            return  # it is being replaced
        digest = digest_bytes(content)
        broken = [b for b in followed.backends.values() if not b.running()]
        working = followed.work is not None and not followed.work.done()
        due = time.monotonic() >= followed.retry_at
        failed = bool(followed.error) and not working
        if digest == followed.wanted and not (due and (broken or failed)):
            return
        if followed.work is not None:
            followed.work.cancel()
            await asyncio.wait((followed.work,))
        for backend in broken:
            log.warning("version %s ended: %s", backend.served.version, backend.base)
            del followed.backends[backend.served]
            await asyncio.to_thread(backend.stop)
        followed.wanted = digest
        followed.work = asyncio.create_task(self._work(followed, content))

    async def _work(self, followed: _Followed, content: bytes) -> None:
        try:
            await self._reconcile(followed, content)
            followed.error, followed.pause = "", 1.0
        except KfpSuiteError as error:
            log.warning("%s: %s", followed.path, error)
            followed.observed, followed.error = digest_bytes(content), str(error)
            followed.retry_at = time.monotonic() + followed.pause
            followed.pause = min(2 * followed.pause, _LONGEST_PAUSE)
        self._tell(followed)

    async def _reconcile(self, followed: _Followed, content: bytes) -> None:
        manifest = await asyncio.to_thread(read_manifest, followed.path)
        if manifest["kind"] == "InferenceGraph":
            graph = Graph(manifest)
            self._gateway.graphs[graph.name] = graph
            followed.observed = digest_bytes(content)
            return
        split = split_of(manifest)
        name = split.stable.name
        transformer = manifest["spec"].get("transformer")
        before = self._gateway.routes.get(name)
        for served, (start, _) in followed.starting.items():
            if served not in (split.stable, split.candidate):
                start.give_up()
        failure: KfpSuiteError | None = None
        stable = await self._started(followed, split.stable, transformer)
        candidate = None
        if before is not None and before.stable not in followed.backends.values():
            # What has ended is replaced before the candidate is waited for.
            self._gateway.routes[name] = Route(stable)
        if split.candidate is not None:
            try:
                candidate = await self._started(followed, split.candidate, transformer)
            except KfpSuiteError as error:
                failure = error  # the stable version goes on alone
        followed.name = name
        self._gateway.routes[name] = Route(
            stable,
            candidate,
            split.percent if candidate is not None else 0,
            split.shadow if candidate is not None else 0,
        )
        followed.observed = digest_bytes(content)
        if before is not None:
            log.info("%s: %s", name, _told(self._gateway.routes[name]))
        for served in set(followed.backends) - {split.stable, split.candidate}:
            task = asyncio.create_task(_drain(followed.backends.pop(served)))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        if failure is not None:
            raise failure

    async def _started(
        self, followed: _Followed, served: Served, transformer: dict[str, Any] | None
    ) -> Backend:
        if served in followed.backends:
            return followed.backends[served]
        if served not in followed.starting:
            log.info("starting version %s of %s", served.version, served.model)
            start = Start(served, transformer, self._scratch)
            task = asyncio.create_task(self._start(followed, served, start))
            followed.starting[served] = start, task
        # Whoever waits may be cancelled: the next one finds it under way.
        return await asyncio.shield(followed.starting[served][1])

    async def _start(self, followed: _Followed, served: Served, start: Start) -> Backend:
        try:
            backend: Backend = await asyncio.get_running_loop().run_in_executor(
                self._threads, start.run
            )
            followed.backends[served] = backend
            return backend
        finally:
            del followed.starting[served]

    def _tell(self, followed: _Followed) -> None:
        route = self._gateway.routes.get(followed.name)
        sides = []
        if route is not None:
            sides.append((route.stable, 100 - route.percent))
            if route.candidate is not None:
                sides.append((route.candidate, route.percent))
        status = {
            "observed": followed.observed,
            "ready": not followed.error,
            "url": self._url,
            "versions": [
                {"version": side.served.version, "percent": share} for side, share in sides
            ],
            "error": followed.error,
        }
        self._gateway.status[followed.name or followed.path.name] = status
        write_json(status_file(followed.path), status)


def _told(route: Route) -> str:
    if route.candidate is None:
        return f"version {route.stable.served.version} serves"
    return (
        f"version {route.stable.served.version} serves, "
        f"version {route.candidate.served.version} gets {route.percent} %"
    )


async def _drain(backend: Backend) -> None:
    """Let it finish what it works on, then end it."""
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while backend.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    finally:
        await asyncio.shield(asyncio.to_thread(backend.stop))
