"""S3's answer to conditional writes that meet: 409 is "try again", 412 is "it is there"."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from kfp_suite.contracts.errors import AlreadyExistsError, TransientError
from kfp_suite.runtimes.local import LOOPBACK
from kfp_suite.stores import s3 as s3_store
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore
from tests.storage.test_versions import publish, write_model

_CONFLICT = (
    b'<?xml version="1.0"?><Error><Code>ConditionalRequestConflict</Code>'
    b"<Message>A conflicting conditional operation is currently in progress</Message></Error>"
)


class Proxy:
    """Before an S3 server: answers 409 to the next `conflicts` conditional writes of each key."""

    def __init__(self, server: str, conflicts: int) -> None:
        self.conflicts, self.seen = conflicts, dict[str, int]()
        proxy, target = self, urlsplit(server).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.headers.get("expect"):
                    del self.headers["expect"]
                key = urlsplit(self.path).path
                if self.command == "PUT" and self.headers.get("if-none-match"):
                    proxy.seen[key] = proxy.seen.get(key, 0) + 1
                    if proxy.seen[key] <= proxy.conflicts:
                        self._answer(409, [("content-type", "application/xml")], _CONFLICT)
                        return
                connection = http.client.HTTPConnection(target)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = connection.getresponse()
                    self._answer(answer.status, answer.getheaders(), answer.read())
                finally:
                    connection.close()

            def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response(status)
                dropped = ("content-length", "transfer-encoding", "connection", "date", "server")
                for name, value in headers:
                    if name.lower() not in dropped:
                        self.send_header(name, value)
                length = next((v for k, v in headers if k.lower() == "content-length"), None)
                head = self.command == "HEAD" and length is not None
                self.send_header("content-length", str(length if head else len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(s3_store, "_CONFLICT_PAUSES", (0.0, 0.0, 0.0))
    with Proxy(s3, conflicts=2) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield found


def test_a_push_that_meets_conflicts_is_published_once(proxy: Proxy, tmp_path: Path) -> None:
    boto3.client("s3").create_bucket(Bucket="meeting")
    store = open_store("s3://meeting/models")
    assert publish(store, write_model(tmp_path / "m", b"1")).version == 1
    models = ModelStore(store)
    models.set_alias("late", "champion", 1, "first")
    models.verify("late", 1)
    assert models.resolve("late") == 1
    assert all(count >= 3 for key, count in proxy.seen.items() if "_probe" not in key)
    with pytest.raises(AlreadyExistsError):
        store.create("late/1/manifest.json", b"other")


def test_a_conflict_without_an_end_is_worth_another_try(proxy: Proxy) -> None:
    boto3.client("s3").create_bucket(Bucket="endless")
    store = open_store("s3://endless/models")
    store.create("first", b"")
    proxy.conflicts = 1000
    with pytest.raises(TransientError, match="got ConditionalRequestConflict; try again"):
        store.create("second", b"")
