"""The handler of TorchServe's worker: raw records in, predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from kfp_suite.contracts.errors import DataError, InputError
from kfp_suite.contracts.exact_json import parse_json
from kfp_suite.models.batching import predict_together
from kfp_suite.models.loading import LoadedModel, Prediction, load_model
from kfp_suite.models.request_parsing import record_format, table_of_records
from kfp_suite.runtimes.torchserve import ARTIFACT

_loaded: dict[str, LoadedModel] = {}


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """Answer a batch of requests, each `{"instances": [...]}`, from one prediction.

    Args:
        data: The bodies, each under `body` or `data`; None if a model is only loaded.
        context: TorchServe's, with the folder of the unpacked archive.
    """
    folder = str(context.system_properties["model_dir"])
    if folder not in _loaded:
        _loaded[folder] = load_model(Path(folder) / ARTIFACT)
    if data is None:
        return None
    model = _loaded[folder]
    read = [_read(model, request) for request in data]
    said = iter(predict_together(model, [one for one in read if isinstance(one, pa.Table)]))
    found = [next(said) if isinstance(one, pa.Table) else one for one in read]
    return [_answer(one, context, position) for position, one in enumerate(found)]


def _read(model: LoadedModel, request: dict[str, Any]) -> pa.Table | Exception:
    """The rows of a request, or the error that it is answered with."""
    body = request.get("body", request.get("data"))
    try:
        if isinstance(body, (bytes, bytearray, str)):
            body = parse_json(bytes(body) if isinstance(body, bytearray) else body)
        if not isinstance(body, dict):
            raise DataError("no records in the request", expected='{"instances": [{...}]}')
        return table_of_records(body.get("instances"), record_format(model.manifest))
    except Exception as error:  # of this request alone
        return error


def _answer(said: Prediction | Exception, context: Any, position: int) -> dict[str, Any]:
    if isinstance(said, InputError):
        context.set_response_status(code=400, phrase="Bad Request", idx=position)
        return {"error": str(said)}
    if isinstance(said, Exception):
        context.set_response_status(code=500, phrase="Internal Server Error", idx=position)
        return {"error": f"{type(said).__name__}: {said}"}
    version = str(context.manifest["model"]["modelVersion"]).partition(".")[0]
    answer = {"predictions": said.values.tolist(), "model_version": version}
    if said.probabilities is not None:
        answer["probabilities"] = said.probabilities.tolist()
    return answer
