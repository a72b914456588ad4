"""KServe's model server with our models, on given addresses and within limits."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import kserve
import uvicorn
from kserve.model_server import app
from kserve.protocol.rest.server import _RefreshingServer
from prometheus_client import REGISTRY

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.runtimes.local import bind, check_grpc_port
from kfp_suite.server.body_limit import BodyLimit
from kfp_suite.server.cors import add_cors
from kfp_suite.server.door import Door
from kfp_suite.server.endpoints import Endpoints, add_endpoints
from kfp_suite.server.grpc_service import GrpcServer
from kfp_suite.server.handlers import add_handlers
from kfp_suite.server.header_limits import BoundedProtocol
from kfp_suite.server.limits import (
    BODY_SECONDS,
    MAX_BODY_BYTES,
    PREDICT_SECONDS,
    drain_seconds,
)
from kfp_suite.server.liveness import LivingDataPlane
from kfp_suite.server.logs import (
    ignore_library_warnings,
    leave_out_probes,
    quiet_libraries,
    say_served,
    show_own_log,
)
from kfp_suite.server.metrics import METRICS
from kfp_suite.server.model import ServedVersion, VersionedModel
from kfp_suite.server.refusals import log_refusals_once
from kfp_suite.server.shutdown import DrainingServer, GivenUp
from kfp_suite.server.versions import Repository, RepositoryExtension, VersionInPath
from kfp_suite.server.workers import summed_metrics, summed_registry

POLL_SECONDS = 2.0

log = logging.getLogger(__name__)


Newer = Callable[[], ServedVersion | None]


class HttpServer(DrainingServer, _RefreshingServer):  # type: ignore[misc]
    """KServe's, which also ends the gRPC server beside it."""

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[socket.socket],
        beside: GrpcServer | None,
        *,
        shared: bool,
        started: Callable[[], None],
    ) -> None:
        """As `DrainingServer`; `beside`: the server that ends with it; `started`: is called when
        it listens."""
        super().__init__(config, listeners, shared=shared)
        self._beside, self._tell_started = beside, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and print the addresses."""
        await super().startup(sockets)
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests in progress."""
        ending = [super().shutdown(sockets)]
        if self._beside is not None:
            ending.append(self._beside.stop(self.config.timeout_graceful_shutdown or 0))
        await asyncio.gather(*ending)


class Server(kserve.ModelServer):  # type: ignore[misc]
    """The KServe server, bound to `host`, whose models may follow moving references."""

    def __init__(
        self,
        host: str,
        http_port: int,
        grpc_port: int | None,
        models: Mapping[VersionedModel, Newer | None],
        repository: Repository,
        listeners: Sequence[socket.socket],
        *,
        one_of_several: bool,
        drain: float,
    ) -> None:
        # Its own gRPC server listens on every address.
        super().__init__(
            http_port=http_port,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=drain,
            registered_models=repository,
        )
        quiet_libraries()
        self.dataplane = LivingDataPlane(model_registry=self.registered_models)
        self.model_repository_extension = RepositoryExtension(self.registered_models)
        counted = summed_registry if one_of_several else lambda: REGISTRY
        add_endpoints(app, Endpoints(self.dataplane, self.model_repository_extension, counted))
        self._host, self._grpc_bound = host, grpc_port
        self._models, self._listeners = models, listeners
        self._one_of_several = one_of_several

    async def _serve(self) -> None:
        assert self._rest_server is not None
        self._rest_server.config.http = BoundedProtocol
        self._rest_server._add_exception_handlers = add_handlers
        if not self.access_log_format:  # its timing writes two more lines of log a request
            self._rest_server._add_middlewares = lambda _: None
        grpc_server = None if self._grpc_bound is None else await self._start_grpc(self._grpc_bound)
        self._rest_server._server = HttpServer(
            self._rest_server.config,
            self._listeners,
            grpc_server,
            shared=self._one_of_several,
            started=self._say_served,
        )
        followers = [
            asyncio.create_task(_follow(model, newer))
            for model, newer in self._models.items()
            if newer is not None
        ]
        if self._one_of_several:
            followers.append(asyncio.create_task(self._end_if_it_hangs()))
        try:
            await super()._serve()
        finally:
            for follower in followers:
                follower.cancel()

    def _say_served(self) -> None:
        if not self._one_of_several:  # else the parent process prints it once
            repository = self.registered_models
            served = {name: repository.version(name) for name in repository.get_models()}
            say_served(served, self._host, self.http_port, self._grpc_bound)

    async def _end_if_it_hangs(self) -> None:
        """One of several ends itself: probes would find the others alive."""
        while not self.dataplane.hanging():
            await asyncio.sleep(POLL_SECONDS)
        log.error("a prediction does not come back: this worker ends")
        self.stop(signal.SIGTERM)

    def stop(self, sig: int) -> None:
        """End; a signal comes here before the HTTP server takes it itself, and once it has
        ended. KServe's own unloads the models, which requests over gRPC still need."""
        assert self._rest_server is not None
        self._rest_server._server.should_exit = True

    async def _start_grpc(self, port: int) -> GrpcServer:
        server = GrpcServer(
            self.dataplane,
            self.model_repository_extension,
            METRICS.observe,
            shares_port=self._one_of_several,
        )
        await server.start(self._host, port)
        return server


async def _follow(model: VersionedModel, newer: Newer) -> None:
    """Poll `newer` on a thread, and serve the version that it returns."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            found = await asyncio.to_thread(newer)
        except Exception as error:  # a model is code: it may raise anything
            told = error if isinstance(error, KfpSuiteError) else repr(error)
            log.warning("%s: still serving version %s: %s", model.name, model.version, told)
            continue
        if found is not None:
            model.replace(found)
            log.info("%s: now serving version %s", model.name, found.version)


def serve(
    models: Mapping[VersionedModel, Newer | None],
    *,
    host: str,
    http_port: int,
    grpc_port: int | None = None,
    folder: Path | None = None,
    predict_seconds: float = PREDICT_SECONDS,
    listeners: Sequence[socket.socket] = (),
    cors_origins: Sequence[str] = (),
) -> None:
    """Serve until a signal.

    Args:
        models: The models, each with a function that is called every 2 seconds for a newer
            version; None: there is none.
        host: The address to bind to.
        http_port: The port of V1 and V2 over HTTP.
        grpc_port: The port of V2 over gRPC; None: no gRPC.
        folder: Models below it, each by its name, are served, too; those that come later,
            when a request asks for them to be loaded.
        predict_seconds: Limit of a prediction, also of those in flight at shutdown.
        listeners: Sockets for HTTP that this worker shares with others, if it is one of several.
        cors_origins: Origins of web pages that may send requests; `*`: all; empty: none.

    Raises:
        EndpointError: a port is in use, or no address of the host is known.
        As `load_model`: a model below the folder cannot be loaded.
    """
    ignore_library_warnings()
    show_own_log()
    one_of_several = bool(listeners)
    if one_of_several:
        app.add_route("/metrics", summed_metrics)
    else:
        check_grpc_port(host, grpc_port, http_port)
        listeners = bind(host, http_port)
    repository = Repository(folder, predict_seconds)
    repository.read_all()
    app.router.redirect_slashes = False
    app.add_middleware(VersionInPath, version_of=repository.version)
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES, seconds=BODY_SECONDS)
    app.add_middleware(GivenUp)
    app.add_middleware(Door, version_of=repository.version, observe=METRICS.observe)
    add_cors(app, cors_origins)
    log_refusals_once()
    leave_out_probes()
    server = Server(
        host,
        http_port,
        grpc_port,
        models,
        repository,
        listeners,
        one_of_several=one_of_several,
        drain=drain_seconds(predict_seconds),
    )
    server.start(list(models))
