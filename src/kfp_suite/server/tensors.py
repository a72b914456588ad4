"""Requests and answers as V2's tensors (Open Inference Protocol), over HTTP and gRPC."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import kserve
import numpy as np
import pyarrow as pa
from kserve.protocol.infer_type import RequestedOutput

from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.model import Field
from kfp_suite.models.loading import Prediction
from kfp_suite.models.request_parsing import RecordFormat, table_of_columns
from kfp_suite.runtimes.protocol import V2_DATATYPES

_DTYPES = {
    "BOOL": "?",
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
_EXACT = ("INT64", "UINT64")
_NUMBERS = {"BF16", *_DTYPES} - {"BOOL"}


def metadata(field: Field) -> dict[str, Any]:
    """A field as V2 model metadata."""
    return {"name": field.name, "datatype": V2_DATATYPES[field.type], "shape": [-1, *field.shape]}


def table_of_tensors(
    request: kserve.InferRequest, form: RecordFormat, left_out: Counter[str] | None = None
) -> pa.Table:
    """The rows of a request: a tensor a field, of shape (rows,) or (rows, 1).

    Args:
        request: The request.
        form: How its values are read.
        left_out: Counts the rows without a field, by its name.

    Raises:
        InputError: naming the tensor, its value and the expected type.
    """
    fields = {field.name: field for field in form.inputs}
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        field = fields.get(tensor.name)
        if field is not None and not _takes(field, tensor.datatype):
            raise DataError(
                "another datatype",
                where=f"inputs.{tensor.name}",
                got=tensor.datatype,
                expected=V2_DATATYPES[field.type],
            )
        if tensor.name in columns:
            raise DataError("the input is there twice", where=f"inputs.{tensor.name}")
        values = _values(tensor)
        if field is not None and field.type == "float64" and tensor.datatype in _EXACT:
            values = [_exact(value) for value in values]
        columns[tensor.name] = values
    return table_of_columns(columns, form, left_out)


def _exact(value: Any) -> Any:
    """A whole number that float64 does not hold, as one that no float field takes."""
    if type(value) is not int:
        return value
    try:
        held = int(float(value)) == value
    except OverflowError:
        held = False
    return value if held else Decimal(value)


def _takes(field: Field, datatype: str) -> bool:
    """Whether values of a datatype may be those of a field: numbers of any width are numbers,
    and each type has texts."""
    wanted = V2_DATATYPES[field.type]
    return datatype in (wanted, "BYTES") or (wanted in _NUMBERS and datatype in _NUMBERS)


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
    """The values of a tensor that came as bytes; a float that is not a number is missing."""
    raw, datatype = tensor._raw_data, tensor.datatype
    try:
        if datatype == "BYTES":
            return _texts(raw)
        if datatype == "BF16":
            array = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            array = np.frombuffer(raw, _DTYPES[datatype])
    except (KeyError, ValueError) as error:
        raise DataError(
            "the data is not of its datatype",
            where=f"inputs.{tensor.name}",
            got=f"{len(raw)} bytes of {datatype}",
            expected=f"{', '.join(_DTYPES)}, BF16 or BYTES, of shape {tensor.shape}",
        ) from error
    found: list[Any] = array.tolist()
    if array.dtype.kind == "f" and np.isnan(array).any():
        return [None if math.isnan(value) else value for value in found]
    return found


def _texts(raw: bytes) -> list[bytes]:
    """Texts, each behind its length in four bytes. Raises ValueError: they are cut."""
    found, position = [], 0
    while position < len(raw):
        end = position + 4 + int.from_bytes(raw[position : position + 4], "little")
        if position + 4 > len(raw) or end > len(raw):
            raise ValueError("cut")
        found.append(raw[position + 4 : end])
        position = end
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
    """Raises DataError if a request names an output that the model lacks, or one twice."""
    known = [field.name for field in outputs]
    asked: set[str] = set()
    for position, wanted in enumerate(request.request_outputs or ()):
        if wanted.name in asked:
            raise DataError("the output is there twice", where=f"outputs.{wanted.name}")
        asked.add(wanted.name)
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
    """The answer: the outputs that the request names, all if it names none.

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
