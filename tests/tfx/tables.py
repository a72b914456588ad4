"""Tables as a Dataset artifact."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.contracts.dataset import (
    DatasetManifest,
    Shard,
    Split,
    dataset_digest,
    write_dataset_manifest,
)
from kfp_suite.contracts.digests import digest_file
from kfp_suite.contracts.tables import TableDigest, columns_of


def write_dataset(folder: Path, tables: dict[str, pa.Table]) -> Path:
    """A dataset with one shard a split."""
    splits = {}
    for name, table in tables.items():
        (folder / name).mkdir(parents=True)
        path = f"{name}/part-00000.parquet"
        pq.write_table(table, folder / path)
        digest = TableDigest(table.schema)
        for batch in table.to_batches():
            digest.update(batch)
        shard = Shard(path, len(table), (folder / path).stat().st_size, digest_file(folder / path))
        splits[name] = Split(len(table), shard.bytes, digest.digest(), (shard,))
    columns = columns_of(next(iter(tables.values())).schema)
    manifest = DatasetManifest(dataset_digest(columns, splits), columns, splits, {}, {})
    write_dataset_manifest(folder, manifest)
    return folder
