"""Malformed requests: 400 with a message of our own that names the fault.

KServe answers 422 with pydantic's list, or 500 if a value has no spelling in JSON or a
binary tensor contradicts its header.
"""

from __future__ import annotations

from typing import Any

from cloudevents.sdk.converters.util import has_binary_headers
from kserve import InferInput, InferRequest
from kserve.constants.constants import PredictorProtocol
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import RequestedOutput
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from pydantic import ValidationError

from kfp_suite.contracts.errors import InputError
from kfp_suite.contracts.exact_json import parse_json

_JSON_LENGTH = "inference-header-content-length"
_MAX_ERRORS = 5
_MAX_CHARS = 60


EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository")
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
        """The request of V2: JSON, or JSON and bytes behind it. Raises InvalidInput."""
        length = headers.get(_JSON_LENGTH)
        if length is None:
            given = InferenceRequest.model_validate(parse_json(body, allow_nan=True))
            return super().decode_inference_request(given, headers, model_name)
        if not length.isdecimal() or int(length) > len(body):
            raise _make_error(_JSON_LENGTH, length, f"the bytes of JSON, of {len(body)} in all")
        return _binary_request(body, int(length), model_name)

    def decode(
        self,
        body: Any,
        headers: Any,
        protocol_version: str = PredictorProtocol.REST_V1.value,
        model_name: str = "",
    ) -> Any:
        """The request, and its attributes as a CloudEvent. Raises InvalidInput.

        The content type of V1 is not looked at: clients send many, and the body is always JSON.
        """
        try:
            if protocol_version == PredictorProtocol.REST_V2.value:
                request = self.decode_inference_request(body, headers, model_name)
                _check(request)
                return request, {}
            if headers and has_binary_headers(headers):
                event = self.get_binary_cloudevent(body, headers)
                return parse_json(event.get_data()), event._get_attributes()
            return self.decode_cloudevent(parse_json(body))
        except InvalidInput:
            raise
        except InputError as error:
            raise InvalidInput(str(error)) from error
        except ValidationError as error:
            raise InvalidInput(_describe_validation_error(error)) from error
        except Exception as error:  # nothing but the request is touched here
            raise InvalidInput(
                f"the request cannot be read: {type(error).__name__}: {_spelled(str(error))}"
            ) from error


def _binary_request(body: bytes, length: int, model: str) -> InferRequest:
    """A request of JSON followed by the bytes of its binary tensors.

    Raises:
        InvalidInput: there are more or fewer bytes than the tensors declare.
        DataError: the JSON is malformed.
        TypeError, KeyError: the JSON is not of the protocol's form.
    """
    given = parse_json(body[:length], allow_nan=True)
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
    """Check the parts of a binary request that KServe does not: all but its tensors."""
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


def _describe_validation_error(error: ValidationError) -> str:
    said = [
        f"{_format_path(one['loc'])}: {one['msg']}; got {_short(one['input'])}"
        for one in error.errors()[:_MAX_ERRORS]
    ]
    return "; ".join(dict.fromkeys(said))


def _format_path(path: tuple[int | str, ...]) -> str:
    """`inputs[0].shape`."""
    found = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return found.lstrip(".") or "body"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"


def _spelled(text: str) -> str:
    """`text` in characters that UTF-8 can spell."""
    return text.encode(errors="replace").decode()
