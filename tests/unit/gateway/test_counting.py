"""What the gateway counts of two versions is what a rollout judges by: each one's own share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpx
from aiohttp import web
from aiohttp.test_utils import TestServer

from kfp_suite.components.rollout.judging import Limits, judge
from kfp_suite.components.rollout.measuring import Growth, parse_metrics
from kfp_suite.kserve.manifests import Served
from kfp_suite.runtimes.local import LocalServer
from kfp_suite.server.gateway.backends import Backend, Side
from kfp_suite.server.gateway.gateway import Gateway
from kfp_suite.server.gateway.routing import Route

PATH = "/v1/models/wings:predict"
Conduct = Callable[[int], int]
"""What a version answers the request of a number with."""


class At:
    """A server that is there already."""

    def __init__(self, base: str) -> None:
        self.base = base


@asynccontextmanager
async def backend(version: int, conduct: Conduct) -> AsyncIterator[Backend]:
    async def predict(request: web.Request) -> web.Response:
        number = (await request.json())["number"]
        return web.json_response({"version": version}, status=conduct(number))

    app = web.Application()
    app.router.add_post(PATH, predict)
    async with TestServer(app) as server:
        served = Served("wings", "wings", version, "", "", "", "")
        there = cast(LocalServer, At(str(server.make_url("")).rstrip("/")))
        yield Backend(Side(served), [there])


async def ask(
    stable: Conduct, candidate: Conduct, percent: int, requests: int
) -> tuple[Counter[int], Growth]:
    """The codes that clients saw, and what was counted."""
    codes: Counter[int] = Counter()
    async with (
        backend(1, stable) as one,
        backend(2, candidate) as two,
        Gateway() as gateway,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(gateway.app()), base_url="http://gateway"
        ) as client,
    ):
        gateway.routes["wings"] = Route(one, two, percent)
        pages = ["", ""]
        for number in range(requests):
            codes[(await client.post(PATH, json={"number": number})).status_code] += 1
        pages[1] = (await client.get("/metrics")).text
        index = (await client.post("/v2/repository/index", json={})).json()
        assert index == [{"name": "wings", "version": "1", "state": "READY", "reason": ""}]
    counted = iter(pages)
    return codes, Growth(lambda: {"gateway": parse_metrics(next(counted), "wings")})


def asked(
    stable: Conduct, candidate: Conduct, percent: int = 10, requests: int = 700
) -> tuple[Counter[int], Growth]:
    return asyncio.run(ask(stable, candidate, percent, requests))


def test_an_identical_candidate_is_not_blamed_for_what_the_other_one_fails() -> None:
    """One request in fifty fails on either: asked for again of the other, it fails there, too."""

    def conduct(number: int) -> int:
        return 500 if number % 50 == 7 else 200

    codes, growth = asked(conduct, conduct)
    assert codes == {200: 686, 500: 14}
    found = growth.look()
    assert (found["1"].errors.total, found["2"].errors.total) == (630, 70)
    assert found["1"].errors.bad + found["2"].errors.bad == 14
    assert judge(found["1"], found["2"], Limits(), 0.0).verdict == "unknown"


def test_what_one_of_them_fails_no_client_sees() -> None:
    codes, growth = asked(lambda _: 500, lambda _: 200, percent=50, requests=20)
    assert codes == {200: 20}
    found = growth.look()
    assert (found["1"].errors.bad, found["1"].errors.total) == (10, 10)
    assert (found["2"].errors.bad, found["2"].errors.total) == (0, 10)


def test_what_a_candidate_alone_refuses_no_client_sees_and_it_counts() -> None:
    codes, growth = asked(lambda _: 200, lambda _: 400, percent=50, requests=120)
    assert codes == {200: 120}
    found = growth.look()
    assert found["2"].refused.bad == 60
    judged = judge(found["1"], found["2"], Limits(), 0.0)
    assert judged.why.startswith("worse by refused requests: 100.00% of 60 against 0.00% of 60")


def test_what_the_stable_version_refuses_is_refused() -> None:
    codes, _ = asked(lambda _: 422, lambda _: 200, percent=0, requests=5)
    assert codes == {422: 5}
    codes, _ = asked(lambda _: 422, lambda _: 200, percent=10, requests=10)
    assert codes == {422: 9, 200: 1}
