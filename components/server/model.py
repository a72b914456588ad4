"""A published version behind KServe's model interface: V1 and V2, over HTTP and gRPC."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import kserve
import numpy as np
import orjson
import pyarrow as pa
from kserve.errors import InvalidInput

from kfp_suite.components.contracts.errors import DataError, InputError
from kfp_suite.components.contracts.model import Field
from kfp_suite.components.contracts.tables import ColumnType
from kfp_suite.components.models.loading import LoadedModel, Prediction
from kfp_suite.components.server.records import table_of_columns, table_of_records

VERSION_HEADER = "x-model-version"
_DATATYPES: dict[ColumnType, str] = {
    "int64": "INT64",
    "float64": "FP64",
    "bool": "BOOL",
    "string": "BYTES",
    "date": "BYTES",
    "timestamp": "BYTES",
}


@dataclass(frozen=True)
class ServedVersion:
    """A loaded model and the version it is."""

    version: str
    model: LoadedModel


class VersionedModel(kserve.Model):  # type: ignore[misc]
    """Answers with a version that can be replaced while requests are in flight.

    Each request takes the version once, at its start: so it is answered by one version,
    and says which.
    """

    def __init__(self, name: str, current: ServedVersion) -> None:
        super().__init__(name, return_response_headers=True)
        self.enable_latency_logging = False
        self._current = current
        self.ready = True

    @property
    def version(self) -> str:
        """The version that answers now."""
        return self._current.version

    def replace(self, current: ServedVersion) -> None:
        """Answer with another version from the next request on."""
        self._current = current

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Answer a request.

        Raises:
            InvalidInput: HTTP 400: naming the field, what it got and what it takes.
        """
        current = self._current
        inputs = current.model.manifest.signature.inputs
        try:
            if isinstance(payload, kserve.InferRequest):
                table = _table_of_tensors(payload, inputs)
            else:
                table = _table_of_v1(payload, inputs)
            prediction = current.model.predict(table)
        except InputError as error:
            raise InvalidInput(str(error)) from error
        if response_headers is not None:
            response_headers[VERSION_HEADER] = current.version
        if isinstance(payload, kserve.InferRequest):
            return _infer_response(payload, current, prediction)
        answer = {"predictions": prediction.values.tolist(), "model_version": current.version}
        if prediction.probabilities is not None:
            answer["probabilities"] = prediction.probabilities.tolist()
        return answer

    def get_input_types(self) -> list[dict[str, Any]]:
        """The signature's inputs, as V2 model metadata."""
        return [_metadata(field) for field in self._current.model.manifest.signature.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The signature's outputs, as V2 model metadata."""
        return [_metadata(field) for field in self._current.model.manifest.signature.outputs]


def _metadata(field: Field) -> dict[str, Any]:
    return {"name": field.name, "datatype": _DATATYPES[field.type], "shape": [-1, *field.shape]}


def _table_of_v1(payload: object, inputs: tuple[Field, ...]) -> pa.Table:
    if isinstance(payload, bytes):  # JSON without its content type, as curl sends it
        try:
            payload = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise DataError("the request is not JSON", got=str(error)) from error
    if isinstance(payload, dict) and "instances" in payload:
        return table_of_records(payload["instances"], inputs)
    if isinstance(payload, dict) and "inputs" in payload:
        return table_of_columns(payload["inputs"], inputs)
    raise DataError(
        "no records in the request",
        got=", ".join(payload) if isinstance(payload, dict) else type(payload).__name__,
        expected='{"instances": [{...}]} or {"inputs": {"field": [...]}}',
    )


def _table_of_tensors(request: kserve.InferRequest, inputs: tuple[Field, ...]) -> pa.Table:
    """V2: a tensor a field, of shape (rows,) or (rows, 1)."""
    expected = {field.name: _DATATYPES[field.type] for field in inputs}
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        given, wanted = tensor.datatype, expected.get(tensor.name, tensor.datatype)
        if given != wanted and not (wanted == "FP64" and given[:2] in ("FP", "IN", "UI")):
            raise DataError(
                "another datatype", where=f"inputs.{tensor.name}", got=given, expected=wanted
            )
        if tensor.name in columns:
            raise DataError("the input is there twice", where=f"inputs.{tensor.name}")
        columns[tensor.name] = _values(tensor)
    return table_of_columns(columns, inputs)


def _values(tensor: kserve.InferInput) -> list[Any]:
    shape = list(tensor.shape)
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise DataError(
            "another shape",
            where=f"inputs.{tensor.name}",
            got=shape,
            expected="[rows] or [rows, 1]",
        )
    values = tensor.data
    if not isinstance(values, list):
        values = tensor.as_numpy().ravel().tolist()
    elif values and isinstance(values[0], list):
        values = [value for row in values for value in row]
    if len(values) != shape[0]:
        raise DataError(
            "the data is not of its shape",
            where=f"inputs.{tensor.name}",
            got=f"{len(values)} values",
            expected=f"{shape[0]}",
        )
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def _infer_response(
    request: kserve.InferRequest, current: ServedVersion, prediction: Prediction
) -> kserve.InferResponse:
    outputs = []
    arrays = (prediction.values, prediction.probabilities)
    for field, array in zip(current.model.manifest.signature.outputs, arrays, strict=False):
        output = kserve.InferOutput(field.name, list(array.shape), _DATATYPES[field.type])
        kind = {"string": object, "bool": np.bool_, "int64": np.int64}.get(field.type, np.float64)
        output.set_data_from_numpy(array.astype(kind), binary_data=request.use_binary_outputs)
        outputs.append(output)
    return kserve.InferResponse(
        response_id=request.id or uuid.uuid4().hex,
        model_name=request.model_name,
        model_version=current.version,
        infer_outputs=outputs,
    )
