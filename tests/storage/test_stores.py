"""What every store promises, by the real clients against real servers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    MissingError,
    ParameterError,
    TransientError,
)
from kfp_suite.contracts.sources import Source, SourceObject
from kfp_suite.runtimes.local import LOOPBACK
from kfp_suite.stores.pins import pinned_sources, shorten_pins
from kfp_suite.stores.sources import materialize, sources_to_json
from kfp_suite.stores.store import Store, open_store


def test_an_object_is_what_was_created(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "content"
    file.write_bytes(b"from a file")
    store.create("a/b.txt", b"bytes")
    store.create("a/c.txt", file)
    assert store.read("a/b.txt") == b"bytes"
    store.copy("a/c.txt", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"from a file"
    assert store.stat("a/c.txt").bytes == 11
    assert store.stat("a/c.txt").created is not None


def test_names_are_listed_in_order_below_a_prefix(store: Store) -> None:
    for name in ("m/10/x", "m/2/x", "n/1/x", "m2/1/x"):
        store.create(name, b"1")
    assert [info.name for info in store.list("m/")] == ["m/10/x", "m/2/x"]
    assert [info.name for info in store.list()] == ["m/10/x", "m/2/x", "m2/1/x", "n/1/x"]
    assert list(store.list("nothing/")) == []


def test_what_is_not_there_is_missing(store: Store, tmp_path: Path) -> None:
    for read in (store.read, store.stat):
        with pytest.raises(MissingError):
            read("not/there")
    with pytest.raises(MissingError):
        store.copy("not/there", tmp_path / "copy")


class CutShort(BaseHTTPRequestHandler):
    """An S3 server whose connection ends in the middle of each object."""

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in (("content-length", "100"), ("etag", '"1"')):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"the beginning")

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_an_object_whose_transfer_is_cut_short_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadingHTTPServer((LOOPBACK, 0), CutShort)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{server.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store = open_store("s3://bucket/models")
        pinned = SourceObject("s3://bucket/rows.csv", 100, generation="1")
        source = Source("s3://bucket/rows.csv", "csv", "", (pinned,), {})
        for read in (
            lambda: store.read("a"),
            lambda: store.copy("a", tmp_path / "copy"),
            lambda: store.download("a", ["b"], tmp_path),
            lambda: materialize("rows", source, tmp_path),
        ):
            with pytest.raises(TransientError, match="the store did not answer"):
                read()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_create_is_exclusive(store: Store) -> None:
    store.create("once", b"first")
    with pytest.raises(AlreadyExistsError, match="it is there already"):
        store.create("once", b"second")
    assert store.read("once") == b"first"


def test_a_race_has_one_winner(store: Store) -> None:
    def create(number: int) -> bool:
        try:
            store.create("race", str(number).encode())
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.read("race") == str(won.index(True)).encode()


def test_download_copies_what_is_named(store: Store, tmp_path: Path) -> None:
    store.create("v/1/a", b"a")
    store.create("v/1/deep/b", b"b")
    store.create("v/1/other", b"not asked for")
    store.create("v/10/c", b"c")
    store.download("v/1", ["a", "deep/b"], tmp_path / "copy")
    found = {p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*")}
    assert found == {"a", "deep", "deep/b"}
    assert (tmp_path / "copy" / "deep" / "b").read_bytes() == b"b"
    with pytest.raises(MissingError):
        store.download("v/1", ["gone"], tmp_path / "copy")
    with pytest.raises(ParameterError, match="not an object name"):
        store.download("v/1", ["../10/c"], tmp_path / "copy")


@pytest.mark.parametrize("name", ["", "/absolute", "../up", "a/../b", "a//b", "a\nb"])
def test_an_unsafe_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ParameterError, match="not an object name"):
        store.create(name, b"")
    with pytest.raises(ParameterError, match="not an object name"):
        store.read(name)


def test_a_generation_is_the_bytes_it_was(store: Store) -> None:
    store.create("pinned", b"first")
    generation = store.stat("pinned").generation
    assert store.read("pinned", generation) == b"first"
    if generation:
        with pytest.raises(MissingError, match="deleted or overwritten: resolve again"):
            store.read("pinned", str(int(generation) + 1) if generation.isdigit() else "0" * 32)


def test_an_unknown_scheme_says_what_is_known() -> None:
    with pytest.raises(ParameterError) as caught:
        open_store("ftp://host/models")
    assert str(caught.value) == (
        "unknown kind of store 'ftp'; got ftp://host/models; expected a folder, gs://… or s3://…"
    )


def test_long_pins_are_kept_and_a_short_text_names_them(store: Store) -> None:
    few = {"rows": Source("s", "csv", "sha256:1", (SourceObject("s/1.csv", 10, "sha256:2"),))}
    assert shorten_pins(sources_to_json(few), store.uri) == sources_to_json(few)
    objects = tuple(SourceObject(f"s/{n}.csv", 10, f"sha256:{n:064}") for n in range(1_500))
    many = {"rows": Source("s", "csv", "sha256:1", objects)}
    text = shorten_pins(sources_to_json(many), store.uri)
    assert len(text) < 500
    assert shorten_pins(sources_to_json(many), store.uri) == text
    assert pinned_sources(text) == many
    other = {"rows": Source("s", "csv", "sha256:1", objects[1:])}
    assert shorten_pins(sources_to_json(other), store.uri) != text
    assert len(list(store.list("_pins/"))) == 2
