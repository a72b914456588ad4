"""The same files give the same dataset from a disk, Cloud Storage and S3."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.stores.sources import parse_sources, pin
from kfp_suite.stores.store import Store

_ROWS = 'zip,amount,note\n10000,5,"a, b"\n'
_ODD_ROWS = '01000,1.5,"say ""hi"""\n2000,2.25,\n'


def _parquet(path: Path) -> bytes:
    pd.DataFrame({"zip": ["10000", "01000"], "amount": [5, 1.5]}).to_parquet(path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet"])
def test_a_store_gives_the_dataset_of_a_disk(suffix: str, store: Store, tmp_path: Path) -> None:
    header = _ROWS.splitlines(keepends=True)[0]
    contents = {
        "csv": (_ROWS.encode(), (header + _ODD_ROWS).encode()),
        "csv.gz": (gzip.compress(_ROWS.encode()), gzip.compress((header + _ODD_ROWS).encode())),
        "jsonl": (b'{"zip": "10000", "amount": 5}\n', b'{"zip": "01000", "amount": 1.5}\n'),
        "parquet": (_parquet(tmp_path / "1"), _parquet(tmp_path / "2")),
    }[suffix]
    # Folders that look like partitions, and files of one name.
    names = [f"h/year=2023/data.{suffix}", f"h/year=2024/data.{suffix}"]
    for name, content in zip(names, contents, strict=True):
        store.create(name, content)
        path = tmp_path / "disk" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    digests: set[str] = set()
    columns: dict[str, list[Any]] = {}
    for number, uri in enumerate((f"{store.uri}/h", str(tmp_path / "disk" / "h"))):
        pinned = {name: pin(name, spec) for name, spec in parse_sources({"t": uri}).items()}
        parameters = IngestParameters(split={"by": "hash", "eval": 0, "test": 0})
        target = tmp_path / f"dataset-{number}"
        dataset = ingest(parameters, pinned, target, tmp_path / "preview")
        digests.add(dataset.manifest.digest)
        columns = dataset.table("train").to_pydict()
    assert len(digests) == 1
    assert "year" not in columns
    assert columns["zip"][:2] == ["10000", "01000"]
    assert columns["amount"][:2] == [5.0, 1.5]
