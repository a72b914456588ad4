"""One address before several servers: V1 and V2 over HTTP, passed on as they are.

If a candidate fails or refuses a request, or its server has just gone, the next backend answers
and the client does not notice. The request counts for the backend that got it first, so that each
version's counters are its own share, without the failures of others. A request that names its
version gets the answer of that version, even an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path
from yarl import URL

from kfp_suite.runtimes.http_client import VERSION_CHOICE, VERSION_HEADER
from kfp_suite.server.body_limit import BodyRefused, unpack_body
from kfp_suite.server.gateway.backends import Backend
from kfp_suite.server.gateway.graph import Graph, GraphError, Reply
from kfp_suite.server.gateway.routing import Route, model_of
from kfp_suite.server.limits import MAX_BODY_BYTES
from kfp_suite.server.metrics import EndpointMetrics
from kfp_suite.server.refusals import refusal, refuse_path, tell_defect

_MAX_COPIES = 64
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Not passed on: they are about one connection (RFC 9110, 7.6.1), or made anew.
_OF_A_CONNECTION = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect")
) | {"content-length", "host", "date", "server"}


class Gateway:
    """Routes by the name of the endpoint; `status` returns the body of `/status`. An asynchronous
    context manager, which must be entered to send requests."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.graphs: dict[str, Graph] = {}
        self._copies: set[asyncio.Task[Response]] = set()
        self.status: dict[str, Any] = {}
        self._registry = CollectorRegistry()
        self._metrics = EndpointMetrics(self._registry)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Gateway:
        # Unlimited connections: slow requests must not delay others.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    def app(self) -> Starlette:
        """The ASGI application."""
        pages = {
            "/": self._alive,
            "/metrics": self._metrics_page,
            "/status": self._status_page,
            "/v2": self._about,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            "/v2/models": self._models,
            "/v1/models": self._models,
        }
        return Starlette(
            routes=[
                *(Path(path, page, methods=["GET"]) for path, page in pages.items()),
                Path("/v2/repository/index", self._index, methods=["POST"]),
                Path("/", self._graph, methods=["POST"]),
                Path("/graphs/{name}", self._graph, methods=["POST"]),
                Path("/{path:path}", self._endpoint, methods=list(_METHODS)),
            ],
            exception_handlers={HTTPException: refuse_path, Exception: tell_defect},
        )

    def served(self) -> dict[str, str]:
        """Each endpoint, and its stable version."""
        return {name: str(one.stable.served.version) for name, one in self.routes.items()}

    async def _endpoint(self, request: Request) -> Response:
        name = model_of(request.url.path)
        route = self.routes.get(name)
        if route is None:
            known = ", ".join(sorted(self.routes)) or "none yet"
            return refusal(request.scope, 404, f"no endpoint '{name}'; known: {known}")
        path, query = request.scope["raw_path"], request.scope["query_string"]
        return await self._answer(
            name,
            route,
            request.method,
            (path + b"?" + query if query else path).decode("latin-1"),
            await request.body(),
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
    ) -> Response:
        passed = {k: v for k, v in headers.items() if k.lower() not in _OF_A_CONNECTION}
        if method == "POST" and (shadow := route.copied_to()) is not None:
            self._copy(name, shadow, path, body, passed)
        wanted = headers.get(VERSION_CHOICE, "")
        sides = route.choose(wanted)
        if not sides:
            served = ", ".join(str(side.served.version) for side in route.sides())
            text = f"endpoint '{name}' serves version {served}, not {wanted!r}"
            return refusal({"method": method, "path": path}, 404, text)
        for position, side in enumerate(sides):
            counted = method == "POST" and not position
            response = await self._asked(name, side, method, path, body, passed, counted=counted)
            # The stable version's signature is the endpoint's contract, not the candidate's.
            if response.status_code < (400 if side is route.candidate else 500):
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
    ) -> Response:
        """The answer of one backend; 502 if it gives none."""
        started = time.monotonic()
        side.in_flight += 1
        try:
            own = await asyncio.to_thread(side.headers) if side.needs_headers else {}
            passed = {**headers, **own}
            try:
                response = await self._pass_on(side, method, path, body, passed)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A server may close a kept-alive connection, after an internal error for example;
                # predictions are idempotent, so the request is sent again.
                response = await self._pass_on(side, method, path, body, passed)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            text = f"version {side.served.version} does not answer ({type(error).__name__})"
            response = refusal({"method": method, "path": path}, 502, text)
            response.headers[VERSION_HEADER] = str(side.served.version)
        finally:
            side.in_flight -= 1
        if counted:
            seconds, version = time.monotonic() - started, str(side.served.version)
            self._metrics.observe(name, version, response.status_code, seconds)
        return response

    def _copy(
        self, name: str, side: Backend, path: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        """Copy the request to a shadow in the background; a shadow that lags gets fewer copies."""
        if len(self._copies) >= _MAX_COPIES:
            return
        copy = asyncio.create_task(
            self._asked(name, side, "POST", path, body, headers, counted=True)
        )
        self._copies.add(copy)
        copy.add_done_callback(self._copies.discard)

    async def _pass_on(
        self, side: Backend, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Response:
        assert self._session is not None
        async with self._session.request(
            method,
            URL(side.base + path, encoded=True),
            data=body or None,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=side.side.patience),
        ) as answer:
            content = await answer.read()
            given = {name.lower(): value for name, value in answer.headers.items()}
            kept = {k: v for k, v in given.items() if k not in _OF_A_CONNECTION}
            kept.setdefault(VERSION_HEADER, str(side.served.version))
            if "location" in kept:  # an address of the server is none for clients
                kept["location"] = kept["location"].removeprefix(side.base) or "/"
            return Response(content, answer.status, kept)

    async def ask(self, name: str, body: bytes) -> Reply:
        """An endpoint's answer to a step of a graph; GraphError if there is no such endpoint."""
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
        return answer.status_code, bytes(answer.body)

    async def _graph(self, request: Request) -> Response:
        name = request.path_params.get("name") or next(iter(self.graphs), "")
        graph = self.graphs.get(name)
        if graph is None:
            known = ", ".join(self.graphs) or "none"
            return refusal(request.scope, 404, f"no graph '{name}'; known: {known}")
        try:
            coding = request.headers.get("content-encoding", "")
            body = await unpack_body(await request.body(), coding, MAX_BODY_BYTES)
            status, content = await graph.answer(body, self.ask)
        except (BodyRefused, GraphError) as error:
            return refusal(request.scope, error.status, str(error))
        return Response(content, status, media_type="application/json")

    async def _metrics_page(self, _: Request) -> Response:
        text = generate_latest(self._registry)
        return Response(text, headers={"content-type": "text/plain; version=0.0.4"})

    async def _status_page(self, _: Request) -> Response:
        return JSONResponse(self.status)

    async def _alive(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _about(self, _: Request) -> Response:
        about = {"name": "kfp-suite-gateway", "version": version("kfp-suite"), "extensions": []}
        return JSONResponse(about)

    async def _live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _: Request) -> Response:
        ready = bool(self.routes)
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def _index(self, _: Request) -> Response:
        found = [
            {"name": name, "version": version, "state": "READY", "reason": ""}
            for name, version in self.served().items()
        ]
        return JSONResponse(found)

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"models": sorted(self.routes)})
