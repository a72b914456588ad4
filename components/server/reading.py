"""Requests that cannot be read: 400, in our words, naming what is at fault.

KServe answers 422 with pydantic's list, or 500 where a value has no spelling in JSON or a
binary tensor is not what its header says.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from kserve import InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.servicer import InferenceServicer

from kfp_suite.components.server.unanswered import VersionNotServed

_MOST = 5
_LONGEST = 60


class ReadingDataPlane(DataPlane):  # type: ignore[misc]
    """KServe's, for which a request that cannot be read is the client's fault."""

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """The request, and its attributes. Raises InvalidInput."""
        try:
            found = super().decode(*args, **kwargs)
        except InvalidInput:
            raise
        except Exception as error:  # nothing but the request is touched here
            raise InvalidInput(
                f"the request cannot be read: {type(error).__name__}: {_spelled(str(error))}"
            ) from error
        if isinstance(found[0], InferRequest):
            _check(found[0])
        return found


class ReadingServicer(InferenceServicer):  # type: ignore[misc]
    """KServe's gRPC service, which also counts raw tensors and reads versions."""

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether a model answers. Raises VersionNotServed."""
        self._check_version(request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """The signature. Raises VersionNotServed."""
        self._check_version(request.name, request.version)
        return await super().ModelMetadata(request, context)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """An answer. Raises VersionNotServed."""
        self._check_version(request.model_name, request.model_version)
        return await super().ModelInfer(request, context)

    async def RepositoryModelLoad(self, request: Any, _: Any) -> Any:
        """KServe's own reads an answer that there is not. Raises as `RepositoryExtension.load`."""
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


def _check(request: InferRequest) -> None:
    """What KServe does not check: of a binary request, anything but its tensors."""
    if request.id is not None and not _is_text(request.id):
        raise _wrong("id", request.id, "text")
    _check_parameters("parameters", request.parameters)
    for position, output in enumerate(request.request_outputs or ()):
        if not _is_text(output.name):
            raise _wrong(f"outputs[{position}].name", output.name, "text")
        _check_parameters(f"outputs[{position}].parameters", output.parameters)
    for position, tensor in enumerate(request.inputs):
        where = f"inputs[{position}]"
        for name in ("name", "datatype"):
            if not _is_text(getattr(tensor, name)):
                raise _wrong(f"{where}.{name}", getattr(tensor, name), "text")
        shape = tensor.shape
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise _wrong(f"{where}.shape", shape, "a list of whole numbers")
        if tensor._raw_data is None and not isinstance(tensor.data, list):
            raise _wrong(f"{where}.data", tensor.data, "a list")
        _check_parameters(f"{where}.parameters", tensor.parameters)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _spelled(value) == value


def _check_parameters(where: str, given: object) -> None:
    if given is not None and not isinstance(given, dict):
        raise _wrong(where, given, "an object")


def _wrong(where: str, got: object, expected: str) -> InvalidInput:
    return InvalidInput(f"{where}: got {_short(got)}; expected {expected}")


async def refuse_invalid(_: Any, error: Exception) -> Response:
    """The answer to a request that is not of the protocol's form."""
    assert isinstance(error, RequestValidationError)
    said = "; ".join(dict.fromkeys(map(_told, error.errors()[:_MOST])))
    content = json.dumps({"error": said or "the request is not of the protocol's form"})
    return Response(content, status_code=400, media_type="application/json")


def _told(error: Any) -> str:
    # A body may be bytes, too: that it is not says nothing.
    place = [part for part in error["loc"][1:] if part not in ("InferenceRequest", "bytes")]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    return f"{where or 'body'}: {error['msg']}; got {_short(error.get('input'))}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _spelled(text: str) -> str:
    """`text` in characters that UTF-8 can spell."""
    return text.encode(errors="replace").decode()
