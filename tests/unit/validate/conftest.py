"""Small Dataset artifacts, written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_suite.contracts.dataset import (
    DatasetManifest,
    Shard,
    Split,
    dataset_digest,
    write_dataset_manifest,
)
from kfp_suite.contracts.digests import digest_file
from kfp_suite.contracts.tables import TableDigest, columns_of

MakeDataset = Callable[..., Path]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Write tables as a Dataset artifact, each split in shards of `shard_rows` rows."""

    def make(
        splits: Mapping[str, pa.Table], name: str = "dataset", shard_rows: int = 1_000_000
    ) -> Path:
        folder = tmp_path / name
        described = {}
        for split, table in splits.items():
            (folder / split).mkdir(parents=True)
            digest = TableDigest(table.schema)
            for batch in table.to_batches():
                digest.update(batch)
            shards = []
            for index, first in enumerate(range(0, max(len(table), 1), shard_rows)):
                path = folder / split / f"part-{index:05}.parquet"
                rows = table.slice(first, shard_rows)
                pq.write_table(rows, path, row_group_size=max(1, shard_rows // 2))
                relative = path.relative_to(folder).as_posix()
                size = path.stat().st_size
                shards.append(Shard(relative, len(rows), size, digest_file(path)))
            described[split] = Split(
                len(table), sum(s.bytes for s in shards), digest.digest(), tuple(shards)
            )
        columns = columns_of(next(iter(splits.values())).schema)
        manifest = DatasetManifest(
            dataset_digest(columns, described), columns, described, sources={}, parameters={}
        )
        write_dataset_manifest(folder, manifest)
        return folder

    return make
