"""The Dataset and Model artifacts and the environment that made them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_suite.contracts.dataset import (
    Dataset,
    DatasetManifest,
    Shard,
    Split,
    dataset_digest,
    read_dataset,
    write_dataset_manifest,
)
from kfp_suite.contracts.digests import digest_file
from kfp_suite.contracts.environment import (
    Environment,
    code_digest,
    environment,
    libraries,
)
from kfp_suite.contracts.errors import ContractError, IntegrityError, MissingError
from kfp_suite.contracts.sources import Source, SourceObject
from kfp_suite.contracts.tables import TableDigest, columns_of


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    table = pa.table({"a": [1, 2, 3], "s": ["x", None, "z"]})
    found = TableDigest(table.schema)
    shards = []
    for number, part in enumerate((table.slice(0, 2), table.slice(2))):
        name = f"train/part-{number:05}.parquet"
        (tmp_path / "train").mkdir(exist_ok=True)
        pq.write_table(part, tmp_path / name)
        size = (tmp_path / name).stat().st_size
        shards.append(Shard(name, part.num_rows, size, digest_file(tmp_path / name)))
        for batch in part.to_batches():
            found.update(batch)
    split = Split(3, sum(s.bytes for s in shards), found.digest(), tuple(shards))
    columns = columns_of(table.schema)
    manifest = DatasetManifest(
        digest=dataset_digest(columns, {"train": split}),
        columns=columns,
        splits={"train": split},
        sources={"a": Source("a.csv", "csv", "sha256:0", (SourceObject("a.csv", 3),))},
        parameters={"sql": ""},
    )
    write_dataset_manifest(tmp_path, manifest)
    return Dataset(tmp_path, manifest)


def test_a_dataset_round_trips(dataset: Dataset) -> None:
    again = read_dataset(dataset.path)
    assert again == dataset
    assert again.table("train").to_pydict() == {"a": [1, 2, 3], "s": ["x", None, "z"]}
    assert again.table("train", ["a"]).column_names == ["a"]
    again.verify()


def test_a_split_that_is_not_there_is_named(dataset: Dataset) -> None:
    with pytest.raises(MissingError) as caught:
        dataset.scan("trian")
    assert str(caught.value) == f"{dataset.path}: no split 'trian'; did you mean 'train'?"


def test_a_shard_that_was_edited_is_named(dataset: Dataset) -> None:
    shard = dataset.files("train")[1]
    shard.write_bytes(shard.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match=r"part-00001\.parquet: the bytes do not match"):
        dataset.verify()


def test_an_unknown_format_version_is_refused(dataset: Dataset) -> None:
    write_dataset_manifest(dataset.path, replace(dataset.manifest, format_version=99))
    with pytest.raises(ContractError) as caught:
        read_dataset(dataset.path)
    assert str(caught.value) == (
        f"{dataset.path / 'dataset.json'}: unknown format of dataset.json; got 99; "
        "expected format_version 1; ingest the data again with this version of kfp-suite"
    )


def test_the_dataset_digest_ignores_shards(dataset: Dataset) -> None:
    split = dataset.manifest.splits["train"]
    resharded = replace(split, shards=split.shards[:1], bytes=1)
    assert dataset_digest(dataset.manifest.columns, {"train": resharded}) == dataset.manifest.digest


def test_code_and_libraries_are_the_same_in_every_process() -> None:
    script = (
        "from kfp_suite.contracts.environment import code_digest, environment\n"
        "print(code_digest(), environment('sklearn').digest)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert printed == [code_digest(), environment("sklearn").digest]


def test_the_libraries_of_a_family_are_those_it_locks() -> None:
    found = libraries("sklearn")
    assert {"scikit-learn", "numpy", "pyarrow", "duckdb", "skops"} <= found.keys()
    assert not {"kserve", "kubernetes", "pytest"} & found.keys()


def test_the_image_digest_comes_from_the_image_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment("sklearn").image == "none"
    monkeypatch.setenv("KFP_SUITE_IMAGE_DIGEST", "sha256:abc")
    assert environment("sklearn").image == "sha256:abc"


def test_the_environment_digest_leaves_the_image_out() -> None:
    one = Environment("3.11.7", {"numpy": "2.0"}, 2, "x86_64-avx2")
    assert one.digest == replace(one, image="sha256:abc").digest
    assert one.digest != replace(one, threads=4).digest
