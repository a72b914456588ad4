"""Every answer to a prediction is counted once, that of a defect, too."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kfp_suite.server.door import Door
from kfp_suite.server.refusals import tell_defect


async def predict(request: Request) -> Response:
    if request.path_params["name"] == "broken":
        raise ZeroDivisionError("a defect")
    return PlainTextResponse("ok")


async def post(app: Starlette, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return await client.post(path)


@pytest.mark.parametrize(("name", "status"), [("broken", 500), ("sound", 200)])
def test_an_answer_is_counted_once(name: str, status: int) -> None:
    counted: list[tuple[Any, ...]] = []
    app = Starlette(
        routes=[Route("/v1/models/{name}:predict", predict, methods=["POST"])],
        exception_handlers={Exception: tell_defect},
    )
    app.add_middleware(
        Door,
        version_of=lambda _: "3",
        observe=lambda model, version, code, _: counted.append((model, version, code)),
    )
    answer = asyncio.run(post(app, f"/v1/models/{name}:predict"))
    assert answer.status_code == status
    assert "a defect" not in answer.text
    assert counted == [(name, "3", status)]
