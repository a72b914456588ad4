"""Tables in Arrow: the types of their columns, and the digest of their rows."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.components.contracts.canonical import canonical_json
from kfp_suite.components.contracts.columns import Column, ColumnType
from kfp_suite.components.contracts.digests import PREFIX

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
            for part in _canonical_buffers(column.combine_chunks()):
                inner.update(part)
            self._hash.update(inner.digest())


def _canonical_buffers(array: pa.Array | pa.ChunkedArray) -> list[memoryview | bytes]:
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    parts: list[memoryview | bytes] = []
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        parts.append(b"nulls" + np.packbits(valid).tobytes())
    if pa.types.is_string(array.type):
        array = pc.fill_null(array, "") if array.null_count else array
        _, offsets_buffer, data = array.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int32)[
            array.offset : array.offset + len(array) + 1
        ]
        parts.append(np.diff(offsets).tobytes())
        if data is not None:
            parts.append(memoryview(data)[offsets[0] : offsets[-1]])
    elif pa.types.is_boolean(array.type):
        array = pc.fill_null(array, False)
        parts.append(np.packbits(array.to_numpy(zero_copy_only=False)).tobytes())
    else:
        if array.null_count:
            array = pc.fill_null(
                array,
                pa.scalar(0, pa.int64()).cast(array.type)
                if not pa.types.is_date32(array.type)
                else pa.scalar(0, pa.int32()).cast(pa.date32()),
            )
        width = array.type.bit_width // 8
        data = array.buffers()[1]
        start = array.offset * width
        parts.append(memoryview(data)[start : start + len(array) * width] if data else b"")
    return parts
