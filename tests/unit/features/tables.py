"""A table as a dataset whose rows are all in train, and what a spec makes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.contracts.dataset import (
    Dataset,
    DatasetManifest,
    Shard,
    Split,
)
from kfp_suite.contracts.digests import digest_file
from kfp_suite.contracts.tables import columns_of
from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.features.fitting import fit
from kfp_suite.features.spec import parse_features


@contextmanager
def dataset_of(table: pa.Table, shards: int = 1) -> Iterator[Dataset]:
    """`table` as a train split of that many shards."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "train").mkdir()
        size = max(1, -(-table.num_rows // shards))
        found = []
        for number, start in enumerate(range(0, max(table.num_rows, 1), size)):
            path = f"train/part-{number:05}.parquet"
            part = table.slice(start, size)
            pq.write_table(part, folder / path)
            file = folder / path
            found.append(Shard(path, part.num_rows, file.stat().st_size, digest_file(file)))
        split = Split(table.num_rows, 0, "", tuple(found))
        columns = columns_of(table.schema)
        yield Dataset(folder, DatasetManifest("", columns, {"train": split}, {}, {}))


def fitted(features: Any, table: pa.Table, shards: int = 1, label: str = "") -> FittedTransform:
    """The transform of a spec (or of its list of entries), fitted on `table`."""
    spec = parse_features({"features": features} if isinstance(features, list) else features)
    with dataset_of(table, shards) as data:
        return fit(spec, data, label)


def matrix(features: Any, table: pa.Table) -> dict[str, list[float]]:
    """The outputs of a spec fitted on `table`, for its own rows, by name."""
    found = fitted(features, table)
    return dict(zip(found.output_names, found.transform(table).T.tolist(), strict=True))
