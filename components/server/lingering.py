"""A server that ends loses no request that is on its way.

A client may send its next request on a connection that is kept alive at the very moment at
which that is closed. So at first nobody new is let in, and each answer says that it is the last
on its connection; whoever has been silent for a while loses nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

LINGER_SECONDS = 1.0
_POLL_SECONDS = 0.02


async def linger(connections: Callable[[], Collection[Any]]) -> None:
    """Wait until the clients are gone, or silent for long enough."""
    deadline = time.monotonic() + LINGER_SECONDS
    while connections() and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
