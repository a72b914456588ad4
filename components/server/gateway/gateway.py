"""One address before several servers: V1 and V2 over HTTP, passed on as they are.

A request that a candidate fails or refuses, or that a server which has just gone cannot take,
is answered by the next one: no client sees it. It counts for the one that was asked first, so
that what is counted of each version is its fair share, and not what another one failed. A
request that names its version gets that one's answer, whatever it is.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, generate_latest

from kfp_suite.components.runtimes.asking import VERSION_CHOICE, VERSION_HEADER
from kfp_suite.components.server.gateway.backends import Backend
from kfp_suite.components.server.gateway.graph import Graph, GraphError, Reply
from kfp_suite.components.server.gateway.routing import Route, model_of
from kfp_suite.components.server.metrics import EndpointMetrics

MOST_BODY_BYTES = 32 * 1024 * 1024
_MOST_COPIES = 64
# Not passed on: they are about one connection (RFC 9110, 7.6.1), or made anew.
_OF_A_CONNECTION = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
) | {"content-length", "host", "date", "server"}
# Of a request: its body has been unpacked when it is here.
_OF_A_BODY = frozenset(("content-encoding",))


class Gateway:
    """Routes by the name of the endpoint; `status` is what `/status` says, `ending` whether each
    answer is the last on its connection."""

    def __init__(self) -> None:
        self.ending = False
        self.routes: dict[str, Route] = {}
        self.graphs: dict[str, Graph] = {}
        self._copies: set[asyncio.Task[web.Response]] = set()
        self.status: dict[str, Any] = {}
        self._registry = CollectorRegistry()
        self._metrics = EndpointMetrics(self._registry)
        self._session: aiohttp.ClientSession | None = None

    def app(self) -> web.Application:
        """The application that aiohttp serves."""
        app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=[self._last])
        app.on_startup.append(self._open)
        app.on_cleanup.append(self._close)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get("/status", self._status_page)
        app.router.add_get("/v2/health/live", self._live)
        app.router.add_get("/v2/health/ready", self._ready)
        app.router.add_get("/v2/models", self._models)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/", self._graph)
        app.router.add_post("/graphs/{name}", self._graph)
        app.router.add_route("*", "/{path:.*}", self._endpoint)
        return app

    @web.middleware
    async def _last(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if self.ending:
            response.force_close()
        return response

    async def _open(self, _: web.Application) -> None:
        # No limit of its own: what is slow must not hold up what is not.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)

    async def _close(self, _: web.Application) -> None:
        if self._session is not None:
            await self._session.close()

    async def _endpoint(self, request: web.Request) -> web.StreamResponse:
        name = model_of(request.path)
        route = self.routes.get(name)
        if route is None:
            known = ", ".join(sorted(self.routes)) or "none yet"
            return _error(404, f"no endpoint '{name}'; known: {known}")
        return await self._answer(
            name,
            route,
            request.method,
            request.path_qs,
            await request.read(),
            request.headers,
        )

    async def _answer(
        self,
        name: str,
        route: Route,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
    ) -> web.Response:
        dropped = _OF_A_CONNECTION | _OF_A_BODY
        passed = {k: v for k, v in headers.items() if k.lower() not in dropped}
        if method == "POST" and (shadow := route.copied_to()) is not None:
            self._copy(name, shadow, path, body, passed)
        wanted = headers.get(VERSION_CHOICE, "")
        sides = route.choose(wanted)
        if not sides:
            served = ", ".join(str(side.served.version) for side in route.sides())
            return _error(404, f"endpoint '{name}' serves version {served}, not {wanted!r}")
        response = _error(503, "no server answers")
        for position, side in enumerate(sides):
            counted = method == "POST" and not position
            response = await self._asked(name, side, method, path, body, passed, counted=counted)
            # What the stable version takes is the endpoint's contract, and not the candidate's.
            if response.status < (400 if side is route.candidate else 500):
                break
        return response

    async def _asked(
        self,
        name: str,
        side: Backend,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        counted: bool,
    ) -> web.Response:
        """What one side answers; 502 where it does not."""
        started = time.monotonic()
        side.in_flight += 1
        try:
            own = await asyncio.to_thread(side.headers) if side.needs_headers else {}
            passed = {**headers, **own}
            try:
                response = await self._pass_on(side, method, path, body, passed)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A server may close what was kept alive, after an error of its own for one;
                # a prediction may be asked for twice.
                response = await self._pass_on(side, method, path, body, passed)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            kind = type(error).__name__
            response = _error(502, f"version {side.served.version} does not answer ({kind})")
            response.headers[VERSION_HEADER] = str(side.served.version)
        finally:
            side.in_flight -= 1
        if counted:
            seconds, version = time.monotonic() - started, str(side.served.version)
            self._metrics.observe(name, version, response.status, seconds)
        return response

    def _copy(
        self, name: str, side: Backend, path: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        """Ask a shadow, too; nobody waits for it, and one that lags behind is asked less."""
        if len(self._copies) >= _MOST_COPIES:
            return
        copy = asyncio.create_task(
            self._asked(name, side, "POST", path, body, headers, counted=True)
        )
        self._copies.add(copy)
        copy.add_done_callback(self._copies.discard)

    async def _pass_on(
        self, side: Backend, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> web.Response:
        assert self._session is not None
        async with self._session.request(
            method,
            side.base + path,
            data=body or None,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=side.side.patience),
        ) as answer:
            content = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _OF_A_CONNECTION}
            kept.setdefault(VERSION_HEADER, str(side.served.version))
            return web.Response(status=answer.status, body=content, headers=kept)

    async def ask(self, name: str, body: bytes) -> Reply:
        """What an endpoint answers a graph. Raises GraphError where there is no such one."""
        route = self.routes.get(name)
        if route is None:
            raise GraphError(503, f"no endpoint '{name}' yet")
        answer = await self._answer(
            name,
            route,
            "POST",
            f"/v1/models/{name}:predict",
            body,
            {"content-type": "application/json"},
        )
        assert isinstance(answer.body, bytes)
        return answer.status, answer.body

    async def _graph(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name") or next(iter(self.graphs), "")
        graph = self.graphs.get(name)
        if graph is None:
            return _error(404, f"no graph '{name}'; known: {', '.join(self.graphs) or 'none'}")
        try:
            status, content = await graph.answer(await request.read(), self.ask)
        except GraphError as error:
            return _error(error.status, str(error))
        return web.Response(status=status, body=content, content_type="application/json")

    async def _metrics_page(self, _: web.Request) -> web.Response:
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"content-type": "text/plain; version=0.0.4"})

    async def _status_page(self, _: web.Request) -> web.Response:
        return web.json_response(self.status)

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        ready = bool(self.routes)
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"models": sorted(self.routes)})


def _error(status: int, text: str) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps({"error": text}).encode(),
        content_type="application/json",
    )
