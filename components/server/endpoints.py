"""Paths of V2 that KServe lacks, or answers with less."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from kserve.errors import InvalidInput

from kfp_suite.components.server.reading import ReadingDataPlane
from kfp_suite.components.server.versions import RepositoryExtension


def add_endpoints(
    app: FastAPI, data_plane: ReadingDataPlane, repository: RepositoryExtension
) -> None:
    """Add them to the application; to be called before KServe adds its own."""

    async def model_metadata(model_name: str) -> Response:
        """The signature, with the values of each field and the class of each column."""
        return _json(await data_plane.model_metadata(model_name))

    async def repository_index(request: Request) -> Response:
        """The models, and whether they serve."""
        body = await request.body()
        try:
            asked = orjson.loads(body) if body.strip() else {}
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"the request is not JSON: {error}") from error
        if not isinstance(asked, dict) or not isinstance(asked.get("ready", False), bool):
            raise InvalidInput('the request is not of its form; expected {"ready": true} or {}')
        return _json(await repository.index(asked.get("ready", False)))

    for path, endpoint, method in (
        ("/v2/models/{model_name}", model_metadata, "GET"),
        ("/v2/repository/index", repository_index, "POST"),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False)


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
