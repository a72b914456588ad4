"""Requests that cannot be read: 400, in our words, naming what is at fault.

KServe answers 422 with pydantic's list, or 500 where a value has no spelling in JSON or a
binary tensor is not what its header says.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import RequestedOutput

_JSON_LENGTH = "inference-header-content-length"
_MOST = 5
_LONGEST = 60


EXTENSIONS = ("binary_tensor_data", "model_repository")
"""The extensions of the protocol that `/v2` lists."""


class ReadingDataPlane(DataPlane):  # type: ignore[misc]
    """KServe's, for which a request that cannot be read is the client's fault."""

    def metadata(self) -> dict[str, Any]:
        """Of the server."""
        return {**super().metadata(), "extensions": list(EXTENSIONS)}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """The signature, and the version that serves. Raises ModelNotFound."""
        found = await super().model_metadata(model_name)
        return {**found, "versions": [self.model_registry.version(model_name)]}

    def decode_inference_request(self, body: Any, headers: Any, model_name: str) -> InferRequest:
        """The request of V2. Raises InvalidInput."""
        if not isinstance(body, bytes):
            return super().decode_inference_request(body, headers, model_name)
        length = headers.get(_JSON_LENGTH, "")
        if not length.isdecimal() or int(length) > len(body):
            raise _make_error(_JSON_LENGTH, length, f"the bytes of JSON, of {len(body)} in all")
        return _binary_request(body, int(length), model_name)

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


def _binary_request(body: bytes, length: int, model: str) -> InferRequest:
    """JSON, and behind it the bytes of those tensors that say how many are theirs.

    Raises:
        InvalidInput: the bytes are more or fewer than they say.
        ValueError, TypeError, KeyError: the JSON is none, or not of the protocol's form.
    """
    given = orjson.loads(body[:length])
    inputs, position = [], length
    for number, one in enumerate(given["inputs"]):
        parameters = one.get("parameters")
        tensor = InferInput(one["name"], one["shape"], one["datatype"], one.get("data"), parameters)
        if tensor.data is None:
            size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
            if type(size) is not int or size < 0:
                raise _make_error(f"inputs[{number}]", one, "data, or parameters.binary_data_size")
            tensor._raw_data = body[position : position + size]
            position += size
        inputs.append(tensor)
    if position != len(body):
        got = f"{len(body) - length:,} bytes behind the JSON"
        raise InvalidInput(f"binary_data_size: got {got}; expected {position - length:,}")
    outputs = [
        RequestedOutput(one["name"], one.get("parameters")) for one in given.get("outputs") or ()
    ]
    return InferRequest(
        model_name=model,
        infer_inputs=inputs,
        request_id=given.get("id"),
        parameters=given.get("parameters"),
        request_outputs=outputs or None,
    )


def _check(request: InferRequest) -> None:
    """What KServe does not check: of a binary request, anything but its tensors."""
    if request.id is not None and not _is_text(request.id):
        raise _make_error("id", request.id, "text")
    _check_parameters("parameters", request.parameters)
    for position, output in enumerate(request.request_outputs or ()):
        if not _is_text(output.name):
            raise _make_error(f"outputs[{position}].name", output.name, "text")
        _check_parameters(f"outputs[{position}].parameters", output.parameters)
    for position, tensor in enumerate(request.inputs):
        where = f"inputs[{position}]"
        for name in ("name", "datatype"):
            if not _is_text(getattr(tensor, name)):
                raise _make_error(f"{where}.{name}", getattr(tensor, name), "text")
        shape = tensor.shape
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise _make_error(f"{where}.shape", shape, "a list of whole numbers")
        if tensor._raw_data is None and not isinstance(tensor.data, list):
            raise _make_error(f"{where}.data", tensor.data, "a list")
        _check_parameters(f"{where}.parameters", tensor.parameters)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _spelled(value) == value


def _check_parameters(where: str, given: object) -> None:
    if given is not None and not isinstance(given, dict):
        raise _make_error(where, given, "an object")


def _make_error(where: str, got: object, expected: str) -> InvalidInput:
    return InvalidInput(f"{where}: got {_short(got)}; expected {expected}")


def describe_validation_error(error: RequestValidationError) -> str:
    """The message for a request that is not of the protocol's form."""
    said = "; ".join(dict.fromkeys(map(_describe_error, error.errors()[:_MOST])))
    return said or "the request is not of the protocol's form"


def _describe_error(error: Any) -> str:
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
