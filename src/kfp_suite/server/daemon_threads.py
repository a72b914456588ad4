"""Daemon threads for calls that may hang.

Python waits for the threads of its own pools before a process ends: one call that hangs would
keep a server from stopping. It does not wait for these threads, and they know the age of the
oldest call.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

_Call = tuple["Future[Any]", Callable[[], Any]] | None  # None: the end


class Threads(Executor):
    """Up to `most` threads, started when they are needed."""

    def __init__(self, most: int, name: str, prepare: Callable[[], object] | None = None) -> None:
        """Called `name`; each calls `prepare` first."""
        self._most, self._name, self._prepare = most, name, prepare
        self._started = 0
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._since: dict[int, float] = {}
        # They hold no reference to this object, so that they end once it is collected.
        weakref.finalize(self, self._calls.put, None)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `function` on a thread; from one thread alone, the event loop's."""
        future: Future[Any] = Future()
        self._calls.put((future, lambda: function(*args, **kwargs)))
        if self._started < self._most:
            self._started += 1
            given = (self._calls, self._since, self._prepare)
            threading.Thread(target=_work, args=given, name=self._name, daemon=True).start()
        return future

    def longest(self) -> float:
        """Seconds that the oldest call has taken so far; 0 if there is none."""
        began = min(list(self._since.values()), default=None)
        return 0.0 if began is None else time.monotonic() - began


def _work(
    calls: queue.SimpleQueue[_Call], since: dict[int, float], prepare: Callable[[], object] | None
) -> None:
    if prepare is not None:
        prepare()
    me = threading.get_ident()
    while (waiting := calls.get()) is not None:
        future, call = waiting
        if not future.set_running_or_notify_cancel():
            continue
        since[me] = time.monotonic()
        error = found = None
        try:
            found = call()
        except BaseException as raised:  # passed on to the caller
            error = raised
        del since[me]
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(found)
        del waiting, future, call, found, error  # not held while it waits for the next
    calls.put(None)  # for the next one of them
