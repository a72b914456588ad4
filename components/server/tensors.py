"""Requests and answers as V2's tensors (Open Inference Protocol), over HTTP and gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import kserve
import numpy as np
import pyarrow as pa
from kserve.protocol.infer_type import RequestedOutput

from kfp_suite.components.contracts.errors import DataError
from kfp_suite.components.contracts.model import Field
from kfp_suite.components.models.loading import Prediction
from kfp_suite.components.models.records import table_of_columns
from kfp_suite.components.runtimes.exchange import V2_DATATYPES


def metadata(field: Field) -> dict[str, Any]:
    """A field as V2 model metadata."""
    return {"name": field.name, "datatype": V2_DATATYPES[field.type], "shape": [-1, *field.shape]}


def table_of_tensors(request: kserve.InferRequest, inputs: tuple[Field, ...]) -> pa.Table:
    """The rows of a request: a tensor a field, of shape (rows,) or (rows, 1).

    Raises:
        InputError: naming the tensor, what it got and what it takes.
    """
    expected = {field.name: V2_DATATYPES[field.type] for field in inputs}
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
    values = _raw_values(tensor) if tensor._raw_data is not None else _flat_values(tensor)
    if len(values) != shape[0]:
        raise DataError(
            "the data is not of its shape",
            where=f"inputs.{tensor.name}",
            got=f"{len(values)} values",
            expected=f"{shape[0]}",
        )
    try:
        return [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError as error:
        raise DataError(
            "not text", where=f"inputs.{tensor.name}", got=error.object, expected="UTF-8"
        ) from error


def _raw_values(tensor: kserve.InferInput) -> list[Any]:
    """The values of a tensor that came as bytes, as most clients of gRPC send it."""
    try:
        found: list[Any] = tensor.as_numpy().ravel().tolist()
    except Exception as error:  # whatever numpy says of such bytes
        raise DataError(
            "the data is not of its datatype and shape",
            where=f"inputs.{tensor.name}",
            got=str(error),
            expected=f"{tensor.datatype} of shape {tensor.shape}",
        ) from error
    return found


def _flat_values(tensor: kserve.InferInput) -> list[Any]:
    """The values of a tensor that came as a list: flat, or nested as its shape."""
    values: list[Any] = tensor.data
    nested = sum(isinstance(value, list) for value in values)
    if not nested:
        return values
    if nested < len(values) or any(len(row) != 1 for row in values):
        raise DataError(
            "the data is not nested as its shape",
            where=f"inputs.{tensor.name}",
            got="lists of other lengths than 1",
            expected="[1, 2] or [[1], [2]]",
        )
    return [row[0] for row in values]


def check_outputs(request: kserve.InferRequest, outputs: Sequence[Field]) -> None:
    """Raises DataError where a request asks for what the model does not give."""
    known = [field.name for field in outputs]
    for position, wanted in enumerate(request.request_outputs or ()):
        if wanted.name not in known:
            raise DataError(
                "no such output",
                where=f"outputs[{position}].name",
                got=wanted.name,
                expected=" or ".join(known),
            )


def infer_response(
    request: kserve.InferRequest, outputs: Sequence[Field], prediction: Prediction, version: str
) -> kserve.InferResponse:
    """The answer: the outputs that the request asks for, all where it asks for none.

    Args:
        request: Over HTTP each output may be asked for in binary.
        outputs: Of the model's signature.
        prediction: Their values.
        version: Of the model.
    """
    arrays = (prediction.values, prediction.probabilities)
    found = {
        field.name: (field, array)
        for field, array in zip(outputs, arrays, strict=False)
        if array is not None
    }
    binary = request.use_binary_outputs
    wanted = {
        one.name: binary if one.binary_data is None or request.from_grpc else bool(one.binary_data)
        for one in request.request_outputs or ()
        if one.name in found
    } or dict.fromkeys(found, binary)
    tensors = []
    for name in wanted:
        field, array = found[name]
        tensor = kserve.InferOutput(name, list(array.shape), V2_DATATYPES[field.type])
        kind = {"string": object, "bool": np.bool_, "int64": np.int64}.get(field.type, np.float64)
        tensor.set_data_from_numpy(array.astype(kind), binary_data=wanted[name])
        tensors.append(tensor)
    return kserve.InferResponse(
        response_id=request.id or uuid.uuid4().hex,
        model_name=request.model_name,
        model_version=version,
        infer_outputs=tensors,
        requested_outputs=[RequestedOutput(n, {"binary_data": b}) for n, b in wanted.items()],
    )
