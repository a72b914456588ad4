"""The code of Triton's Python backend: a part of the model, or all of it.

The folder of the model that `artifact_of` names has the Model artifact; `role` is the part
to run (see `runtimes.triton`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_suite.contracts.errors import DataError, InputError, KfpSuiteError
from kfp_suite.models.batching import answer_together
from kfp_suite.models.loading import load_model
from kfp_suite.models.request_parsing import record_format, table_of_columns
from kfp_suite.runtimes.triton import ARTIFACT
from kfp_suite.runtimes.triton_config import FEATURES, SCORES

Tensors = dict[str, Any]
_KINDS = {"bool": np.bool_, "int64": np.int64, "float64": np.float64}


class TritonPythonModel:
    """The class by the name that the Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the Model artifact and verify its digests."""
        parameters = json.loads(args["model_config"])["parameters"]
        repository = Path(args["model_repository"]).parent
        owner = parameters["artifact_of"]["string_value"]
        parts: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], Tensors]]] = {
            "preprocess": (self._columns, self._preprocess),
            "model": (partial(_matrix, FEATURES), self._estimate),
            "postprocess": (partial(_matrix, SCORES), self._postprocess),
        }
        self._read, self._work = parts[parameters["role"]["string_value"]]
        self._model = load_model(repository / owner / args["model_version"] / ARTIFACT)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer the requests from one call; one that cannot be answered fails itself alone."""
        import triton_python_backend_utils as backend

        read = [_tried(self._read, request, backend) for request in requests]
        asked = [one for one in read if not isinstance(one, Exception)]
        said: list[Tensors | Exception] = answer_together(self._work, asked, _joined, _rows)
        answers = iter(said)
        found = [one if isinstance(one, Exception) else next(answers) for one in read]
        return [_response(one, backend) for one in found]

    def _columns(self, request: Any, backend: Any) -> pa.Table:
        manifest = self._model.manifest
        columns = {}
        for field in manifest.signature.inputs:
            values = _matrix(field.name, request, backend).ravel().tolist()
            columns[field.name] = [_decoded(one, field.name) for one in values]
        return table_of_columns(columns, record_format(manifest))

    def _preprocess(self, table: pa.Table) -> Tensors:
        return {FEATURES: np.ascontiguousarray(self._model.features(table))}

    def _estimate(self, matrix: Any) -> Tensors:
        scores = np.asarray(self._model.scores(matrix), np.float32)
        return {SCORES: scores if scores.ndim == 2 else scores[:, None]}

    def _postprocess(self, scores: Any) -> Tensors:
        said = self._model.decided(scores if scores.shape[1] > 1 else scores[:, 0])
        found = {}
        arrays = (said.values, said.probabilities)
        for field, array in zip(self._model.manifest.signature.outputs, arrays, strict=False):
            kind = _KINDS.get(field.type, np.object_)
            shaped = array if array.ndim == 2 else array[:, None]
            found[field.name] = (
                np.array([str(v).encode() for v in array], np.object_)[:, None]
                if kind is np.object_
                else shaped.astype(kind)
            )
        return found


def _matrix(name: str, request: Any, backend: Any) -> Any:
    return backend.get_input_tensor_by_name(request, name).as_numpy()


def _decoded(value: Any, field: str) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", where=f"inputs.{field}", got=value, expected="text") from error


def _tried(read: Callable[[Any, Any], Any], request: Any, backend: Any) -> Any:
    try:
        return read(request, backend)
    except Exception as error:  # of this request alone
        return error


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], pa.Table):
        return pa.concat_tables(parts).combine_chunks()
    return np.concatenate(parts)


def _rows(whole: Tensors, rows: slice) -> Tensors:
    return {name: array[rows] for name, array in whole.items()}


def _response(found: Tensors | Exception, backend: Any) -> Any:
    if isinstance(found, Exception):
        code = backend.TritonError.INTERNAL
        if isinstance(found, InputError):
            code = backend.TritonError.INVALID_ARG
        told = (
            str(found) if isinstance(found, KfpSuiteError) else f"{type(found).__name__}: {found}"
        )
        return backend.InferenceResponse([], backend.TritonError(told, code))
    return backend.InferenceResponse([backend.Tensor(name, array) for name, array in found.items()])
