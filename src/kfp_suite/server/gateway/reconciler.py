"""Manifests as files: versions that a manifest names are started and switched to, and those that
it no longer names are drained, as KServe's controller does with objects.

Beside each manifest lies its status: see `kserve/gateway_status.py`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.errors import AlreadyExistsError, KfpSuiteError, StoreError
from kfp_suite.kserve.canary import Split, candidate_side, split_of
from kfp_suite.kserve.gateway_status import (
    GatewayStatus,
    answers,
    read_status,
    remove_status,
    write_status,
)
from kfp_suite.kserve.manifests import read_manifest
from kfp_suite.server.daemon_threads import Threads
from kfp_suite.server.gateway.backends import Backend, Side, Start
from kfp_suite.server.gateway.gateway import Gateway
from kfp_suite.server.gateway.graph import Graph
from kfp_suite.server.gateway.routing import Route
from kfp_suite.server.limits import PREDICT_SECONDS, drain_seconds

LOOK_SECONDS = 0.2
DRAIN_SECONDS = drain_seconds(PREDICT_SECONDS)
_MAX_PAUSE_SECONDS = 30.0
# How long another gateway on the same manifest is taken to be there.
_OTHER_SECONDS = 2.0
_MAX_STARTS = 64
_GRAPH = "InferenceGraph"
_Name = tuple[str, str]  # the kind, and the name

log = logging.getLogger(__name__)


@dataclass
class _Followed:
    """An endpoint or a graph: its file, its last state, and its processes; `work` is the task that
    brings it to the file with digest `wanted`. `other` is the gateway that owns the status file,
    if it is not this one; it was alive when last checked, and is checked again after
    `other_until`."""

    path: Path
    wanted: str = ""
    work: asyncio.Task[None] | None = None
    observed: str = ""
    serves: _Name | None = None
    backends: dict[Side, Backend] = field(default_factory=dict)
    starting: dict[Side, tuple[Start, asyncio.Task[Backend]]] = field(default_factory=dict)
    error: str = ""
    retry_at: float = 0.0
    pause: float = 1.0
    status: GatewayStatus | None = None
    other: str = ""
    other_until: float = 0.0

    @property
    def name(self) -> str:
        """Of its endpoint; empty: it is a graph, or does not serve yet."""
        return self.serves[1] if self.serves and self.serves[0] != _GRAPH else ""


class Follower:
    """Keeps a gateway in the state that manifests declare."""

    def __init__(self, gateway: Gateway, manifests: list[Path], scratch: Path, url: str) -> None:
        """Of `manifests`, with versions copied to `scratch`; `url`: the gateway's own."""
        self._gateway, self._scratch, self._url = gateway, scratch, url
        self._identifier = uuid.uuid4().hex
        self._writing, self._withdrawn = threading.Lock(), False
        self._followed = [_Followed(path) for path in manifests]
        self._draining: set[asyncio.Task[None]] = set()
        self._claims: dict[_Name, _Followed] = {}
        # A start may take minutes: it must not delay other starts or other work on threads.
        self._threads = Threads(_MAX_STARTS, "start")

    async def follow(self) -> None:
        """Look at the files until cancelled."""
        await asyncio.gather(*map(self._follow, self._followed))

    async def _follow(self, followed: _Followed) -> None:
        while True:
            await asyncio.to_thread(self._keep_status, followed)
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

    def withdraw(self) -> None:
        """Remove the status files: from here on this gateway takes no new requests."""
        with self._writing:
            self._withdrawn = True
            for followed in self._followed:
                remove_status(followed.path, self._identifier)

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
            for backend in followed.backends.values():
                await asyncio.to_thread(backend.stop)

    async def _look(self, followed: _Followed) -> None:
        """Start again if the file has changed, a server has ended, or the last try failed."""
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
            del followed.backends[backend.side]
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
            followed.pause = min(2 * followed.pause, _MAX_PAUSE_SECONDS)
        self._tell(followed)

    async def _reconcile(self, followed: _Followed, content: bytes) -> None:
        manifest = await asyncio.to_thread(read_manifest, followed.path)
        failure: KfpSuiteError | None = None
        wanted: list[Side] = []
        if manifest["kind"] == _GRAPH:
            graph = Graph(manifest)
            claim = _GRAPH, graph.name
            self._claim(followed, claim)
            self._gateway.graphs[graph.name] = graph
        else:
            split = split_of(manifest)
            claim = manifest["kind"], split.stable.name
            self._claim(followed, claim)
            wanted = _sides(manifest, split)
            failure = await self._route(followed, manifest, split, wanted)
        if followed.serves not in (None, claim):
            self._forget(followed)
        followed.serves, followed.observed = claim, digest_bytes(content)
        for side in set(followed.backends) - set(wanted):
            task = asyncio.create_task(_drain(followed.backends.pop(side)))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        if failure is not None:
            raise failure

    def _claim(self, followed: _Followed, claim: _Name) -> None:
        """Raises AlreadyExistsError if another file has that name."""
        other = self._claims.get(claim, followed)
        if other is not followed:
            raise AlreadyExistsError(
                f"{claim[0]} '{claim[1]}' is there twice",
                where=followed.path,
                got=f"{other.path}, too",
                fix="serve one of them, or give it another name",
            )
        kept = (claim, followed.serves)
        self._claims = {
            key: one for key, one in self._claims.items() if one is not followed or key in kept
        }
        self._claims[claim] = followed

    def _forget(self, followed: _Followed) -> None:
        """Stop serving the file under its former name."""
        assert followed.serves is not None
        kind, name = followed.serves
        del self._claims[followed.serves]
        (self._gateway.graphs if kind == _GRAPH else self._gateway.routes).pop(name)
        self._gateway.status.pop(followed.name or followed.path.name, None)

    async def _route(
        self, followed: _Followed, manifest: dict[str, Any], split: Split, wanted: list[Side]
    ) -> KfpSuiteError | None:
        """Serve the sides of an endpoint, the stable one first; why the candidate does not."""
        name, transformer = split.stable.name, manifest["spec"].get("transformer")
        before = self._gateway.routes.get(name)
        for side, (start, _) in followed.starting.items():
            if side not in wanted:
                start.give_up()
        failure: KfpSuiteError | None = None
        stable = await self._started(followed, wanted[0], transformer)
        candidate = None
        if before is not None and before.stable not in followed.backends.values():
            # Replace servers that have ended before waiting for the candidate.
            self._gateway.routes[name] = Route(stable)
        if len(wanted) > 1:
            try:
                candidate = await self._started(followed, wanted[1], transformer)
            except KfpSuiteError as error:
                failure = error  # the stable version goes on alone
        self._gateway.routes[name] = Route(
            stable,
            candidate,
            split.percent if candidate is not None else 0,
            split.shadow if candidate is not None else 0,
        )
        if before is not None:
            log.info("%s: %s", name, _told(self._gateway.routes[name]))
        return failure

    async def _started(
        self, followed: _Followed, side: Side, transformer: dict[str, Any] | None
    ) -> Backend:
        if side in followed.backends:
            return followed.backends[side]
        if side not in followed.starting:
            log.info("starting version %s of %s", side.served.version, side.served.model)
            start = Start(side, transformer, self._scratch)
            task = asyncio.create_task(self._start(followed, side, start))
            followed.starting[side] = start, task
        # A caller that waits may be cancelled: the next one finds the work in progress.
        return await asyncio.shield(followed.starting[side][1])

    async def _start(self, followed: _Followed, side: Side, start: Start) -> Backend:
        try:
            backend: Backend = await asyncio.get_running_loop().run_in_executor(
                self._threads, start.run
            )
            followed.backends[side] = backend
            return backend
        finally:
            del followed.starting[side]

    def _tell(self, followed: _Followed) -> None:
        route = self._gateway.routes.get(followed.name)
        sides = []
        if route is not None:
            sides.append((route.stable, 100 - route.percent))
            if route.candidate is not None:
                sides.append((route.candidate, route.percent))
        followed.status = GatewayStatus(
            gateway=self._identifier,
            url=self._url,
            observed=followed.observed,
            ready=not followed.error,
            versions=tuple(
                {"version": side.served.version, "percent": share} for side, share in sides
            ),
            error=followed.error,
        )
        if followed.name:  # before that, its file's name identified it
            self._gateway.status.pop(followed.path.name, None)
        self._gateway.status[followed.name or followed.path.name] = followed.status.to_json()

    def _keep_status(self, followed: _Followed) -> None:
        """Write the status file if it is missing, is not the latest, or was left by a gateway
        that is gone; another gateway's stays as long as that one answers."""
        found, status = read_status(followed.path), followed.status
        if status is None or found == status:
            return
        if found is not None and found.gateway != self._identifier:
            if found.gateway == followed.other and time.monotonic() < followed.other_until:
                return
            if answers(found):
                if found.gateway != followed.other:
                    log.warning("%s is served at %s, too", followed.path, found.url)
                followed.other = found.gateway
                followed.other_until = time.monotonic() + _OTHER_SECONDS
                return
        with self._writing:
            if self._withdrawn:
                return
            try:
                write_status(followed.path, status)
            except StoreError as error:
                log.warning("no status of %s: %s", followed.path, error)


def _sides(manifest: Mapping[str, Any], split: Split) -> list[Side]:
    """The backends: the stable version, and the candidate if there is one."""
    stable = manifest["spec"]["predictor"]
    found = [Side(split.stable, stable.get("timeout", 0))]
    if split.candidate is not None:
        candidate = candidate_side(manifest) or stable
        found.append(Side(split.candidate, candidate.get("timeout", 0)))
    return found


def _told(route: Route) -> str:
    if route.candidate is None:
        return f"version {route.stable.served.version} serves"
    return (
        f"version {route.stable.served.version} serves, "
        f"version {route.candidate.served.version} gets {route.percent} %"
    )


async def _drain(backend: Backend) -> None:
    """Let it finish its requests, then stop it."""
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while backend.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    finally:
        await asyncio.shield(asyncio.to_thread(backend.stop))
