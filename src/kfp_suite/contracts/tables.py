"""Tables in Arrow: the types of their columns, and the digest of their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kfp_suite.contracts.canonical import canonical_json
from kfp_suite.contracts.columns import Column, ColumnType
from kfp_suite.contracts.digests import PREFIX

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
"""Timestamps are naive, in microseconds; one with a zone is converted to UTC."""

COLUMN_TYPES: dict[pa.DataType, ColumnType] = {arrow: name for name, arrow in ARROW_TYPES.items()}

BLOCK_ROWS = 65_536


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a canonical Arrow schema (KeyError for a type that is not canonical)."""
    return tuple(Column(field.name, COLUMN_TYPES[field.type]) for field in schema)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of `columns`; every field nullable."""
    return pa.schema([pa.field(c.name, ARROW_TYPES[c.type]) for c in columns])


class TableDigest:
    """The digest of a sequence of rows, fed batch by batch.

    The digest is over the schema and, in blocks of 65,536 rows, over each column's
    validity and values. It does not depend on how rows are cut into batches, shards or
    row groups, on what lies under a null, on the Parquet writer, or on threads.

    Feed rows in the table's order with `update`; read `rows` and `digest()` at the end.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self._hash = hashlib.sha256(canonical_json([[c.name, c.type] for c in columns_of(schema)]))
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of `batch`, whose schema is the table's."""
        self.rows += batch.num_rows
        while self._waiting_rows + batch.num_rows >= BLOCK_ROWS:
            take = BLOCK_ROWS - self._waiting_rows
            self._waiting.append(batch.slice(0, take))
            self._digest_block()
            batch = batch.slice(take)
        if batch.num_rows:
            self._waiting.append(batch)
            self._waiting_rows += batch.num_rows

    def digest(self) -> str:
        """The digest of the rows so far; call it once, last."""
        if self._waiting:
            self._digest_block()
        return PREFIX + self._hash.hexdigest()

    def _digest_block(self) -> None:
        table = pa.Table.from_batches(self._waiting, schema=self.schema)
        self._waiting, self._waiting_rows = [], 0
        for column in table.columns:
            # One inner hash a column keeps the block's parts from running into each other.
            inner = hashlib.sha256()
            for part in _canonical_buffers(column):
                inner.update(part)
            self._hash.update(inner.digest())


def _canonical_buffers(column: pa.ChunkedArray) -> Iterator[memoryview | bytes]:
    """The bytes of a column, whatever its chunks: validity if there are nulls, the lengths
    of texts, the values; chunk by chunk, since texts may be larger than one array can be."""
    if column.null_count:
        valid = column.is_valid().to_numpy()
        yield b"nulls" + np.packbits(valid).tobytes()
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if pa.types.is_string(column.type):
        chunks = [pc.fill_null(chunk, "") if chunk.null_count else chunk for chunk in chunks]
        for chunk in chunks:
            yield np.diff(_offsets(chunk)).tobytes()
        for chunk in chunks:
            offsets, data = _offsets(chunk), chunk.buffers()[2]
            if data is not None:
                yield memoryview(data)[offsets[0] : offsets[-1]]
    elif pa.types.is_boolean(column.type):
        column = pc.fill_null(column, False) if column.null_count else column
        yield np.packbits(column.to_numpy()).tobytes()
    else:
        zero = pa.scalar(0, pa.int32() if pa.types.is_date32(column.type) else pa.int64())
        width = column.type.bit_width // 8
        for chunk in chunks:
            values = pc.fill_null(chunk, zero.cast(column.type)) if chunk.null_count else chunk
            data = values.buffers()[1]
            start = values.offset * width
            yield memoryview(data)[start : start + len(values) * width] if data else b""


def _offsets(strings: pa.Array) -> NDArray[np.int32]:
    buffer = np.frombuffer(strings.buffers()[1], np.int32)
    return buffer[strings.offset : strings.offset + len(strings) + 1]
