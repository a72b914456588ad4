"""Rows to digested Parquet shards, split by split, in flat memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kfp_suite.contracts.dataset import SPLITS, Shard, Split
from kfp_suite.contracts.digests import digest_file
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.tables import TableDigest

_ROW_GROUP_ROWS = 131_072
_IN_FLIGHT = 2


def write_splits(
    rows: Iterable[tuple[pa.RecordBatch, pa.Array]],
    schema: pa.Schema,
    folder: Path,
    rows_per_shard: int,
) -> dict[str, Split]:
    """Write every row to its split below `folder`.

    Args:
        rows: Rows, and for each the index of its split in `SPLITS`.
        schema: That of the rows.
        folder: Where the splits go, each to a folder of its name.
        rows_per_shard: How many rows a file has at most.

    Raises:
        DataError: rows without a split.
    """
    without = 0
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                closing(_SplitWriter(name, index, schema, folder, rows_per_shard))
            )
            for index, name in enumerate(SPLITS)
        }
        for batch, chosen in rows:
            without += chosen.null_count
            for writer in writers.values():
                writer.write(batch, chosen)
        if without:
            raise DataError(
                f"{without} rows belong to no split",
                where="split",
                fix="fill the split column in `sql`, or drop the rows there",
            )
        return {name: writer.finish() for name, writer in writers.items()}


class _SplitWriter:
    """Selects, digests and writes the rows of one split, on threads of its own."""

    def __init__(
        self, name: str, index: int, schema: pa.Schema, folder: Path, rows_per_shard: int
    ) -> None:
        self._name, self._index, self._schema, self._folder = name, index, schema, folder
        self._rows_per_shard = rows_per_shard
        self._digest = TableDigest(schema)
        # One thread each, so that the order of rows is kept.
        self._selecting, self._digesting = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()
        self._shards: list[tuple[str, int]] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows_in_shard = 0
        self._gathered: list[pa.RecordBatch] = []
        self._gathered_rows = 0
        (folder / name).mkdir()

    def write(self, rows: pa.RecordBatch, chosen: pa.Array) -> None:
        """Take this split's part of `rows`; returns while it is worked on."""
        # Few batches are in flight at a time, so memory stays flat.
        while len(self._pending) >= _IN_FLIGHT:
            self._pending.popleft().result()
        self._pending.append(self._selecting.submit(self._select, rows, chosen))

    def finish(self) -> Split:
        """Finish the last shard and describe the split."""
        self._wait()
        self._write_row_group()
        if self._rows_in_shard or not self._shards:
            self._open_shard()
            self._close_shard()
        shards = []
        for path, rows in self._shards:
            file = self._folder / path
            shards.append(Shard(path, rows, file.stat().st_size, digest_file(file)))
        return Split(
            rows=self._digest.rows,
            bytes=sum(shard.bytes for shard in shards),
            digest=self._digest.digest(),
            shards=tuple(shards),
        )

    def close(self) -> None:
        """Release the threads and the file, also after a failure."""
        self._selecting.shutdown(cancel_futures=True)
        self._digesting.shutdown()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _wait(self) -> None:
        while self._pending:
            self._pending.popleft().result()

    def _select(self, rows: pa.RecordBatch, chosen: pa.Array) -> None:
        mask = pc.equal(chosen, self._index)
        chosen_rows = pc.sum(mask).as_py() or 0
        if chosen_rows:
            part = rows if chosen_rows == rows.num_rows else rows.filter(mask)
            digesting = self._digesting.submit(self._digest.update, part)
            self._write(part)
            digesting.result()

    def _write(self, rows: pa.RecordBatch) -> None:
        """Gather rows to row groups of one size, and those to shards."""
        while rows.num_rows:
            left = min(_ROW_GROUP_ROWS, self._rows_per_shard - self._rows_in_shard)
            part = rows.slice(0, left - self._gathered_rows)
            rows = rows.slice(part.num_rows)
            self._gathered.append(part)
            self._gathered_rows += part.num_rows
            if self._gathered_rows == left:
                self._write_row_group()
            if self._rows_in_shard == self._rows_per_shard:
                self._close_shard()

    def _write_row_group(self) -> None:
        if self._gathered:
            self._open_shard()
            assert self._writer is not None
            self._writer.write_table(pa.Table.from_batches(self._gathered))
            self._rows_in_shard += self._gathered_rows
            self._gathered, self._gathered_rows = [], 0

    def _open_shard(self) -> None:
        if self._writer is not None:
            return
        path = f"{self._name}/part-{len(self._shards):05}.parquet"
        self._writer = pq.ParquetWriter(self._folder / path, self._schema, compression="snappy")
        self._rows_in_shard = 0
        self._shards.append((path, 0))

    def _close_shard(self) -> None:
        assert self._writer is not None
        self._writer.close()
        self._writer = None
        path, _ = self._shards[-1]
        self._shards[-1] = (path, self._rows_in_shard)
        self._rows_in_shard = 0
