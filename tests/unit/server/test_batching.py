"""What arrives together is predicted in one call, and answered as if it had been alone."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfp_suite.contracts.errors import DataError
from kfp_suite.models.loading import Prediction
from kfp_suite.server.batching import MAX_ROWS, Batcher


class Doubling:
    """A model that doubles, refuses negative rows, and can be held up."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def predict(self, table: pa.Table) -> Prediction:
        self.go_on.wait(10)
        self.calls.append(table.num_rows)
        x = table["x"].to_numpy()
        if (x < 0).any():
            raise DataError("negative")
        return Prediction(x * 2, np.stack([x, -x], axis=1))


def rows(*values: int) -> pa.Table:
    return pa.table({"x": list(values)})


def together(model: Doubling, tables: list[pa.Table]) -> list[Any]:
    """Ask for all of `tables` while the first is being worked on."""

    async def ask() -> list[Any]:
        batcher = Batcher()
        model.go_on.clear()
        first = asyncio.create_task(batcher.predict(model, rows(1)))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(batcher.predict(model, t)) for t in tables]  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        model.go_on.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    return asyncio.run(ask())


def test_what_waits_is_one_call() -> None:
    model = Doubling()
    found = together(model, [rows(2), rows(3, 4), rows(5)])
    assert model.calls == [1, 4]
    assert [p.values.tolist() for p in found] == [[4], [6, 8], [10]]
    assert [p.probabilities.tolist() for p in found] == [[[2, -2]], [[3, -3], [4, -4]], [[5, -5]]]


def test_a_refused_request_does_not_fail_the_others() -> None:
    found = together(Doubling(), [rows(2), rows(-3), rows(5)])
    assert isinstance(found[1], DataError)
    assert [found[0].values.tolist(), found[2].values.tolist()] == [[4], [10]]


def test_a_batch_is_bounded() -> None:
    model = Doubling()
    together(model, [rows(*range(MAX_ROWS // 2)), rows(*range(MAX_ROWS // 2)), rows(1), rows(2)])
    assert model.calls == [1, MAX_ROWS, 2]


def test_a_request_larger_than_a_batch_is_one_call() -> None:
    model = Doubling()
    (found,) = together(model, [rows(*range(MAX_ROWS * 3))])
    assert model.calls == [1, MAX_ROWS * 3]
    assert len(found.values) == MAX_ROWS * 3


def test_models_are_not_mixed() -> None:
    first, second = Doubling(), Doubling()

    async def ask() -> list[Any]:
        batcher = Batcher()
        asked = [(first, 1), (second, 2), (second, 3), (first, 4)]
        return await asyncio.gather(*(batcher.predict(m, rows(x)) for m, x in asked))  # type: ignore[arg-type]

    found = asyncio.run(ask())
    assert [p.values.tolist() for p in found] == [[2], [4], [6], [8]]
    assert (first.calls, second.calls) == ([1, 1], [2])


def test_a_client_that_goes_away_does_not_stop_the_others() -> None:
    model = Doubling()

    async def ask() -> Prediction:
        batcher = Batcher()
        model.go_on.clear()
        gone = asyncio.create_task(batcher.predict(model, rows(1)))  # type: ignore[arg-type]
        stays = asyncio.create_task(batcher.predict(model, rows(2)))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        gone.cancel()
        model.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert asyncio.run(ask()).values.tolist() == [4]


def test_a_batch_that_takes_long_holds_up_no_other() -> None:
    slow, fast = Doubling(), Doubling()

    async def ask() -> tuple[list[Prediction], bool, list[Prediction]]:
        batcher = Batcher()
        slow.go_on.clear()
        held = [asyncio.create_task(batcher.predict(slow, rows(1)))]  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        others = [await batcher.predict(fast, rows(x)) for x in (2, 3)]  # type: ignore[arg-type]
        is_held = not held[0].done()
        slow.go_on.set()
        return others, is_held, await asyncio.gather(*held)

    others, is_held, held = asyncio.run(ask())
    assert is_held
    assert [one.values.tolist() for one in (*others, *held)] == [[4], [6], [2]]


def test_as_many_slow_batches_as_may_be_hold_up_no_other_once_one_has_ended() -> None:
    """The fourth is late already when the first ends, and nothing but that end happens."""
    slow, fast = [Doubling() for _ in range(4)], Doubling()

    async def ask() -> tuple[Prediction, list[bool]]:
        batcher = Batcher(slow_seconds=0.01)
        held = []
        for model in slow:
            model.go_on.clear()
            held.append(asyncio.create_task(batcher.predict(model, rows(1))))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
        other = asyncio.create_task(batcher.predict(fast, rows(2)))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert not other.done()
        slow[0].go_on.set()
        found = await other
        are_done = [one.done() for one in held]
        for model in slow:
            model.go_on.set()
        await asyncio.gather(*held)
        return found, are_done

    found, are_done = asyncio.run(ask())
    assert found.values.tolist() == [4]
    assert are_done == [True, False, False, False]


def test_what_nobody_waits_for_any_more_is_not_predicted() -> None:
    model = Doubling()

    async def ask() -> Prediction:
        batcher = Batcher()
        model.go_on.clear()
        first = asyncio.create_task(batcher.predict(model, rows(1)))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(batcher.predict(model, rows(2, 3, 4)))  # type: ignore[arg-type]
        stays = asyncio.create_task(batcher.predict(model, rows(5)))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        while not batcher.longest():  # a busy machine starts threads late
            await asyncio.sleep(0.01)
        gone.cancel()
        model.go_on.set()
        await first
        found = await stays
        assert batcher.longest() == 0
        return found

    assert asyncio.run(ask()).values.tolist() == [10]
    assert model.calls == [1, 1]
