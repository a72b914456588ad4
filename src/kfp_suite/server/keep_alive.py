"""Closing kept-alive connections at shutdown without losing a request on its way.

A client may send its next request on a kept-alive connection at the very moment at which it is
closed, and its first one long after it has connected. So first no new connection is accepted,
and each answer carries `Connection: close`; then connections that stay idle are closed.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

LINGER_SECONDS = 1.0
"""How long the next request on a connection is waited for."""
MAX_LINGER_SECONDS = 10.0
"""How long the first one is."""
_POLL_SECONDS = 0.02
_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # of BPF: return 0 bytes of each packet


def refuse_new(listener: socket.socket) -> None:
    """Refuse new connections, while those that wait can still be accepted.

    Closing a socket resets the connections that were not accepted yet. On Linux, a filter drops
    the packets of new ones first: their clients try again, and find the socket closed.
    Elsewhere they are reset.

    This holds for every process that has the socket, and for good: only the process that ends
    them all may do it.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    program = struct.pack("HP", 1, ctypes.addressof(code))
    with suppress(OSError):  # a kernel or a sandbox that has no filters
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


async def linger(
    connections: Callable[[], Collection[Any]], fresh: Callable[[Any], bool] = lambda _: False
) -> None:
    """Wait until the clients are gone, or silent for long enough.

    Args:
        connections: Those there are now.
        fresh: Whether one has not had a request yet.
    """
    started = time.monotonic()
    while there := connections():
        waited = time.monotonic() - started
        longest = MAX_LINGER_SECONDS if any(map(fresh, there)) else LINGER_SECONDS
        if waited >= longest:
            return
        await asyncio.sleep(_POLL_SECONDS)
