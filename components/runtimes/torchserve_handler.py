"""What TorchServe's worker calls: raw records in, predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from kfp_suite.components.contracts.errors import DataError, InputError
from kfp_suite.components.models.loading import LoadedModel, load_model
from kfp_suite.components.models.records import table_of_records
from kfp_suite.components.runtimes.torchserve import ARTIFACT

_loaded: dict[str, LoadedModel] = {}


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """Answer a batch of requests, each `{"instances": [...]}`.

    Args:
        data: The bodies, each under `body` or `data`; None where a model is only loaded.
        context: TorchServe's, with the folder of the unpacked archive.
    """
    folder = str(context.system_properties["model_dir"])
    if folder not in _loaded:
        _loaded[folder] = load_model(Path(folder) / ARTIFACT)
    if data is None:
        return None
    return [
        _answer(_loaded[folder], request, context, position)
        for position, request in enumerate(data)
    ]


def _answer(model: LoadedModel, request: dict[str, Any], context: Any, position: int) -> Any:
    body = request.get("body", request.get("data"))
    version = str(context.manifest["model"]["modelVersion"]).partition(".")[0]
    try:
        if isinstance(body, (bytes, bytearray, str)):
            try:
                body = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise DataError("the request is not JSON", got=str(error)) from error
        if not isinstance(body, dict):
            raise DataError("no records in the request", expected='{"instances": [{...}]}')
        table = table_of_records(body.get("instances"), model.manifest.signature.inputs)
        said = model.predict(table)
    except InputError as error:
        context.set_response_status(code=400, phrase="Bad Request", idx=position)
        return {"error": str(error)}
    answer = {"predictions": said.values.tolist(), "model_version": version}
    if said.probabilities is not None:
        answer["probabilities"] = said.probabilities.tolist()
    return answer
