"""Rows of a query to digested Parquet shards, split by split, in flat memory."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kfp_suite.components.contracts.dataset import SPLITS, Shard, Split
from kfp_suite.components.contracts.digests import digest_file
from kfp_suite.components.contracts.errors import DataError
from kfp_suite.components.contracts.tables import TableDigest, columns_of
from kfp_suite.components.ingest.splitting import SplitRule

_BATCH_ROWS = 131_072
_SPLIT = "__split"


def write_splits(
    connection: duckdb.DuckDBPyConnection,
    selection: str,
    schema: pa.Schema,
    rule: SplitRule,
    folder: Path,
    rows_per_shard: int,
) -> dict[str, Split]:
    """Write every row of `selection` to its split below `folder`.

    Raises:
        DataError: rows that the rule gives no split.
    """
    expression = rule.expression(columns_of(schema))
    reader = connection.sql(
        f'SELECT *, ({expression})::TINYINT AS "{_SPLIT}" FROM ({selection})'
    ).to_arrow_reader(_BATCH_ROWS)
    writers = {name: _SplitWriter(name, schema, folder, rows_per_shard) for name in SPLITS}
    without = 0
    try:
        for batch in reader:
            chosen = batch.column(batch.num_columns - 1)
            rows = batch.select(schema.names).cast(schema)
            without += chosen.null_count
            for index, name in enumerate(SPLITS):
                mask = pc.fill_null(pc.equal(chosen, index), False)
                count = pc.sum(mask).as_py() or 0
                if count == rows.num_rows:
                    writers[name].write(rows)
                elif count:
                    writers[name].write(rows.filter(mask))
        if without:
            raise DataError(
                f"{without} rows belong to no split",
                where="split",
                fix="fill the split column in `sql`, or drop the rows there",
            )
        return {name: writer.close() for name, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.stop()


class _SplitWriter:
    """Digests and writes the rows of one split, each on a thread of its own."""

    def __init__(self, name: str, schema: pa.Schema, folder: Path, rows_per_shard: int) -> None:
        self._name, self._schema, self._folder = name, schema, folder
        self._rows_per_shard = rows_per_shard
        self._digest = TableDigest(schema)
        self._pool = ThreadPoolExecutor(2)
        self._pending: list[Future[None]] = []
        self._shards: list[tuple[str, int]] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows_in_shard = 0
        (folder / name).mkdir()

    def write(self, rows: pa.RecordBatch) -> None:
        # One batch at a time is in flight: order is kept and memory stays flat.
        self._wait()
        self._pending = [
            self._pool.submit(self._digest.update, rows),
            self._pool.submit(self._write, rows),
        ]

    def close(self) -> Split:
        """Finish the last shard and describe the split."""
        self._wait()
        if self._writer is None:
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

    def stop(self) -> None:
        """Release the threads and the file, also after a failure."""
        self._pool.shutdown()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _wait(self) -> None:
        for pending in self._pending:
            pending.result()
        self._pending = []

    def _write(self, rows: pa.RecordBatch) -> None:
        while rows.num_rows:
            if self._writer is None:
                self._open_shard()
            assert self._writer is not None
            part = rows.slice(0, self._rows_per_shard - self._rows_in_shard)
            self._writer.write_batch(part)
            self._rows_in_shard += part.num_rows
            rows = rows.slice(part.num_rows)
            if self._rows_in_shard == self._rows_per_shard:
                self._close_shard()

    def _open_shard(self) -> None:
        path = f"{self._name}/part-{len(self._shards):05}.parquet"
        self._writer = pq.ParquetWriter(self._folder / path, self._schema, compression="snappy")
        self._rows_in_shard = 0
        self._shards.append((path, 0))

    def _close_shard(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        path, _ = self._shards[-1]
        self._shards[-1] = (path, self._rows_in_shard)
