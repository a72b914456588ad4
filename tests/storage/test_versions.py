"""Published versions in every store: none lost, none torn, one for one model."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.environment import Environment
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    IntegrityError,
    KfpSuiteError,
    MissingError,
    ParameterError,
)
from kfp_suite.contracts.model import (
    ModelManifest,
    Recipe,
    Signature,
    model_digest,
    write_model_manifest,
)
from kfp_suite.stores.store import Store, open_store
from kfp_suite.stores.versions import ModelStore, Published, parse_reference

RECIPE = Recipe(
    dataset_digest="",
    transform_digest="",
    code_digest="",
    environment=Environment("3.11", {}, 1, "none"),
    sources={},
    ingest={},
    features={},
    train={},
)


def write_model(folder: Path, content: bytes, recipe: Recipe = RECIPE) -> Path:
    """A Model artifact whose payload is `content`."""
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(content)
    files = {"weights": digest_bytes(content)}
    digest = model_digest(
        task="regression", label="y", classes=(), threshold=None,
        signature=Signature((), ()), payload=files,
    )  # fmt: skip
    manifest = ModelManifest(
        digest=digest,
        framework="sklearn",
        task="regression",
        label="y",
        signature=Signature((), ()),
        files=files,
        payload=("weights",),
        recipe=recipe,
    )
    write_model_manifest(folder, manifest)
    return folder


def publish(store: Store, folder: Path) -> Published:
    return ModelStore(store).publish("late", folder, evaluation={}, run={}, parameters={})


def test_50_concurrent_pushes_are_50_whole_versions(store: Store, tmp_path: Path) -> None:
    folders = [write_model(tmp_path / f"m{i}", b"%d" % i) for i in range(50)]
    with ThreadPoolExecutor(50) as pool:
        published = list(pool.map(lambda folder: publish(store, folder), folders))
    models = ModelStore(store)
    assert sorted(p.version for p in published) == list(range(1, 51))
    assert models.versions("late") == list(range(1, 51))
    assert len({models.verify("late", version).digest for version in range(1, 51)}) == 50


def test_one_model_pushed_by_many_is_one_version(store: Store, tmp_path: Path) -> None:
    """Also where each says something else of its own run."""
    folders = [
        write_model(tmp_path / f"m{i}", b"same", dataclasses.replace(RECIPE, code_digest=str(i)))
        for i in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda folder: publish(store, folder), folders))
    assert {p.version for p in published} == {1}
    assert len({p.manifest_digest for p in published}) == 1
    assert ModelStore(store).versions("late") == [1]
    ModelStore(store).verify("late", 1)


def test_a_version_is_fetched_as_it_was_published(store: Store, tmp_path: Path) -> None:
    publish(store, write_model(tmp_path / "m", b"content"))
    manifest = ModelStore(store).fetch("late", 1, tmp_path / "copy")
    assert (tmp_path / "copy" / "weights").read_bytes() == b"content"
    assert manifest.files["weights"].bytes == 7


def test_aliases_move_by_compare_and_swap_and_keep_their_history(
    store: Store, tmp_path: Path
) -> None:
    models = ModelStore(store)
    for i in range(3):
        publish(store, write_model(tmp_path / f"m{i}", b"%d" % i))
    models.set_alias("late", "champion", 1, "first")
    for _ in range(2):  # who does it again finds it done
        models.set_alias("late", "champion", 3, "better", expected=1)
    with pytest.raises(AlreadyExistsError, match="was moved meanwhile"):
        models.set_alias("late", "champion", 2, "stale", expected=1)
    assert models.rollback("late").version == 1
    assert [move.version for move in models.alias_history("late", "champion")] == [1, 3, 1]
    assert models.resolve("late") == 1
    assert models.resolve("late", "3") == 3


def test_a_rollback_is_done_once_and_goes_on_after_the_next_move(
    store: Store, tmp_path: Path
) -> None:
    """Two who react to one alarm take one version back, and neither brings the bad one back."""
    models = ModelStore(store)
    for i in range(4):
        publish(store, write_model(tmp_path / f"m{i}", b"%d" % i))
        models.set_alias("late", "champion", i + 1, "better")
    for _ in range(3):
        move = models.rollback("late")
        assert (move.version, move.reason) == (3, "rollback from 4")
    assert [one.version for one in models.alias_history("late", "champion")] == [1, 2, 3, 4, 3]
    models.set_alias("late", "champion", 4, "mended")
    assert models.rollback("late").version == 3
    # By hand it goes where it is told; a rollout that took a version back is a rollback, too.
    models.set_alias("late", "champion", 2, "set by hand")
    models.set_alias("late", "champion", 1, "version 2 was rolled back")
    assert models.rollback("late").version == 1
    with pytest.raises(MissingError, match="has no version to go back to; got history: none"):
        models.rollback("late", "challenger")
    models.set_alias("late", "challenger", 2, "first")
    with pytest.raises(MissingError, match="has no version to go back to; got history: 2"):
        models.rollback("late", "challenger")


def test_what_a_person_took_from_a_version_stays_taken_after_later_moves(
    store: Store, tmp_path: Path
) -> None:
    models = ModelStore(store)
    for i in range(4):
        publish(store, write_model(tmp_path / f"m{i}", b"%d" % i))

    def taken(version: int) -> int | None:
        found = models.alias_taken_from("late", "champion", version)
        return found.version if found else None

    assert taken(2) is None
    models.set_alias("late", "champion", 1, "it served")
    models.set_alias("late", "champion", 2, "it served")
    assert (taken(1), taken(2)) == (None, None)  # another rollout's, and the newest
    models.rollback("late")
    assert taken(2) == 1
    models.set_alias("late", "champion", 3, "set by hand")
    models.set_alias("late", "champion", 4, "rolled out")
    assert [taken(version) for version in (1, 2, 3, 4)] == [4, 4, None, None]
    models.set_alias("late", "champion", 2, "set by hand")
    assert taken(2) is None


def test_concurrent_moves_of_an_alias_are_all_kept(store: Store, tmp_path: Path) -> None:
    models = ModelStore(store)
    for i in range(4):
        publish(store, write_model(tmp_path / f"m{i}", b"%d" % i))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda v: models.set_alias("late", "champion", v, "race"), range(1, 5)))
    history = [move.version for move in models.alias_history("late", "champion")]
    assert sorted(history) == [1, 2, 3, 4]
    assert models.aliases("late") == {"champion": history[-1]}


def test_what_is_not_published_says_what_is(store: Store, tmp_path: Path) -> None:
    publish(store, write_model(tmp_path / "m", b"1"))
    models = ModelStore(store)
    with pytest.raises(MissingError) as caught:
        models.manifest("late", 7)
    assert str(caught.value) == f"{store.uri}: no version 7 of 'late'; versions: 1"
    with pytest.raises(MissingError) as caught:
        models.resolve("late", "champoin")
    assert str(caught.value) == f"{store.uri}: no alias 'champoin' of 'late'; known: none"


def test_a_model_that_was_edited_is_not_published(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", b"1")
    (folder / "weights").write_bytes(b"2")
    with pytest.raises(IntegrityError, match="the bytes do not match the recorded digest"):
        publish(store, folder)
    assert ModelStore(store).models() == []


PUSH_AND_DIE = """
import os, signal, sys
from pathlib import Path
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore

class Dying(FolderStore):
    left = int(sys.argv[3])
    def create(self, name, content):
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Dying.left -= 1
        super().create(name, content)

ModelStore(Dying(Path(sys.argv[1]))).publish(
    "late", Path(sys.argv[2]), evaluation={}, run={}, parameters={})
"""


@pytest.mark.parametrize("creates", range(5))
def test_a_push_that_is_killed_at_any_point_is_finished_by_the_next(
    creates: int, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "m", b"content")
    root = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-c", PUSH_AND_DIE, str(root), str(folder), str(creates)],
        check=False,
        env=os.environ,
    )
    assert done.returncode == -signal.SIGKILL
    store = open_store(str(root))
    assert ModelStore(store).versions("late") == []
    assert publish(store, folder).version == 1
    assert publish(store, folder).created is False
    ModelStore(store).verify("late", 1)
    claim, owner = [info.name for info in store.list("late/_numbers/")]
    digest = json.loads(store.read("late/_numbers/1.json"))["digest"].removeprefix("sha256:")
    assert {claim, owner} == {"late/_numbers/1.json", f"late/_numbers/1.{digest}"}
    assert [path.name for path in root.rglob("*.partial") if path.is_file()] == []


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("store/late", ("store", "late", "")),
        ("store/late/3", ("store", "late", "3")),
        ("gs://bucket/some/late/3", ("gs://bucket/some", "late", "3")),
        ("/late/3", ("/", "late", "3")),
    ],
)
def test_a_reference_names_store_model_and_version(
    reference: str, expected: tuple[str, str, str]
) -> None:
    assert parse_reference(reference) == expected


@pytest.mark.parametrize("reference", ["late/3", "late", "3", "", "/", "gs://"])
def test_a_reference_without_a_store_is_not_looked_for_in_the_root(reference: str) -> None:
    with pytest.raises(ParameterError, match="not a model reference"):
        parse_reference(reference)


@pytest.mark.parametrize("name", ["a/b", "..", "Late", "late\n", "", "x" * 64])
def test_a_bad_model_name_is_refused(name: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", b"1")
    with pytest.raises(KfpSuiteError, match="not a model name"):
        ModelStore(open_store(str(tmp_path / "store"))).publish(
            name, folder, evaluation={}, run={}, parameters={}
        )
