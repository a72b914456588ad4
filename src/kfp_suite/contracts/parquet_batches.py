"""Reading Parquet in batches that are bounded in rows and in bytes.

A number of rows says nothing about memory if a column holds texts: 65,536 pages of a
book are gigabytes. So a batch has as many rows as fit into a number of bytes, estimated from
the file's metadata and the first rows of each row group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MAX_BATCH_BYTES = 1 << 25
"""The bytes of values that a batch is made for."""
_READ_BUFFER_BYTES = 1 << 20
_DICTIONARY_BYTES = 1 << 21  # more than a writer lets a dictionary grow to
_INDEX_BYTES = 5
_PROBED_ROWS = 64


def open_parquet(
    path: Path,
    *,
    read_dictionary: Sequence[str] = (),
    metadata: pq.FileMetaData | None = None,
) -> pq.ParquetFile:
    """Open a Parquet file whose columns are read piece by piece, not a row group at a time.

    Args:
        path: The file.
        read_dictionary: Columns of strings to read dictionary-encoded. Arrow keeps a
            dictionary to the end of the row group: see `is_packed`.
        metadata: The file's metadata, if it was read before.
    """
    return pq.ParquetFile(
        path,
        metadata=metadata,
        read_dictionary=list(read_dictionary),
        buffer_size=_READ_BUFFER_BYTES,
        pre_buffer=False,  # else the buffer is ignored, and whole row groups are read
    )


def is_packed(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether a column of strings has each distinct value once, in a small dictionary."""
    most = _DICTIONARY_BYTES + _INDEX_BYTES * chunk.num_values
    return bool(chunk.has_dictionary_page and chunk.total_uncompressed_size <= most)


def read_batches(
    file: pq.ParquetFile,
    rows: int,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
    most_bytes: int = MAX_BATCH_BYTES,
) -> Iterator[pa.RecordBatch]:
    """The rows of `file` in order, in batches of one row group each.

    Args:
        file: From `open_parquet`.
        rows: The most rows of a batch, 1 or more.
        columns: The columns to read; None for all.
        row_groups: The row groups to read; None for all.
        most_bytes: About the most bytes of a batch; a single row may have more.
    """
    names = list(columns) if columns is not None else list(file.schema_arrow.names)
    groups = range(file.num_row_groups) if row_groups is None else row_groups
    for group in groups:
        size = rows_a_batch(file, group, names, rows, most_bytes)
        yield from file.iter_batches(size, row_groups=[group], columns=names, use_threads=False)


def rows_a_batch(
    file: pq.ParquetFile, group: int, columns: Sequence[str], rows: int, most_bytes: int
) -> int:
    """How many rows of a row group make a batch: at most `rows`, at least 1."""
    metadata = file.metadata.row_group(group)
    if not metadata.num_rows or not columns:
        return rows
    schema = file.schema_arrow
    plain = {name for name in columns if not pa.types.is_dictionary(schema.field(name).type)}
    wanted = set(columns)
    chunks = [metadata.column(i) for i in range(metadata.num_columns)]
    chunks = [chunk for chunk in chunks if chunk.path_in_schema in wanted]
    size = sum(chunk.total_uncompressed_size for chunk in chunks) / metadata.num_rows
    packed = [
        chunk.path_in_schema
        for chunk in chunks
        if chunk.path_in_schema in plain
        and chunk.physical_type == "BYTE_ARRAY"
        and is_packed(chunk)
    ]
    if packed:  # a value is stored once, but read for each row
        probe = next(file.iter_batches(_PROBED_ROWS, row_groups=[group], columns=packed))
        size += probe.nbytes / probe.num_rows
    return max(1, min(rows, int(most_bytes / max(size, 1.0))))
