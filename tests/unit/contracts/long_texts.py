"""Parquet files of long texts, no two of them equal."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_texts(path: Path, rows: int, length: int) -> pa.Schema:
    """Write columns `text` and `y` in one row group; its schema."""
    letters = np.random.default_rng(0).integers(97, 123, rows * length, np.uint8)
    offsets = np.arange(0, rows * length + 1, length, dtype=np.int32)
    texts = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(letters))
    table = pa.table({"text": texts, "y": np.arange(rows) % 2})
    pq.write_table(table, path, row_group_size=rows, compression="none")
    return table.schema
