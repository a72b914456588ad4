"""Micro-batching of concurrent requests.

While one batch is predicted on a thread, the next one gathers: no request waits for a
timer, and the event loop goes on answering probes and reading requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import pyarrow as pa
from threadpoolctl import threadpool_limits

from kfp_suite.models.batching import predict_together
from kfp_suite.models.loading import LoadedModel, Prediction
from kfp_suite.server.daemon_threads import Threads

MAX_ROWS = 1024
"""A batch takes no further request beyond this; one larger request is a batch alone."""

SLOW_SECONDS = 1.0
"""A batch that takes longer may be large, or never come back."""
_MAX_SLOW = 3


@dataclass(frozen=True)
class _Waiting:
    model: LoadedModel
    table: pa.Table
    answer: asyncio.Future[Prediction]


class Batcher:
    """Gathers the requests of one event loop."""

    def __init__(self, slow_seconds: float = SLOW_SECONDS) -> None:
        """`slow_seconds`: after this, other requests no longer wait for a batch."""
        self._slow_seconds = slow_seconds
        self._waiting: deque[_Waiting] = deque()
        # OpenMP's threads cost a small batch more than they bring.
        self._few = Threads(_MAX_SLOW + 1, "few", lambda: threadpool_limits(1))
        self._many = Threads(_MAX_SLOW + 1, "many")
        self._working: asyncio.Task[None] | None = None
        self._slow: set[asyncio.Task[None]] = set()
        self._late: asyncio.Task[None] | None = None  # passed by when a slow one has ended

    async def predict(self, model: LoadedModel, table: pa.Table) -> Prediction:
        """`model.predict(table)`, perhaps in one call with other requests.

        Raises:
            InputError: as `LoadedModel.predict`; for this request only.
        """
        answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(model, table, answer))
        if self._working is None:
            self._start()
        return await answer

    def longest(self) -> float:
        """Seconds that the oldest batch has taken so far; 0 if there is none."""
        return max(self._few.longest(), self._many.longest())

    def _start(self) -> None:
        self._working = asyncio.create_task(self._work())

    def _pass_by(self, slow: asyncio.Task[None]) -> None:
        """Let other requests go on beside a batch that takes long; if as many as may be are
        passed by already, once one of them has ended."""
        if len(self._slow) >= _MAX_SLOW:
            self._late = slow
            return
        self._late = None
        self._slow.add(slow)
        self._working = None
        if self._waiting:
            self._start()

    async def _work(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        try:
            while self._working is task and (batch := self._take()):
                tables = [waiting.table for waiting in batch]
                thread = self._few if sum(map(len, tables)) <= MAX_ROWS else self._many
                late = loop.call_later(self._slow_seconds, self._pass_by, task)
                try:
                    found = await loop.run_in_executor(
                        thread, predict_together, batch[0].model, tables
                    )
                finally:
                    late.cancel()
                    if self._late is task:
                        self._late = None
                for waiting, result in zip(batch, found, strict=True):
                    if waiting.answer.cancelled():  # its client has gone
                        continue
                    if isinstance(result, Prediction):
                        waiting.answer.set_result(result)
                    else:
                        waiting.answer.set_exception(result)
        finally:
            self._slow.discard(task)
            if self._working is task:
                self._working = None
            elif self._late is not None and not self._late.cancelling():
                self._pass_by(self._late)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            following = self._waiting[0]
            if not following.answer.cancelled():
                rows += following.table.num_rows
                if batch and (following.model is not batch[0].model or rows > MAX_ROWS):
                    break
                batch.append(following)
            self._waiting.popleft()
        return batch
