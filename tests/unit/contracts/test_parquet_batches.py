"""Batches of Parquet files, bounded in bytes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_suite.contracts.parquet_batches import open_parquet, read_batches
from tests.unit.contracts.long_texts import write_texts


@pytest.mark.parametrize("distinct", [1_000, 3])
def test_a_batch_of_long_texts_has_fewer_rows(tmp_path: Path, distinct: int) -> None:
    path = tmp_path / "texts.parquet"
    texts = [f"{i % distinct:05}" + "x" * 10_000 for i in range(1_000)]
    table = pa.table({"text": texts, "y": range(1_000)})
    pq.write_table(table, path)
    with open_parquet(path) as file:
        batches = list(read_batches(file, 65_536, most_bytes=1_000_000))
    assert max(batch.num_rows for batch in batches) <= 100
    assert pa.Table.from_batches(batches) == table


def test_a_batch_of_numbers_has_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"x": np.arange(1_000.0)}), path, row_group_size=600)
    with open_parquet(path) as file:
        assert [b.num_rows for b in read_batches(file, 250)] == [250, 250, 100, 250, 150]
        assert [b.num_rows for b in read_batches(file, 999, ["x"], [1])] == [400]


def test_a_row_that_is_larger_than_a_batch_is_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": ["a" * 5_000, "b" * 5_000]}), path)
    with open_parquet(path) as file:
        assert [b.num_rows for b in read_batches(file, 10, most_bytes=100)] == [1, 1]


def test_a_row_group_of_texts_is_not_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    write_texts(path, rows=10_000, length=3_000)
    with open_parquet(path) as file:
        before = pa.total_allocated_bytes()
        largest = max(
            pa.total_allocated_bytes() - before
            for _ in read_batches(file, 65_536, most_bytes=1_000_000)
        )
    assert largest < 12_000_000
