"""Who asks, and what each refusal is told as: its own clear line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kfp_suite.components.contracts.errors import (
    MissingError,
    ParameterError,
    StoreError,
    TransientError,
)
from kfp_suite.components.runtimes.local import free_port
from kfp_suite.pipelines.kubeflow.connection import Backend, Connection
from kfp_suite.pipelines.kubeflow.uploading import find_pipeline_id
from kfp_suite.testing.kfp_backend.backend import KfpDouble, running
from tests.unit.kubeflow.conftest import DEFINITION


def definition() -> Path | None:
    return DEFINITION if DEFINITION.exists() else None


def connect(double: KfpDouble, **more: str) -> Backend:
    return Backend(Connection(host=double.url, **more), sleep=lambda _: None)


def test_health_is_what_it_says(kfp: KfpDouble) -> None:
    found = connect(kfp).health()
    assert not found.multi_user
    assert kfp.requests[-1] == ("GET", "/apis/v2beta1/healthz")


def test_a_token_is_read_anew_for_each_call(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with running(KfpDouble(definition(), token="first")) as kfp:
        backend = connect(kfp, token_file=str(file))
        assert find_pipeline_id(backend, "nobody") is None
        kfp.token = "second"
        with pytest.raises(StoreError, match="the sign-in has expired") as refused:
            find_pipeline_id(backend, "nobody")
        assert "--token-file" in str(refused.value)
        file.write_text("second\n")
        assert find_pipeline_id(backend, "nobody") is None


def test_a_session_is_asked_for_where_a_page_to_sign_in_answers(tmp_path: Path) -> None:
    file = tmp_path / "cookie"
    file.write_text("authservice_session=abc\n")
    with running(KfpDouble(definition(), cookie="authservice_session=abc")) as kfp:
        assert find_pipeline_id(connect(kfp, cookie_file=str(file)), "nobody") is None
        with pytest.raises(StoreError, match="not signed in") as refused:
            connect(kfp).health()
        assert "--cookie-file" in str(refused.value)


def test_another_namespace_is_not_allowed() -> None:
    with running(KfpDouble(definition(), namespaces=("birds",))) as kfp:
        assert connect(kfp, namespace="birds").health().multi_user
        assert find_pipeline_id(connect(kfp, namespace="birds"), "nobody") is None
        with pytest.raises(StoreError, match="not allowed") as refused:
            find_pipeline_id(connect(kfp, namespace="fish"), "nobody")
        assert "not authorized in namespace fish" in str(refused.value)
        assert "kubeflow-edit" in str(refused.value)


@pytest.mark.parametrize("version", [0, 1])
def test_what_is_no_kubeflow_2_is_said_so(version: int) -> None:
    with (
        running(KfpDouble(definition(), version=version)) as kfp,
        pytest.raises(StoreError, match="no Kubeflow Pipelines 2 there") as refused,
    ):
        connect(kfp).health()
    assert "a backend of version 1 cannot run these pipelines" in str(refused.value)


def test_nobody_there_is_one_line() -> None:
    host = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TransientError, match="cannot be reached") as refused:
        Backend(Connection(host=host), sleep=lambda _: None).health()
    assert "kubectl port-forward" in str(refused.value)


def test_what_is_slow_to_come_is_tried_again(kfp: KfpDouble) -> None:
    waited: list[float] = []
    backend = Backend(Connection(host=kfp.url), sleep=waited.append)
    kfp.fail_next(503, times=2, retry_after=7)
    assert not backend.health().multi_user
    assert waited == [7.0, 7.0]
    kfp.fail_next(503, times=99)
    with pytest.raises(TransientError, match="does not answer"):
        backend.health()


def test_a_refusal_is_not_tried_again(kfp: KfpDouble) -> None:
    backend = connect(kfp)
    before = len(kfp.requests)
    kfp.fail_next(403, times=99)
    with pytest.raises(StoreError, match="not allowed"):
        find_pipeline_id(backend, "nobody")
    assert len(kfp.requests) == before + 1


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for the loopback address."""
    file = tmp_path / "server.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kfp"]
    subprocess.run(
        [
            *("openssl", "req", *options, "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt")),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text((tmp_path / "key").read_text() + (tmp_path / "crt").read_text())
    return file


def test_a_private_authority_is_trusted_where_it_is_given(
    certificate: Path, tmp_path: Path
) -> None:
    with running(KfpDouble(definition()), certificate) as kfp:
        assert not connect(kfp, ca_file=str(tmp_path / "crt")).health().multi_user
        with pytest.raises(StoreError, match="the certificate is not trusted") as refused:
            connect(kfp).health()
    assert "--ca-file" in str(refused.value)


@pytest.mark.parametrize("name", ["token_file", "cookie_file", "ca_file"])
def test_a_file_that_is_not_there_is_named(kfp: KfpDouble, name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=name.replace("_", "-")):
        connect(kfp, **{name: str(tmp_path / "nothing")})


def test_no_host_at_all_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    with pytest.raises(ParameterError, match="no Kubeflow to talk to") as refused:
        Backend(Connection())
    assert "KF_PIPELINES_ENDPOINT" in str(refused.value)


def test_nothing_is_printed_or_left_at_home(
    kfp: KfpDouble, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kfp's client prints links and writes a file into the home folder."""
    connect(kfp, namespace="birds").client.set_user_namespace("fish")
    assert capsys.readouterr() == ("", "")
