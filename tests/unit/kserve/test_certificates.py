"""The certificate of a cluster's API: trusted as kubectl trusts it, or said at once."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kfp_suite.contracts.errors import StoreError
from kfp_suite.kserve.cluster import Cluster

_NOW = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_FAR = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)


def named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def authority(folder: Path, name: str) -> tuple[Path, x509.Name, ec.EllipticCurvePrivateKey]:
    """A CA without keyUsage and key identifiers, as many clusters have."""
    key = ec.generate_private_key(ec.SECP256R1())
    found = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW)
        .not_valid_after(_FAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(found.public_bytes(serialization.Encoding.PEM))
    return file, named(name), key


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"items": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of an API over TLS, and the file of its CA."""
    trusted, issuer, signer = authority(tmp_path, "cluster")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(named("api"))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW)
        .not_valid_after(_FAR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = tmp_path / "api.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + leaf.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    yield f"https://localhost:{server.server_address[1]}", trusted
    server.shutdown()
    thread.join()
    server.server_close()


def cluster(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    address: str,
    trusted: Path | None,
    naps: list[float],
) -> Cluster:
    """The cluster at an address; without a file of its CA its certificate is not looked at."""
    trust = (
        {"insecure-skip-tls-verify": True}
        if trusted is None
        else {"certificate-authority": str(trusted)}
    )
    file = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address, **trust}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(yaml.safe_dump(content))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    return Cluster(sleep=naps.append)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13's contexts, on any Python."""
    create = urllib3.util.ssl_.create_urllib3_context

    def create_strict(*given: object, **more: object) -> ssl.SSLContext:
        context = create(*given, **more)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(urllib3.util.ssl_, "create_urllib3_context", create_strict)


@pytest.mark.usefixtures("strict")
def test_a_ca_that_kubectl_trusts_is_trusted(
    api: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster(monkeypatch, tmp_path, *api, naps=[]).services("models") == []


def test_a_certificate_that_is_not_to_be_verified_is_not(
    api: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = api
    with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        found = cluster(monkeypatch, tmp_path, address, None, naps=[]).services("models")
    assert found == []


def test_another_clusters_ca_is_said_at_once(
    api: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = api
    other, _, _ = authority(tmp_path, "other")
    naps: list[float] = []
    with pytest.raises(StoreError, match="certificate of the Kubernetes API does not verify") as no:
        cluster(monkeypatch, tmp_path, address, other, naps).services("models")
    assert "certificate-authority-data" in str(no.value)
    assert naps == []
