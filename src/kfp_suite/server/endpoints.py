"""Paths of V2 that KServe lacks, or answers with less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from kserve.constants.constants import PredictorProtocol
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady
from prometheus_client import CollectorRegistry

from kfp_suite.contracts.errors import InputError
from kfp_suite.contracts.exact_json import parse_json
from kfp_suite.server.request_validation import ReadingDataPlane
from kfp_suite.server.triton_pages import model_config, model_statistics
from kfp_suite.server.versions import RepositoryExtension

_ALL = "stats"


class Endpoints:
    """The handlers of these paths."""

    def __init__(
        self,
        data_plane: ReadingDataPlane,
        repository: RepositoryExtension,
        counted: Callable[[], CollectorRegistry],
    ) -> None:
        """Of a data plane and a repository; `counted`: the registry of this server's metrics."""
        self._data_plane, self._repository, self._counted = data_plane, repository, counted

    async def infer(self, model_name: str, request: Request) -> Response:
        """A prediction. KServe's own handler accepts JSON with duplicate keys."""
        data_plane = self._data_plane
        if not await data_plane.model_ready(model_name, True):
            raise ModelNotReady(model_name)
        headers = dict(request.headers)
        asked, _ = data_plane.decode(
            await request.body(), headers, PredictorProtocol.REST_V2.value, model_name
        )
        answer, own = await data_plane.infer(model_name, asked, headers)
        content, more = data_plane.encode(model_name, answer, headers, {})
        given = {**own, **more}
        if isinstance(content, bytes):
            return Response(content, headers=given)
        return _json(content, given)

    async def model_metadata(self, model_name: str) -> Response:
        """The signature, with the values of each field and the class of each column."""
        if model_name == _ALL and self._registry.get_model(_ALL) is None:
            return self._statistics(list(self._registry.get_models()))
        return _json(await self._data_plane.model_metadata(model_name))

    async def model_config(self, model_name: str) -> Response:
        """The signature as Triton configures it."""
        model = self._data_plane.get_model_from_registry(model_name)
        signature = model.signature
        return _json(model_config(model_name, model.version, signature.inputs, signature.outputs))

    async def model_statistics(self, model_name: str) -> Response:
        """The counters of the version that serves."""
        if self._registry.get_model(model_name) is None:
            raise ModelNotFound(model_name)
        return self._statistics([model_name])

    async def repository_index(self, request: Request) -> Response:
        """The models, and whether they serve."""
        body = await request.body()
        try:
            asked = parse_json(body) if body.strip() else {}
        except InputError as error:
            raise InvalidInput(str(error)) from error
        if not isinstance(asked, dict) or not isinstance(asked.get("ready", False), bool):
            raise InvalidInput('the request is not of its form; expected {"ready": true} or {}')
        return _json(await self._repository.index(asked.get("ready", False)))

    @property
    def _registry(self) -> Any:
        return self._data_plane.model_registry

    def _statistics(self, names: list[str]) -> Response:
        served = {name: self._registry.version(name) for name in names}
        return _json(model_statistics(served, self._counted()))


def add_endpoints(app: FastAPI, endpoints: Endpoints) -> None:
    """Answer them; to be called before KServe adds its own, which come after."""
    for path, endpoint, method in (
        ("/v2/models/{model_name}", endpoints.model_metadata, "GET"),
        ("/v2/models/{model_name}/infer", endpoints.infer, "POST"),
        ("/v2/models/{model_name}/config", endpoints.model_config, "GET"),
        ("/v2/models/{model_name}/stats", endpoints.model_statistics, "GET"),
        ("/v2/repository/index", endpoints.repository_index, "POST"),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False)


def _json(content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), headers=headers, media_type="application/json")
