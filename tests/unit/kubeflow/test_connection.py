"""Who asks, and what each refusal is told as: its own clear line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kfp_suite.cli.main import cli
from kfp_suite.contracts.errors import (
    MissingError,
    ParameterError,
    StoreError,
    TransientError,
)
from kfp_suite.kubeflow import connection
from kfp_suite.kubeflow.connection import Backend, Connection, Health
from kfp_suite.kubeflow.submitting import experiment_named
from kfp_suite.kubeflow.uploading import find_pipeline_id
from kfp_suite.runtimes.local import free_port
from kfp_suite.testing.kfp_backend.backend import KfpDouble, running
from tests.schemas import KFP_API


def connect(double: KfpDouble, **more: str) -> Backend:
    return Backend(Connection(host=double.url, **more), sleep=lambda _: None)


def test_health_is_what_it_says(kfp: KfpDouble) -> None:
    found = connect(kfp).health()
    assert not found.multi_user
    assert kfp.requests[-1] == ("GET", "/apis/v2beta1/healthz")


def test_a_token_is_read_anew_for_each_call(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with running(KfpDouble(KFP_API, token="first")) as kfp:
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
    with running(KfpDouble(KFP_API, cookie="authservice_session=abc")) as kfp:
        assert find_pipeline_id(connect(kfp, cookie_file=str(file)), "nobody") is None
        with pytest.raises(StoreError, match="not signed in") as refused:
            connect(kfp).health()
        assert "--cookie-file" in str(refused.value)


def test_another_namespace_is_not_allowed() -> None:
    with running(KfpDouble(KFP_API, namespaces=("birds",))) as kfp:
        assert connect(kfp, namespace="birds").health().multi_user
        assert find_pipeline_id(connect(kfp, namespace="birds"), "nobody") is None
        with pytest.raises(StoreError, match="not allowed") as refused:
            find_pipeline_id(connect(kfp, namespace="fish"), "nobody")
        assert "not authorized in namespace fish" in str(refused.value)
        assert "kubeflow-edit" in str(refused.value)


@pytest.mark.parametrize("version", [0, 1])
def test_what_is_no_kubeflow_2_is_said_so(version: int) -> None:
    with (
        running(KfpDouble(KFP_API, version=version)) as kfp,
        pytest.raises(StoreError, match="no Kubeflow Pipelines 2 there") as refused,
    ):
        connect(kfp).health()
    assert "a backend of version 1 cannot run these pipelines" in str(refused.value)


def test_nobody_there_is_one_line() -> None:
    host = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TransientError, match="cannot be reached") as refused:
        Backend(Connection(host=host), sleep=lambda _: None).health()
    assert "kubectl port-forward" in str(refused.value)


def test_a_backend_that_takes_what_it_is_asked_and_never_answers_is_given_up(
    kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_SECONDS_OF_HEALTH", (0.1, 0.1))
    monkeypatch.setattr(connection, "_SECONDS_A_CALL", (0.1, 0.1))
    backend = connect(kfp)
    kfp.latency = 3.0
    with pytest.raises(TransientError, match="cannot be reached") as refused:
        connect(kfp)
    assert "Read timed out" in str(refused.value)
    with pytest.raises(TransientError, match="cannot be reached"):
        find_pipeline_id(backend, "nobody")
    told = CliRunner().invoke(cli, ["doctor", "--host", kfp.url]).output
    assert "cannot be reached" in told
    assert kfp.requests == [("GET", "/apis/v2beta1/healthz")]  # of the first, which was answered


def test_of_several_users_each_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(KfpDouble(KFP_API, namespaces=("birds",))) as kfp:
        for words in (("runs", "cluster", "list"), ("schedule", "list"), ("upload", "retrain")):
            refused = CliRunner().invoke(cli, [*words, "--host", kfp.url]).exception
            assert isinstance(refused, ParameterError)
            assert "this Kubeflow has several users" in str(refused)
            assert "give -n NAMESPACE" in str(refused)
        # Whoever asks without goes away empty-handed.
        backend = connect(kfp)
        with pytest.raises(ParameterError, match="empty namespace in multi-user mode"):
            backend.call("runs", lambda: backend.client.list_runs(page_size=1))
        told = CliRunner().invoke(cli, ["doctor", "--host", kfp.url]).output
        assert "this Kubeflow has several users" in told
        told = CliRunner().invoke(cli, ["doctor", "--host", kfp.url, "-n", "birds"]).output
        assert "of several users, in birds" in told
        assert ("GET", "/apis/v2beta1/runs") in kfp.requests
        told = CliRunner().invoke(cli, ["doctor", "--host", kfp.url, "-n", "fish"]).output
        assert "not authorized in namespace fish" in told


@pytest.mark.parametrize(
    ("tag", "skewed"),
    [("2.0.5", True), ("v2.5.0", True), ("2.14.0", False), ("2.17.0", False), ("unknown", False)],
)
def test_a_version_that_is_too_old_is_told(tag: str, skewed: bool) -> None:
    with running(KfpDouble(KFP_API, tag=tag)) as kfp:
        assert connect(kfp).health().version == ("" if tag == "unknown" else tag)
        told = CliRunner().invoke(cli, ["doctor", "--host", kfp.url]).output
        assert f"version {tag}" in told
        assert (f"{tag} is older than 2.14" in told) is skewed
        listed = CliRunner().invoke(cli, ["runs", "cluster", "list", "--host", kfp.url])
        assert listed.stdout == "no runs\n"
        assert (f"warning: Kubeflow Pipelines {tag} is older" in listed.stderr) is skewed


def test_from_a_pod_the_projected_token_signs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("token", "projected", "ca.crt"):
        (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    inside = "kubernetes.config.incluster_config"
    monkeypatch.setattr(f"{inside}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(f"{inside}.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "projected"))
    with running(KfpDouble(KFP_API, token="projected")) as kfp:
        address = kfp.url.removeprefix("http://")
        monkeypatch.setattr("kfp.client.Client._IN_CLUSTER_DNS_NAME", address)
        backend = Backend(Connection(), sleep=lambda _: None)
        assert backend.host == "ml-pipeline.kubeflow"
        assert backend.ui == ""  # nobody outside reaches it there
        assert find_pipeline_id(backend, "nobody") is None
        told = CliRunner().invoke(cli, ["doctor"]).output
        assert "ml-pipeline.kubeflow: answers" in told
        (tmp_path / "projected").unlink()
        with pytest.raises(MissingError, match="projected: no such file"):
            find_pipeline_id(backend, "nobody")


def test_a_kubeconfig_leads_through_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"
    file = tmp_path / "kubeconfig"
    with running(KfpDouble(KFP_API, token="mine", prefix=proxy)) as kfp:
        contexts = [
            {"name": name, "context": {"cluster": "here", "user": name}} for name in ("me", "you")
        ]
        users = [{"name": "me", "user": {"token": "mine"}}, {"name": "you", "user": {}}]
        clusters = [{"name": "here", "cluster": {"server": kfp.url}}]
        whole = {"clusters": clusters, "contexts": contexts, "users": users}
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **whole}))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        backend = Backend(Connection(kube_context="me"), sleep=lambda _: None)
        assert "kubeconfig" in backend.host
        assert experiment_named(backend, "late") in kfp.state.experiments
        told = CliRunner().invoke(cli, ["doctor", "--kube-context", "me"]).output
        assert "the kubeconfig's cluster, namespace kubeflow: answers" in told
        with pytest.raises(StoreError, match="not signed in"):
            find_pipeline_id(Backend(Connection(kube_context="you")), "nobody")


def test_an_address_may_have_a_path() -> None:
    with running(KfpDouble(KFP_API, prefix="/pipeline")) as kfp:
        there = Backend(Connection(host=f"{kfp.url}/pipeline"))
        assert find_pipeline_id(there, "nobody") is None
        with pytest.raises(StoreError, match="no Kubeflow Pipelines 2 there"):
            connect(kfp).health()


def test_behind_iap_google_signs_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "iap")
    monkeypatch.setattr("kfp.client.auth.LOCAL_KFP_CREDENTIAL", str(tmp_path / "none"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with running(KfpDouble(KFP_API, token="of google")) as kfp:
        with pytest.raises(StoreError, match="not signed in at Google") as refused:
            connect(kfp)
        assert "gcloud auth application-default login" in str(refused.value)
        monkeypatch.setattr(
            "kfp.client.auth.get_auth_token_from_sa",
            lambda client_id: {"iap": "of google"}[client_id],
        )
        assert find_pipeline_id(connect(kfp), "nobody") is None


def test_a_failure_of_the_server_leads_to_its_log(kfp: KfpDouble) -> None:
    backend = connect(kfp)
    kfp.fail_next(500, times=99)
    with pytest.raises(TransientError, match="failed at this") as refused:
        find_pipeline_id(backend, "nobody")
    assert "kubectl logs -n kubeflow deployment/ml-pipeline" in str(refused.value)


def test_what_is_slow_to_come_is_tried_again(kfp: KfpDouble) -> None:
    waited: list[float] = []
    backend = Backend(Connection(host=kfp.url), sleep=waited.append)
    kfp.fail_next(503, times=2, retry_after=7)
    assert not backend.health().multi_user
    assert waited == [7.0, 7.0]
    kfp.fail_next(503, retry_after=3600)
    backend.health()
    assert waited.pop() == 60.0
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
    with running(KfpDouble(KFP_API), certificate) as kfp:
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


@pytest.mark.parametrize("ui", [False, True])
def test_the_version_is_told_by_the_api_and_by_its_ui(ui: bool) -> None:
    with running(KfpDouble(KFP_API, tag="2.17.0", ui=ui)) as kfp:
        assert connect(kfp).health() == Health(multi_user=False, version="2.17.0")


def test_a_ui_without_its_api_is_no_answer() -> None:
    with running(KfpDouble(KFP_API, tag="2.17.0")) as kfp:
        told = CliRunner().invoke(cli, ["doctor", "--host", kfp.url]).output
        assert "answers, version 2.17.0, of one user" in told
        kfp.api_is_ready = False
        told = CliRunner().invoke(cli, ["doctor", "--host", kfp.url]).output
        assert "the UI answers, and Kubeflow Pipelines' API behind it does not" in told
