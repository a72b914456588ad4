"""V2 over gRPC: KServe's service with ours behind it, its health, and its reflection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_interceptor import AsyncExceptionToStatusInterceptor
from grpc_interceptor.exceptions import GrpcException
from grpc_reflection.v1alpha import reflection
from kserve.errors import InvalidInput
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import (
    InferInput,
    InferRequest,
    RequestedOutput,
    get_content,
    to_http_parameters,
)
from kserve.utils.utils import to_headers

from kfp_suite.runtimes.local import address_of
from kfp_suite.server.door import Observe
from kfp_suite.server.errors import VersionNotServed
from kfp_suite.server.handlers import status_of
from kfp_suite.server.limits import MAX_BODY_BYTES
from kfp_suite.server.refusals import one_line

_V2 = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVICES = (_V2, _HEALTH, reflection.SERVICE_NAME)
_WATCH_SECONDS = 1.0
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

log = logging.getLogger("uvicorn.refusals")


class CountingServicer(InferenceServicer):  # type: ignore[misc]
    """KServe's gRPC service, which reads versions and counts its answers."""

    def __init__(self, data_plane: Any, repository: Any, observe: Observe) -> None:
        """Of a data plane and a repository; `observe` as of `Door`."""
        super().__init__(data_plane, repository)
        self._observe = observe

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether a model answers. Raises VersionNotServed."""
        self._check_version(request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """The signature. Raises VersionNotServed."""
        self._check_version(request.name, request.version)
        found = await self._data_plane.model_metadata(request.name)
        described = {
            side: [{key: one[key] for key in ("name", "datatype", "shape")} for one in found[side]]
            for side in ("inputs", "outputs")
        }
        kept = {key: found[key] for key in ("name", "versions", "platform")}
        return pb.ModelMetadataResponse(**kept, **described)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """An answer. Raises VersionNotServed."""
        name, started = request.model_name, time.monotonic()
        version = self._data_plane.model_registry.version(name)
        code = 200
        try:
            self._check_version(name, request.model_version)
            self.validate_grpc_request(request)
            found, _ = await self._data_plane.infer(
                request=_read(request), headers=to_headers(context), model_name=name
            )
            version = found.model_version
            return found.to_grpc()
        except BaseException as error:
            code = status_of(error)
            raise
        finally:
            if version is not None:
                self._observe(name, version, code, time.monotonic() - started)

    async def RepositoryModelLoad(self, request: Any, _: Any) -> Any:
        """KServe's own fails, as `load` gives no answer. Raises as `RepositoryExtension.load`."""
        name = request.model_name
        await self._mode_repository_extension.load(name)
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def RepositoryModelUnload(self, request: Any, _: Any) -> Any:
        """As above, of `RepositoryExtension.unload`."""
        name = request.model_name
        await self._mode_repository_extension.unload(name)
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)

    def _check_version(self, name: str, version: str) -> None:
        served = self._data_plane.model_registry.version(name)
        if version and served is not None and version != served:
            raise VersionNotServed(name, version, served)

    def validate_grpc_request(self, request: Any) -> None:
        """Raises InvalidInput."""
        super().validate_grpc_request(request)
        raw, tensors = len(request.raw_input_contents), len(request.inputs)
        if raw and raw != tensors:
            raise InvalidInput(f"raw_input_contents: got {raw}; expected one an input: {tensors}")


def _read(request: Any) -> InferRequest:
    """As `InferRequest.from_grpc`, which knows no datatype that comes as bytes alone."""
    raw = request.raw_input_contents
    inputs = [
        InferInput(
            one.name,
            list(one.shape),
            one.datatype,
            None if raw else get_content(one.datatype, one.contents),
            to_http_parameters(one.parameters) if one.parameters else None,
        )
        for one in request.inputs
    ]
    outputs = [
        RequestedOutput(one.name, to_http_parameters(one.parameters) if one.parameters else None)
        for one in request.outputs
    ]
    return InferRequest(
        request.model_name,
        inputs,
        request_id=request.id,
        raw_inputs=raw,
        from_grpc=True,
        parameters=request.parameters,
        request_outputs=outputs or None,
        model_version=request.model_version,
    )


class OneLineInterceptor(AsyncExceptionToStatusInterceptor):
    """Answers an exception with its status; a traceback is logged for defects alone."""

    async def handle_exception(
        self, ex: Exception, request_or_iterator: Any, context: Any, method_name: str
    ) -> NoReturn:
        """Answer with the status, and write one line to the log."""
        if isinstance(ex, GrpcException):
            log.warning("%s: %s %s", method_name, ex.status_code, one_line(str(ex.details)))
            await super().handle_exception(ex, request_or_iterator, context, method_name)
        status = _STATUS.get(status_of(ex))
        if status is None:
            log.error("%s failed", method_name, exc_info=ex)
            await context.abort(grpc.StatusCode.INTERNAL, "Internal server error")
        log.warning("%s: %s %s", method_name, status, one_line(str(ex)))
        await context.abort(status, str(ex))
        raise AssertionError("abort raises")


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1: of the server (no service named), and of the service V2."""

    def __init__(self, data_plane: Any) -> None:
        self._data_plane = data_plane
        self._ended = asyncio.Event()

    def end(self) -> None:
        """End the streams of `Watch`, with the status that it serves no longer."""
        self._ended.set()

    async def Check(self, request: Any, _: Any) -> Any:
        """Whether requests are answered. Raises GrpcException: no such service."""
        return await self._find_status(request.service)

    async def Watch(self, request: Any, _: Any) -> AsyncIterator[Any]:
        """The same, now and at each change. Raises GrpcException: no such service."""
        last = None
        while True:
            found = await self._find_status(request.service)
            if found != last:
                yield found
            last = found
            if self._ended.is_set():
                return
            try:
                await asyncio.wait_for(self._ended.wait(), _WATCH_SECONDS)
            except TimeoutError:
                continue

    async def _find_status(self, service: str) -> Any:
        if service not in ("", _V2):
            raise GrpcException(
                details=f"no service '{service}'; known: {_V2}",
                status_code=grpc.StatusCode.NOT_FOUND,
            )
        serves = not self._ended.is_set() and await self._data_plane.ready()
        kinds = health_pb2.HealthCheckResponse
        return kinds(status=kinds.SERVING if serves else kinds.NOT_SERVING)


class GrpcServer:
    """The server of V2 over gRPC."""

    def __init__(
        self, data_plane: Any, repository: Any, observe: Observe, *, shares_port: bool
    ) -> None:
        """As `CountingServicer`; `shares_port`: other processes listen on it, too."""
        self._server = grpc.aio.server(
            interceptors=(OneLineInterceptor(),),
            options=[
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
                ("grpc.so_reuseport", int(shares_port)),
            ],
        )
        servicer = CountingServicer(data_plane, repository, observe)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._health = Health(data_plane)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(_SERVICES, self._server)

    async def start(self, host: str, port: int) -> None:
        """Listen."""
        self._server.add_insecure_port(address_of(host, port))
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Finish the calls in progress, for at most this many seconds."""
        self._health.end()
        await self._server.stop(seconds)
