"""The Dataset artifact: a folder of Parquet shards a split, and `dataset.json`.

    dataset/
      dataset.json              schema, rows, digests, sources, how it was split
      train/part-00000.parquet  eval/…  test/…
      quarantine/*.jsonl        bad rows, with file, line and reason (if asked for)

`digest` covers the schema and the rows of every split, in order: the same input gives the
same digest on every machine, for any number of shards or threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.digests import check_files, digest_value
from kfp_suite.contracts.errors import MissingError, did_you_mean
from kfp_suite.contracts.manifests import read_manifest
from kfp_suite.contracts.parquet_batches import open_parquet, read_batches
from kfp_suite.contracts.sources import Source
from kfp_suite.contracts.tables import BLOCK_ROWS, arrow_schema

FORMAT_VERSION = 1
MANIFEST = "dataset.json"
SPLITS = ("train", "eval", "test")


@dataclass(frozen=True)
class Shard:
    """One Parquet file: its path inside the dataset, its rows, bytes and digest."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """The rows of one split; `digest` is over the rows, not over the files."""

    rows: int
    bytes: int
    digest: str
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class DatasetManifest:
    """The content of `dataset.json`. `parameters` are the ingest parameters, for `reproduce`."""

    digest: str
    columns: tuple[Column, ...]
    splits: dict[str, Split]
    sources: dict[str, Source]
    parameters: dict[str, Any]
    quarantined: int = 0
    format_version: int = FORMAT_VERSION


def dataset_digest(columns: tuple[Column, ...], splits: Mapping[str, Split]) -> str:
    """The content digest of a dataset: its columns and the row digest of every split."""
    return digest_value(
        {
            "columns": [[c.name, c.type] for c in columns],
            "splits": {name: [split.rows, split.digest] for name, split in splits.items()},
        }
    )


@dataclass(frozen=True)
class Dataset:
    """A Dataset artifact on disk."""

    path: Path
    manifest: DatasetManifest

    @property
    def schema(self) -> pa.Schema:
        """The canonical Arrow schema of every split."""
        return arrow_schema(self.manifest.columns)

    def files(self, split: str) -> list[Path]:
        """The shards of a split, in row order.

        Raises:
            MissingError: the dataset has no such split.
        """
        if split not in self.manifest.splits:
            raise MissingError(
                f"no split '{split}'",
                where=self.path,
                fix=did_you_mean(split, self.manifest.splits),
            )
        return [self.path / shard.path for shard in self.manifest.splits[split].shards]

    def scan(self, split: str) -> ds.Dataset:
        """The split as an Arrow dataset."""
        files = [str(path) for path in self.files(split)]
        return ds.dataset(files, schema=self.schema, format="parquet")

    def batches(
        self, split: str, columns: list[str] | None = None, rows: int = BLOCK_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a split, in order, at most `rows` at a time, in bounded memory: batches
        of long texts have fewer rows."""
        # Not Arrow's scanner, which reads ahead of a slow reader without a bound.
        for path in self.files(split):
            with open_parquet(path) as file:
                yield from read_batches(file, rows, columns)

    def head(self, split: str, rows: int, columns: list[str] | None = None) -> pa.Table:
        """The first rows of a split, without reading the others."""
        schema = self.schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        batches: list[pa.RecordBatch] = []
        left = rows
        for batch in self.batches(split, columns, rows):
            batches.append(batch.slice(0, left))
            left -= batches[-1].num_rows
            if not left:
                break
        return pa.Table.from_batches(batches, schema)

    def table(self, split: str, columns: list[str] | None = None) -> pa.Table:
        """The split (or some of its columns) in memory."""
        return self.scan(split).to_table(columns=columns)

    def verify(self) -> None:
        """Recompute every shard's digest.

        Raises:
            IntegrityError: naming the first shard whose bytes differ.
        """
        for split in self.manifest.splits.values():
            check_files(self.path, {shard.path: shard.sha256 for shard in split.shards})


def read_dataset(path: Path) -> Dataset:
    """Open a Dataset artifact.

    Raises:
        MissingError: there is no `dataset.json`.
        ContractError: it is of another format version or not ours.
    """
    manifest = read_manifest(
        path / MANIFEST,
        DatasetManifest,
        format_version=FORMAT_VERSION,
        fix="ingest the data again with this version of kfp-suite",
    )
    return Dataset(path, manifest)


def write_dataset_manifest(folder: Path, manifest: DatasetManifest) -> None:
    """Write `dataset.json`, the completion marker: call it last."""
    write_json(folder / MANIFEST, asdict(manifest))
