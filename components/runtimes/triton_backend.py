"""What Triton's Python backend calls: a part of the model, or all the estimator.

The folder of the model that `artifact_of` names has the Model artifact; `role` says which
part is asked for (see `runtimes.triton`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kfp_suite.components.contracts.errors import KfpSuiteError
from kfp_suite.components.models.loading import load_model
from kfp_suite.components.models.records import table_of_columns
from kfp_suite.components.runtimes.triton import ARTIFACT
from kfp_suite.components.runtimes.triton_config import FEATURES, SCORES

_KINDS = {"bool": np.bool_, "int64": np.int64, "float64": np.float64}


class TritonPythonModel:
    """The class by the name that the Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the Model artifact and verify its digests."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._role = parameters["role"]["string_value"]
        repository = Path(args["model_repository"]).parent
        owner = parameters["artifact_of"]["string_value"]
        self._parts = {
            "preprocess": self._preprocess,
            "model": self._estimate,
            "postprocess": self._postprocess,
        }
        self._model = load_model(repository / owner / args["model_version"] / ARTIFACT)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request; one that cannot be answered does not fail the others."""
        import triton_python_backend_utils as backend

        responses = []
        for request in requests:
            try:
                tensors = self._parts[self._role](request, backend)
                outputs = [backend.Tensor(name, array) for name, array in tensors.items()]
                responses.append(backend.InferenceResponse(outputs))
            except KfpSuiteError as error:
                refused = backend.TritonError(str(error), backend.TritonError.INVALID_ARG)
                responses.append(backend.InferenceResponse([], refused))
        return responses

    def _preprocess(self, request: Any, backend: Any) -> dict[str, Any]:
        inputs = self._model.manifest.signature.inputs
        columns = {
            field.name: [
                value.decode() if isinstance(value, bytes) else value
                for value in backend.get_input_tensor_by_name(request, field.name)
                .as_numpy()
                .ravel()
                .tolist()
            ]
            for field in inputs
        }
        table = table_of_columns(columns, inputs)
        return {FEATURES: np.ascontiguousarray(self._model.features(table))}

    def _estimate(self, request: Any, backend: Any) -> dict[str, Any]:
        matrix = backend.get_input_tensor_by_name(request, FEATURES).as_numpy()
        scores = np.asarray(self._model.scores(matrix), np.float32)
        return {SCORES: scores if scores.ndim == 2 else scores[:, None]}

    def _postprocess(self, request: Any, backend: Any) -> dict[str, Any]:
        scores = backend.get_input_tensor_by_name(request, SCORES).as_numpy()
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
