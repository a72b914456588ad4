"""Runs whose steps KFP takes from its cache, in a bucket that somebody has deleted from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from kfp_suite.components.ingest.component import ingest
from kfp_suite.components.resolve.component import resolve
from kfp_suite.components.train.component import train
from kfp_suite.components.transform.component import transform
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import StoreError
from kfp_suite.contracts.model import read_model
from kfp_suite.stores.cached_outputs import choose_folder
from kfp_suite.stores.store import Store, open_store
from tests.steps import write_source


@dataclass
class Output:
    """An output artifact of a task."""

    path: str
    uri: str
    metadata: dict[str, Any] = field(default_factory=dict)


class Kfp:
    """Tasks in a bucket, and a cache that keeps what it knows for good.

    Args:
        root: The pipeline root.
        folder: Where tasks work.
    """

    def __init__(self, root: str, folder: Path) -> None:
        self._root, self._folder = root, folder
        self._cache: dict[tuple[str, ...], Output] = {}
        self._tasks = 0
        self.ran: list[str] = []

    def output(self, name: str) -> Output:
        self._tasks += 1
        place = f"{self._tasks}/{name}"
        (self._folder / place).parent.mkdir(parents=True)
        return Output(str(self._folder / place), f"{self._root}/{place}")

    def cached(self, name: str, key: tuple[str, ...], work: Callable[[Output], None]) -> Output:
        """What the cache has of a task, or what it makes, as a later step gets it."""
        if (name, *key) not in self._cache:
            made = self.output(name)
            work(made)
            _upload(made)
            self._cache[(name, *key)] = made
            self.ran.append(name)
        known = self._cache[(name, *key)]
        found = Output(self.output(name).path, known.uri, known.metadata)
        store = open_store(found.uri)
        names = [info.name for info in store.list()]
        Path(found.path).mkdir()
        for one in names:
            (Path(found.path) / one).parent.mkdir(parents=True, exist_ok=True)
            store.copy(one, Path(found.path) / one)
        return found

    def run(self, source: Path, store: str) -> tuple[str, str, Output, Output]:
        """A run: the digests of its dataset and its model, and the two."""
        self.ran = []
        page = Output(str(self._folder / "page.html"), f"{self._root}/page.html")
        found = resolve.python_func(
            sources={"rows": str(source)}, pins=self.output("pins"), store=store, model_name="rows"
        )
        split = {"by": "hash", "key": ["id"]}
        dataset = self.cached(
            "dataset",
            (found.sources,),
            lambda made: ingest.python_func(
                sources=found.sources, dataset=made, data_preview=page, split=split
            ),
        )
        fitted = self.cached(
            "transform",
            (dataset.uri,),
            lambda made: transform.python_func(
                dataset=dataset, transform=made, features_report=page, label="late"
            ),
        )
        model = self.cached(
            "model",
            (dataset.uri, fitted.uri),
            lambda made: train.python_func(
                dataset=dataset,
                transform=fitted,
                model=made,
                model_card=page,
                label="late",
                estimator="logistic_regression",
            ),
        )
        digests = (
            read_dataset(Path(dataset.path)).manifest.digest,
            read_model(Path(model.path)).manifest.digest,
        )
        return *digests, dataset, model


def _upload(made: Output) -> None:
    store = open_store(made.uri)
    for path in Path(made.path).rglob("*"):
        if path.is_file():
            store.create(path.relative_to(made.path).as_posix(), path)


def delete(uri: str) -> None:
    """As a bucket's lifecycle rule does."""
    scheme, _, place = uri.partition("://")
    bucket, _, prefix = place.partition("/")
    if scheme == "file":
        shutil.rmtree(place)
    elif scheme == "gs":
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        for blob in list(client.bucket(bucket).list_blobs(prefix=f"{prefix}/")):
            blob.delete()
    else:
        boto3.resource("s3").Bucket(bucket).objects.filter(Prefix=f"{prefix}/").delete()


@pytest.fixture
def kfp(store: Store, tmp_path: Path) -> Kfp:
    root = store.uri if "://" in store.uri else f"file://{tmp_path}/bucket"
    return Kfp(f"{root}/v2/artifacts", tmp_path / "tasks")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_source(tmp_path)
    return tmp_path / "rows.csv"


def test_what_was_deleted_is_made_anew(kfp: Kfp, store: Store, source: Path) -> None:
    *digests, dataset, _ = kfp.run(source, store.uri)
    assert kfp.ran == ["dataset", "transform", "model"]
    assert kfp.run(source, store.uri)[:2] == tuple(digests)
    assert kfp.ran == []

    delete(dataset.uri)
    *again, dataset, model = kfp.run(source, store.uri)
    assert kfp.ran == ["dataset", "transform", "model"]
    assert again == digests
    kfp.run(source, store.uri)
    assert kfp.ran == []

    delete(model.uri)
    assert kfp.run(source, store.uri)[:2] == tuple(digests)
    assert "model" in kfp.ran


def test_notes_that_were_deleted_are_no_loss(kfp: Kfp, store: Store, source: Path) -> None:
    *digests, dataset, _ = kfp.run(source, store.uri)
    delete(dataset.uri)
    notes = f"{store.uri}/_cached"
    delete(notes if "://" in notes else f"file://{notes}")
    assert kfp.run(source, store.uri)[:2] == tuple(digests)
    assert "dataset" in kfp.ran


def test_other_sources_are_other_outputs(kfp: Kfp, store: Store, source: Path) -> None:
    _, _, dataset, _ = kfp.run(source, store.uri)
    text = source.read_text()
    source.write_text(text + "401,1.0,a,false\n")
    kfp.run(source, store.uri)
    assert kfp.ran == ["dataset", "transform", "model"]
    delete(dataset.uri)  # of the sources before
    kfp.run(source, store.uri)
    assert kfp.ran == []


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_steps_that_may_not_leave_notes_are_cached_all_the_same(
    kfp: Kfp, store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfp_suite.stores.step.leave_note", lambda *_: None)
    kfp.run(source, store.uri)
    kfp.run(source, store.uri)
    assert kfp.ran == []


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_a_store_that_may_only_be_read_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("permission denied")

    monkeypatch.setattr("kfp_suite.stores.folder.FolderStore.create", refuse)
    assert choose_folder("{}", store.uri, "s3://bucket/run/pins") == ""
