"""A body that is too large, or that never comes, is refused before it costs anything."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kfp_suite.server.body_limit import BodyLimit


async def echo(_: Any, receive: Any, send: Any) -> None:
    """An application that answers the size of what it got."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def answered(chunks: list[bytes], headers: Any = (), pause: float = 0.0) -> tuple[int, bytes]:
    sent: list[Any] = []
    waiting = list(chunks)

    async def receive() -> Any:
        await asyncio.sleep(pause)
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        limit = BodyLimit(echo, limit=10, seconds=0.2)
        await limit({"type": "http", "headers": list(headers)}, receive, send)

    asyncio.run(run())
    return sent[0]["status"], sent[1]["body"]


def test_a_body_within_the_limits_passes_whole() -> None:
    assert answered([b"12345", b"", b"67890"]) == (200, b"10")


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [([b"12345", b"678901"], ()), ([b""], [(b"content-length", b"11")])],
)
def test_one_that_is_too_large_is_413(chunks: list[bytes], headers: Any) -> None:
    status, body = answered(chunks, headers)
    assert status == 413
    assert json.loads(body)["error"].startswith("the body is over 10 bytes")


def test_one_that_drips_is_408() -> None:
    status, body = answered([b"1"] * 9, pause=0.05)
    assert status == 408
    assert json.loads(body) == {"error": "the body did not come within 0.2 s"}
