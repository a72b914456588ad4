"""Where no credentials work, the line says which were tried; and never what they are."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kfp_suite.contracts.errors import StoreError
from kfp_suite.stores.credentials import tried_for_cloud_storage, tried_for_s3
from kfp_suite.stores.store import open_store

SECRET = "wJalrXUtnFEMI"
REFUSAL = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials at all, and no metadata server that is waited for."""
    import os

    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "CLOUDSDK_", "GCE_", "STORAGE_EMULATOR")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def test_no_s3_credentials_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        open_store("s3://bucket/models").read("x")
    assert str(refused.value) == (
        "s3://bucket/models/x: no S3 credentials; tried AWS_ACCESS_KEY_ID not set; "
        "IRSA: AWS_WEB_IDENTITY_TOKEN_FILE not set; "
        f"mounted file: no {tmp_path}/.aws/credentials; "
        "Pod Identity: AWS_CONTAINER_CREDENTIALS_FULL_URI not set; "
        "instance role: AWS_EC2_METADATA_DISABLED; "
        "server: Amazon S3, AWS_ENDPOINT_URL not set; "
        "docs/kubeflow.md has the ways"
    )


@pytest.mark.parametrize(
    ("installed", "server"),
    [
        (["seaweedfs.kubeflow"], "seaweedfs.kubeflow"),
        (["minio-service.kubeflow"], "minio-service.kubeflow"),
        (["minio-service.kubeflow", "seaweedfs.kubeflow"], "seaweedfs.kubeflow"),
        ([], "seaweedfs.kubeflow"),
    ],
)
def test_the_store_of_kfp_is_the_service_that_kfp_installs(
    monkeypatch: pytest.MonkeyPatch, installed: list[str], server: str
) -> None:
    def look_up(host: str, port: int) -> list[str]:
        if host not in installed:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [f"{host}:{port}"]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(StoreError, match=rf"server: http://{re.escape(server)}:9000"):
        open_store("minio://mlpipeline/v2/artifacts").read("x")


def test_a_token_that_is_not_mounted_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/kfp")
    with pytest.raises(StoreError) as refused:
        open_store("s3://bucket/models").read("x")
    assert f"IRSA: no {token}" in str(refused.value)


def test_no_google_credentials_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        open_store("gs://bucket/models")
    assert str(refused.value) == (
        "gs://bucket/models: no Google Cloud credentials; "
        "tried GOOGLE_APPLICATION_CREDENTIALS not set; "
        f"gcloud: no {tmp_path}/.config/gcloud/application_default_credentials.json; "
        "Workload Identity: no metadata server; "
        "here, gcloud auth application-default login; docs/kubeflow.md has the others"
    )


def test_a_key_that_is_not_mounted_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(StoreError, match=f"mounted key: no {tmp_path}/key.json"):
        open_store("gs://bucket/models")


@pytest.fixture
def refusing() -> Iterator[str]:
    """An S3 server that refuses everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", str(len(REFUSAL)))
            self.end_headers()
            self.wfile.write(REFUSAL)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_credentials_that_are_refused_are_named_by_where_they_came_from(
    refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "minio")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(StoreError) as refused:
        open_store("s3://mlpipeline/models").read("x")
    assert "permission denied; got AccessDenied, with the credentials of: env" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_what_is_set_is_said_without_its_value(tmp_path: Path) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": "AKIA123",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1",
        "AWS_ENDPOINT_URL": "http://minio-service.kubeflow:9000",
    }
    said = tried_for_s3(environment, tmp_path)
    assert "AWS_ACCESS_KEY_ID set" in said
    assert "Pod Identity: AWS_CONTAINER_CREDENTIALS_FULL_URI set" in said
    assert "server: http://minio-service.kubeflow:9000" in said
    assert SECRET not in said and "AKIA123" not in said
    key = tmp_path / "key.json"
    key.write_text(SECRET)
    said = tried_for_cloud_storage({"GOOGLE_APPLICATION_CREDENTIALS": str(key)}, tmp_path)
    assert said.startswith(f"mounted key: {key} is there; ")
    assert SECRET not in said
