"""The sockets that a server listens on."""

from __future__ import annotations

import asyncio
import socket

from kfp_suite.runtimes.local import LOOPBACK, bind, free_port


def test_answers_are_sent_without_a_delay() -> None:
    """asyncio turns Nagle's algorithm off only if the socket names its protocol; with it on, a
    small answer waits 40 ms for the client's acknowledgement."""
    port = free_port()
    (listening,) = bind(LOOPBACK, port)

    async def connect() -> bool:
        delays: asyncio.Queue[int] = asyncio.Queue()

        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            delays.put_nowait(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(accept, sock=listening):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        return bool(delays.get_nowait())

    assert asyncio.run(connect())
