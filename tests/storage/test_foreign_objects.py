"""What else lies in a store: consoles, desktops and lifecycle rules change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from kfp_suite.components.train.tune.study import Study, Trial, trial_name
from kfp_suite.contracts.errors import IntegrityError, KfpSuiteError, MissingError
from kfp_suite.stores.cloud_storage import CloudStorageStore
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.store import Store, open_store
from kfp_suite.stores.versions import ModelStore, parse_reference
from tests.storage.test_versions import publish, write_model

MODEL = "late"
FOREIGN = (
    "late/",
    "late/_aliases/",
    "late/_aliases/champion/",
    "late/_aliases/champion/Thumbs.db",
    "late/_aliases/champion/Icon\r",
    "late/_aliases/champion/1.json.bak",
    "late/_aliases/champion/01.json",
    "late/_aliases/champion/\u00b2.json",
    "late/_aliases/.DS_Store",
    "late/_aliases/Bad Name/1.json",
    "late/_numbers/",
    "late/_numbers/.nfs000000000000001",
    "late/_numbers/copy of 1.json",
    "late/_numbers/7.txt",
    "late/1/",
    "late/1/.DS_Store",
    "late/1/{path}/",
    "late/1/{path}/sub/",
    "late/1/{path}/.DS_Store",
    "late/01/manifest.json",
    "late/\u00b2/manifest.json",
    "late/old/manifest.json",
    "late/_layouts/key/",
    "late/_layouts/key/Thumbs.db",
    "late/_studies/key/",
    "late/_studies/key/.DS_Store",
    "late/_studies/key/notes.txt",
    "Not A Model/1/manifest.json",
    "readme.txt",
    "/",
)


def put(store: Store, name: str, content: bytes = b"") -> None:
    """Put an object as a console or a desktop would: whatever its name is."""
    if isinstance(store, FolderStore):
        path = store.root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return
    bucket, _, prefix = store.uri.partition("://")[2].partition("/")
    key = f"{prefix}/{name}"
    if isinstance(store, CloudStorageStore):
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        client.bucket(bucket).blob(key).upload_from_string(content)
    else:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content)


def remove(store: Store, name: str) -> None:
    """Remove an object, as a lifecycle rule would."""
    if isinstance(store, FolderStore):
        (store.root / name).unlink()
        return
    bucket, _, prefix = store.uri.partition("://")[2].partition("/")
    if isinstance(store, CloudStorageStore):
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        client.bucket(bucket).blob(f"{prefix}/{name}").delete()
    else:
        boto3.client("s3").delete_object(Bucket=bucket, Key=f"{prefix}/{name}")


def test_objects_that_are_not_ours_change_nothing(store: Store, tmp_path: Path) -> None:
    models = ModelStore(store)
    published = publish(store, write_model(tmp_path / "m1", b"1"))
    publish(store, write_model(tmp_path / "m2", b"2"))
    models.set_alias(MODEL, "champion", 1, "first")
    layout = tmp_path / "layout"
    (layout / "deep").mkdir(parents=True)
    (layout / "deep" / "file").write_bytes(b"x")
    layout_uri = models.publish_layout(MODEL, "key", layout)
    study = Study(store, MODEL, "key")
    trial = Trial(trial_name(0, 1), "e", {}, "complete", "auc", (0.5,), 0.5)
    study.keep(trial)
    path = models.manifest(MODEL, 1).path
    for name in FOREIGN:
        put(store, name.format(path=path), b"not ours" if name[-1] != "/" else b"")

    assert models.models() == [MODEL]
    assert models.versions(MODEL) == [1, 2]
    assert models.aliases(MODEL) == {"champion": 1}
    assert models.resolve(MODEL) == 1
    assert parse_reference(f"{store.uri}/{MODEL}/champion") == (store.uri, MODEL, "champion")
    models.verify(MODEL, 1)
    put(store, f"late/1/{path}/added", b"not ours")
    models.fetch(MODEL, 1, tmp_path / "copy")
    with pytest.raises(IntegrityError, match=r"late/1/.*/added: a file that was not published"):
        models.verify(MODEL, 1)
    copied = {p.name for p in (tmp_path / "copy").iterdir()}
    assert copied == {"weights", "model.json"}
    models.fetch_layout(MODEL, layout_uri, tmp_path / "copied layout")
    assert [p.name for p in (tmp_path / "copied layout").rglob("*")] == ["deep", "file"]
    assert study.trials() == [trial]
    models.set_alias(MODEL, "champion", 2, "second")
    assert models.rollback(MODEL).version == 1
    assert publish(store, write_model(tmp_path / "again", b"1")).version == published.version
    assert publish(store, write_model(tmp_path / "m3", b"3")).version == 3


def test_records_that_a_lifecycle_rule_removed_are_no_end_of_the_world(
    store: Store, tmp_path: Path
) -> None:
    models = ModelStore(store)
    for i in range(3):
        publish(store, write_model(tmp_path / f"m{i}", b"%d" % i))
        models.set_alias(MODEL, "champion", i + 1, "better")
    remove(store, "late/_aliases/champion/1.json")
    remove(store, "late/_aliases/champion/2.json")
    models.set_alias(MODEL, "champion", 1, "back")
    models.set_alias(MODEL, "champion", 2, "on", expected=1)
    assert [one.version for one in models.alias_history(MODEL, "champion")] == [3, 1, 2]
    assert models.rollback(MODEL).version == 1
    # The claims of the first and of the newest version are gone: no number is given twice.
    for info in list(store.list("late/_numbers/")):
        if info.name.split("/")[-1].startswith(("1.", "3.")):
            remove(store, info.name)
    new = publish(store, write_model(tmp_path / "new", b"new"))
    assert new.version == 4
    assert models.manifest(MODEL, 4).digest == new.digest
    again = publish(store, write_model(tmp_path / "again", b"2"))
    assert (again.version, again.created) == (3, False)


def test_a_store_from_before_owners_were_named_is_read(store: Store, tmp_path: Path) -> None:
    for i in range(3):
        publish(store, write_model(tmp_path / f"m{i}", b"%d" % i))
    owners = [i.name for i in store.list("late/_numbers/") if not i.name.endswith(".json")]
    assert len(owners) == 3
    for name in owners:
        remove(store, name)
    assert publish(store, write_model(tmp_path / "again", b"1")).version == 2
    assert publish(store, write_model(tmp_path / "new", b"new")).version == 4
    named = [i.name for i in store.list("late/_numbers/") if not i.name.endswith(".json")]
    assert len(named) == 4


def test_an_alias_that_is_no_record_is_named(store: Store, tmp_path: Path) -> None:
    publish(store, write_model(tmp_path / "m", b"1"))
    put(store, "late/_aliases/champion/1.json", b"[1")
    with pytest.raises(KfpSuiteError, match=r"_aliases/champion/1\.json: not valid JSON"):
        ModelStore(store).resolve(MODEL)


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_bucket_that_is_not_there_is_named(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if scheme == "gs":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("cloud_storage"))
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = open_store(f"{scheme}://no-such-bucket/models")
    models = ModelStore(store)
    folder = write_model(tmp_path / "m", b"1")
    attempts: list[Any] = [
        models.models,
        lambda: models.resolve(MODEL),
        lambda: models.manifest(MODEL, 1),
        lambda: models.set_alias(MODEL, "champion", 1, "first"),
        lambda: publish(store, folder),
    ]
    for attempt in attempts:
        with pytest.raises(MissingError) as caught:
            attempt()
        assert str(caught.value) == (
            f"{scheme}://no-such-bucket: no such bucket; create it, or check the URI"
        )
