"""KServe's model server with our models: bound where it is told, and bounded."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import kserve
from fastapi.exceptions import RequestValidationError
from kserve.model_server import app
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor

from kfp_suite.components.contracts.errors import KfpSuiteError
from kfp_suite.components.runtimes.local import check_port
from kfp_suite.components.server.bodies import BodyLimit
from kfp_suite.components.server.draining import DrainingServer, GivenUp
from kfp_suite.components.server.heads import BoundedProtocol
from kfp_suite.components.server.lateness import LivingDataPlane
from kfp_suite.components.server.limits import (
    BODY_SECONDS,
    MOST_BODY_BYTES,
    PREDICT_SECONDS,
    drain_seconds,
)
from kfp_suite.components.server.model import ServedVersion, VersionedModel
from kfp_suite.components.server.reading import ReadingServicer, refuse_invalid
from kfp_suite.components.server.unanswered import Unanswered, refuse_unanswered
from kfp_suite.components.server.versions import Repository, RepositoryExtension, VersionInPath
from kfp_suite.components.server.workers import summed_metrics

POLL_SECONDS = 2.0

log = logging.getLogger(__name__)


Newer = Callable[[], ServedVersion | None]


class Server(kserve.ModelServer):  # type: ignore[misc]
    """The KServe server, bound to `host`, whose models may follow moving references."""

    def __init__(
        self,
        host: str,
        http_port: int,
        grpc_port: int | None,
        models: Mapping[VersionedModel, Newer | None],
        repository: Repository,
        listener: socket.socket | None = None,
        *,
        drain: float,
    ) -> None:
        # Its own gRPC server listens on every address.
        super().__init__(
            http_port=http_port,
            enable_grpc=False,
            grace_period=drain,
            registered_models=repository,
        )
        self.dataplane = LivingDataPlane(model_registry=self.registered_models)
        self.model_repository_extension = RepositoryExtension(self.registered_models)
        self._host, self._grpc_bound = host, grpc_port
        self._models, self._listener = models, listener

    async def _serve(self) -> None:
        assert self._rest_server is not None
        self._rest_server.config.host = self._host
        self._rest_server.config.http = BoundedProtocol
        grpc_server = None if self._grpc_bound is None else await self._start_grpc()
        self._rest_server._server = DrainingServer(
            self._rest_server.config, grpc_server, self._listener
        )
        followers = [
            asyncio.create_task(_follow(model, newer))
            for model, newer in self._models.items()
            if newer is not None
        ]
        if self._listener is not None:
            followers.append(asyncio.create_task(self._end_if_it_hangs()))
        try:
            await super()._serve()
        finally:
            for follower in followers:
                follower.cancel()

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

    async def _start_grpc(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=(ExceptionToStatusInterceptor(),),
            options=[
                ("grpc.max_receive_message_length", MOST_BODY_BYTES),
                ("grpc.so_reuseport", int(self._listener is not None)),
            ],
        )
        servicer = ReadingServicer(self.dataplane, self.model_repository_extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        server.add_insecure_port(f"{self._host}:{self._grpc_bound}")
        await server.start()
        return server


async def _follow(model: VersionedModel, newer: Newer) -> None:
    """Ask `newer` now and then, off the event loop, and serve what it gives."""
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
    listener: socket.socket | None = None,
) -> None:
    """Serve until a signal.

    Args:
        models: What to serve, each by its name; and what to ask, every 2 seconds, for a
            version to replace it with.
        host: The address to bind to.
        http_port: The port of V1 and V2 over HTTP.
        grpc_port: The port of V2 over gRPC; None: no gRPC.
        folder: Models below it, each by its name, are served, too; those that come later,
            when somebody asks for them to be loaded.
        predict_seconds: How long a prediction may take; and what was begun, when the server is
            asked to stop.
        listener: Of HTTP, where this is one of several workers: who shares it with them.

    Raises:
        EndpointError: a port is in use.
        As `load_model`: what lies below the folder cannot be loaded.
    """
    if listener is None:
        for port in (http_port, grpc_port):
            if port is not None:
                check_port(host, port)
    else:
        app.add_route("/metrics", summed_metrics)
    repository = Repository(folder, predict_seconds)
    repository.read_all()
    app.add_middleware(VersionInPath, version_of=repository.version)
    app.add_middleware(BodyLimit, limit=MOST_BODY_BYTES, seconds=BODY_SECONDS)
    app.add_middleware(GivenUp)
    app.add_exception_handler(RequestValidationError, refuse_invalid)
    app.add_exception_handler(Unanswered, refuse_unanswered)
    drain = drain_seconds(predict_seconds)
    server = Server(host, http_port, grpc_port, models, repository, listener, drain=drain)
    server.start(list(models))
