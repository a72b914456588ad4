"""What a push and a look at a champion cost, counted in calls to the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kfp_suite.contracts.canonical import pretty_json
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.store import ObjectInfo
from kfp_suite.stores.versions import ModelStore
from tests.storage.test_versions import publish, write_model

VERSIONS, MOVES = 300, 500


class CountingStore(FolderStore):
    """A store that counts what is asked of it, and the objects that its lists tell."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: Counter[str] = Counter()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.calls["list"] += 1
        for info in super().list(prefix):
            self.calls["listed"] += 1
            yield info

    def stat(self, name: str) -> ObjectInfo:
        self.calls["stat"] += 1
        return super().stat(name)

    def read(self, name: str, generation: str = "") -> bytes:
        self.calls["read"] += 1
        return super().read(name, generation)

    def create(self, name: str, content: bytes | Path) -> None:
        self.calls["create"] += 1
        super().create(name, content)

    def download(self, prefix: str, names: Iterable[str], folder: Path) -> None:
        self.calls["download"] += 1
        super().download(prefix, names, folder)

    def counted(self) -> Counter[str]:
        """The calls since it was last asked; a stat of a listing is a part of it."""
        found, self.calls = self.calls, Counter()
        found["stat"] -= found.pop("listed", 0)
        return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as years of retraining leave it."""
    folder = tmp_path_factory.mktemp("years")
    root = folder / "store"
    for i in (1, 2):
        publish(FolderStore(root), write_model(folder / f"m{i}", b"%d" % i))
    numbers, aliases = root / "late" / "_numbers", root / "late" / "_aliases" / "champion"
    aliases.mkdir(parents=True)
    for i in range(3, VERSIONS + 1):
        (numbers / f"{i}.json").write_bytes(pretty_json({"digest": f"sha256:{i:064x}"}))
        (numbers / f"{i}.{i:064x}").touch()
    for i in range(1, MOVES + 1):
        move = {"version": 2 - i % 2, "reason": "retrained"}
        (aliases / f"{i}.json").write_bytes(pretty_json(move))
    return root


def test_a_push_costs_the_same_after_years(root: Path, tmp_path: Path) -> None:
    costs = []
    for place in (tmp_path / "empty", root):
        store = CountingStore(place)
        folder = write_model(tmp_path / f"model for {place.name}", b"new")
        published = publish(store, folder)
        ModelStore(store).set_alias("late", "challenger", published.version, "pushed")
        costs.append(store.counted())
    assert costs[0] == costs[1]
    assert costs[1].total() <= 14


def test_a_model_that_is_there_is_found_at_once(root: Path, tmp_path: Path) -> None:
    store = CountingStore(root)
    assert publish(store, write_model(tmp_path / "m", b"2")).version == 2
    assert store.counted().total() <= 8


def test_a_look_at_the_champion_is_two_calls(root: Path) -> None:
    """`serve` does it every two seconds."""
    store = CountingStore(root)
    models = ModelStore(store)
    assert models.resolve("late") == 2 - MOVES % 2
    assert store.counted() == {"list": 1, "read": 1, "stat": 0}
    models.set_alias("late", "champion", 2 - (MOVES + 1) % 2, "moved")
    assert store.counted().total() <= 5
