"""A split as a collection of record batches, as the TFX libraries take them: a column of
lists with one value a row, or none where it is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa

from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.parquet_batches import open_parquet, read_batches

BATCH_ROWS = 32_768


def read_split(
    data: Dataset,
    split: str,
    columns: list[str],
    convert: Callable[[pa.RecordBatch], pa.RecordBatch],
) -> beam.PTransform:
    """The rows of a split, shard by shard: shards are read wherever workers are.

    Args:
        data: A dataset in a folder that every worker sees.
        split: Its split.
        columns: The columns to read.
        convert: What is done to each batch.
    """
    files = [str(path) for path in data.files(split)]

    def batches(file: str) -> Iterator[pa.RecordBatch]:
        with open_parquet(Path(file)) as opened:
            for batch in read_batches(opened, BATCH_ROWS, columns):
                if batch.num_rows:
                    yield convert(batch)

    return (
        f"Shards of {split}" >> beam.Create(files)
        | f"Spread {split}" >> beam.Reshuffle()
        | f"Read {split}" >> beam.FlatMap(batches)
    )


def lists(values: pa.Array) -> pa.Array:
    """Lists of one value each; a list that is null where the value is."""
    if not values.null_count:
        offsets = np.arange(len(values) + 1, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values)
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(valid)]).astype(np.int32)
    mask = np.append(~valid, False)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), values.drop_null())


def tfx_values(column: pa.Array) -> pa.Array:
    """A column in the types that the TFX libraries know: text as bytes, booleans as 0 and 1,
    dates as days and timestamps as microseconds since 1970."""
    kind = column.type
    if pa.types.is_string(kind):
        return column.cast(pa.binary())
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8()).cast(pa.int64())
    if pa.types.is_date32(kind):
        return column.view(pa.int32()).cast(pa.int64())
    if pa.types.is_timestamp(kind):
        return column.view(pa.int64())
    return column


def tfx_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Every column as lists of the types that the TFX libraries know."""
    columns = [lists(tfx_values(column)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
