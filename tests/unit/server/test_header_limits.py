"""A head that has no end, or never comes, is refused before an application is asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from kfp_suite.server import header_limits
from kfp_suite.server.door import Door
from kfp_suite.server.limits import MAX_HEAD_BYTES

LINE = b"POST / HTTP/1.1\r\n"


async def sized(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers how many headers and bytes it got."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    said = f"{len(scope['headers'])} {size}".encode()
    await send({"type": "http.response.body", "body": said})


def answered(chunks: list[bytes], pause: float = 0.02, application: Any = sized) -> tuple[int, str]:
    """The status and the body that a client gets who sends this bit by bit."""

    async def run() -> bytes:
        config = uvicorn.Config(Door(application), log_config=None, ws="none")
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: header_limits.BoundedProtocol(config, state, {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        answer = asyncio.create_task(reader.read())
        try:
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass  # it has closed already
        found = await asyncio.wait_for(answer, 10)
        writer.close()
        while state.connections:
            await asyncio.sleep(0.01)
        server.close()
        return found

    head, _, body = asyncio.run(run()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def header(size: int) -> bytes:
    return b"x-long: " + b"a" * size + b"\r\n"


LAST = b"connection: close\r\n"
WHOLE = LINE + LAST + b"content-length: 5\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        [WHOLE + b"\r\n12345"],
        [WHOLE, b"\r\n", b"123", b"45"],
        [bytes([one]) for one in WHOLE + b"\r\n12345"],
        [WHOLE + header(MAX_HEAD_BYTES - 200) + b"\r\n12345"],
    ],
)
def test_a_head_within_the_limits_is_read_however_it_comes(chunks: list[bytes]) -> None:
    status, body = answered(chunks, pause=0.001)
    assert (status, body.split("\r\n")[1][-1]) == (200, "5")


CHUNKED = LINE + b"transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        [WHOLE + header(MAX_HEAD_BYTES) + b"\r\n12345"],
        [WHOLE + header(100) * (MAX_HEAD_BYTES // 100) + b"\r\n12345"],
        [LINE, *[header(1000)] * 200],
        [LINE + b"x-long: ", *[b"a" * 10_000] * 20],
        [b"GET /", *[b"a" * 10_000] * 20],
        [CHUNKED, b"x-long: ", *[b"a" * 10_000] * 20],
        [CHUNKED, *[header(1000)] * 200],
    ],
)
def test_one_that_is_too_large_is_431(chunks: list[bytes]) -> None:
    status, body = answered(chunks)
    assert status == 431
    assert "the request's headers are over 65,536 bytes" in body


@pytest.mark.parametrize("first", [LINE, b"P"])
def test_one_that_drips_is_408(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_limits, "HEAD_SECONDS", 0.3)
    status, body = answered([first, *[b"x: y\r\n"] * 20] if first == LINE else [first], 0.05)
    assert status == 408
    assert json.loads(body)["error"].startswith("the request's headers did not come within")


def test_a_client_that_goes_on_sending_still_reads_the_refusal() -> None:
    """More than the kernel holds, so that a socket that is closed at once would be reset."""
    status, body = answered([LINE, header(MAX_HEAD_BYTES), *[header(1 << 20)] * 20], pause=0)
    assert status == 431
    assert "the request's headers are over 65,536 bytes" in body


def test_a_request_before_a_refused_one_ends_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        while not caplog.records:  # of the refusal
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})
        ended.append(scope["path"])

    status, _ = answered([b"GET /a HTTP/1.1\r\n\r\n", b"\0 nope\r\n\r\n"], 0.1, slow)
    assert status == 400
    assert ended == ["/a"]
    assert [one for one in caplog.records if one.exc_info] == []


def test_a_slow_body_after_a_slow_head_is_not_the_head_s_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(header_limits, "HEAD_SECONDS", 0.3)
    status, _ = answered([WHOLE, b"\r\n", *[b"1"] * 5], pause=0.15)
    assert status == 200
