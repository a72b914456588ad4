"""Statistics of a split's Parquet shards: one pass, on several threads, in flat memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import ContractError, store_error
from kfp_suite.contracts.parquet_batches import (
    is_packed,
    open_parquet,
    read_batches,
)

BATCH_ROWS = 131_072
_BATCH_CELLS = 1 << 22
_BYTES_IN_WORK = 1 << 26  # of all threads together
_MIN_BATCH_BYTES = 1 << 22


@dataclass(frozen=True)
class _RowGroup:
    file: Path
    metadata: pq.FileMetaData
    index: int
    first: int


def scan_split(dataset: Dataset, split: str, threads: int) -> SplitPartial:
    """The statistics of a split; the same for any number of threads.

    Raises:
        ContractError: a shard is not Parquet, or not of the dataset's schema.
        MissingError: a shard is not there.
    """
    columns = dataset.manifest.columns
    waiting = iter(list(_row_groups(dataset.files(split), dataset.schema)))
    lock = threading.Lock()
    batch_bytes = max(_MIN_BATCH_BYTES, _BYTES_IN_WORK // threads)

    def work() -> SplitPartial:
        partial = SplitPartial(columns)
        while True:
            with lock:
                group = next(waiting, None)
            if group is None:
                return partial
            _scan_row_group(group, columns, partial, batch_bytes)

    if threads == 1:
        return work()
    with ThreadPoolExecutor(threads) as pool:
        first, *others = [future.result() for future in [pool.submit(work) for _ in range(threads)]]
    for other in others:
        first.merge(other)
    return first


def _row_groups(files: list[Path], schema: pa.Schema) -> Iterator[_RowGroup]:
    first = 0
    for file in files:
        try:
            metadata = pq.read_metadata(file)
        except OSError as error:
            raise store_error(error, file) from error
        except pa.ArrowInvalid as error:
            raise _unreadable(file, error) from error
        got = metadata.schema.to_arrow_schema()
        if got.names != schema.names or got.types != schema.types:
            raise ContractError(
                "a shard's schema is not the dataset's",
                where=file,
                got=", ".join(f"{field.name} {field.type}" for field in got),
                expected=", ".join(f"{field.name} {field.type}" for field in schema),
                fix="ingest the data again",
            )
        for index in range(metadata.num_row_groups):
            yield _RowGroup(file, metadata, index, first)
            first += metadata.row_group(index).num_rows


def _scan_row_group(
    group: _RowGroup, columns: tuple[Column, ...], partial: SplitPartial, batch_bytes: int
) -> None:
    rows = max(1_024, min(BATCH_ROWS, _BATCH_CELLS // max(len(columns), 1)))
    first = group.first
    chunks = group.metadata.row_group(group.index)
    packed = [
        column.name
        for i, column in enumerate(columns)
        if column.type == "string" and is_packed(chunks.column(i))
    ]
    try:
        with open_parquet(group.file, read_dictionary=packed, metadata=group.metadata) as file:
            for batch in read_batches(file, rows, None, [group.index], batch_bytes):
                partial.update(batch, first)
                first += batch.num_rows
    except OSError as error:
        raise _unreadable(group.file, error) from error
    except pa.ArrowInvalid as error:
        raise _unreadable(group.file, error) from error


def _unreadable(file: Path, error: Exception) -> ContractError:
    return ContractError(
        "not a readable Parquet file", where=file, got=str(error), fix="ingest the data again"
    )
