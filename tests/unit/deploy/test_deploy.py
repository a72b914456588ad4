"""Deploy: the manifest KServe takes, a wait that the old revision cannot end, and reasons."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.components.contracts.errors import (
    ContractError,
    EndpointError,
    KfpSuiteError,
    ParameterError,
    StoreError,
    TransientError,
)
from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.components.kserve.access import access
from kfp_suite.components.kserve.cluster import Cluster
from kfp_suite.components.kserve.manifests import read_served
from kfp_suite.components.stores.folder import FolderStore
from kfp_suite.components.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble, running
from tests.serving.conftest import publish

_TOKEN = "deployer"
CRDS = Path(__file__).resolve().parents[3].parent / "shared" / "kserve" / "crds"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("deploy")
    found = ModelStore(FolderStore(folder / "store"))
    for number in (1, 2):
        estimator = "logistic_regression" if number == 1 else "random_forest"
        publish(found, "wings", folder / str(number), estimator)
    return found


@pytest.fixture
def version(models: ModelStore, tmp_path: Path) -> Path:
    return pushed(models, tmp_path, 1)


def pushed(models: ModelStore, folder: Path, number: int) -> Path:
    """What push leaves."""
    found = folder / f"version-{number}"
    found.mkdir()
    content = {"store": models.store.uri, "model": "wings", "version": number}
    (found / "pushed.json").write_text(json.dumps(content))
    return found


class Wings:
    """An endpoint that answers what the model says, or something else."""

    def __init__(self, models: ModelStore) -> None:
        manifest = models.manifest("wings", 1)
        path = f"wings/1/{manifest.path}/sample_answer.json"
        self.answer = json.loads(models.store.read(path))
        self.version = "1"
        self.url = ""


@pytest.fixture
def wings(models: ModelStore) -> Iterator[Wings]:
    found = Wings(models)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            said = {key: found.answer[key] for key in ("predictions", "probabilities")}
            content = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("x-model-version", found.version)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["Standard", "Knative"])
def double(request: pytest.FixtureRequest, wings: Wings) -> Iterator[KubernetesDouble]:
    with running(
        KubernetesDouble(crds=CRDS if CRDS.is_dir() else None, mode=request.param)
    ) as found:
        found.endpoint = wings.url
        yield found


def on(double: KubernetesDouble, token: str | None = None) -> Cluster:
    return Cluster(double.client(token), sleep=lambda seconds: time.sleep(seconds / 20))


def parameters(**more: Any) -> DeployParameters:
    return DeployParameters(target="cluster", namespace="models", timeout_seconds=5, **more)


def test_a_local_deploy_writes_the_manifests(version: Path, tmp_path: Path) -> None:
    found = deploy(DeployParameters(), version, tmp_path / "endpoint")
    written = tmp_path / "endpoint" / "inferenceservice.yaml"
    assert read_served(written).version == 1
    assert json.loads((tmp_path / "endpoint" / "endpoint.json").read_text()) == found
    runtime = yaml.safe_load((tmp_path / "endpoint" / "servingruntime.yaml").read_text())
    container = runtime["spec"]["containers"][0]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    model = yaml.safe_load(written.read_text())["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]


def test_a_cluster_serves_and_the_version_is_champion(
    double: KubernetesDouble, version: Path, models: ModelStore, tmp_path: Path, wings: Wings
) -> None:
    found = deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))
    assert found["url"] == wings.url
    assert models.aliases("wings")[CHAMPION] == 1
    live = double.get("inferenceservices", "models/wings")
    assert live["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kfp-suite"
    assert live["metadata"]["annotations"]["kfp-suite.io/version"] == "1"


def test_the_old_revisions_ready_does_not_count(
    double: KubernetesDouble, models: ModelStore, version: Path, tmp_path: Path, wings: Wings
) -> None:
    cluster = on(double)
    deploy(parameters(), version, tmp_path / "endpoint", cluster=cluster)
    double.behave("*", Behaviour("never_ready", after=3600))
    with pytest.raises(EndpointError, match="does not serve the version in time"):
        deploy(
            DeployParameters(target="cluster", namespace="models", timeout_seconds=1),
            pushed(models, tmp_path, 2),
            tmp_path / "other",
            cluster=cluster,
        )
    assert models.aliases("wings")[CHAMPION] == 1


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("image_pull", 'ImagePullBackOff Back-off pulling image "kfp-suite-python-serving:0.1.0"'),
        ("crash_loop", "exit code 1"),
        ("storage_failed", "No model found in"),
        ("unschedulable", "FailedScheduling: 0/3 nodes are available"),
        ("oom", "OOMKilled, exit code 137"),
    ],
)
def test_a_failure_says_why(
    double: KubernetesDouble, version: Path, tmp_path: Path, outcome: Any, told: str
) -> None:
    double.behave("*", Behaviour(outcome))
    with pytest.raises(EndpointError) as caught:
        deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))
    assert told in str(caught.value)
    assert "kubectl describe inferenceservice wings -n models" in str(caught.value)
    assert not (tmp_path / "endpoint").exists()


def test_no_controller_is_said_so(double: KubernetesDouble, version: Path, tmp_path: Path) -> None:
    double.behave("*", Behaviour("silent"))
    with pytest.raises(EndpointError, match="KServe's controller does not run"):
        deploy(
            DeployParameters(target="cluster", namespace="models", timeout_seconds=1),
            version,
            tmp_path / "endpoint",
            cluster=on(double),
        )


@pytest.mark.parametrize("wrong", ["version", "answer"])
def test_an_endpoint_that_answers_something_else_is_no_champion(
    double: KubernetesDouble, version: Path, tmp_path: Path, wings: Wings, wrong: str
) -> None:
    if wrong == "version":
        wings.version = "7"
    else:
        wings.answer["probabilities"] = [[0.5, 0.5], [0.5, 0.5]]
    expected = {
        "version": "another version answered; got 7; expected 1",
        "answer": "does not answer as the model does",
    }
    with pytest.raises(EndpointError, match=expected[wrong]):
        deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))


def test_a_dry_run_shows_what_would_change(
    double: KubernetesDouble, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    cluster = on(double)
    planned = deploy(parameters(dry_run=True), version, tmp_path / "a", cluster=cluster)
    assert "+    kfp-suite.io/version: '1'" in planned["changes"]
    assert cluster.find("wings", "models") is None
    deploy(parameters(), version, tmp_path / "b", cluster=cluster)
    second = pushed(models, tmp_path, 2)
    planned = deploy(parameters(dry_run=True), second, tmp_path / "c", cluster=cluster)
    assert "-    kfp-suite.io/version: '1'" in planned["changes"]
    again = deploy(parameters(dry_run=True), version, tmp_path / "d", cluster=cluster)
    assert again["changes"] == ""


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_what_is_transient_is_tried_again(
    double: KubernetesDouble, version: Path, tmp_path: Path, status: int
) -> None:
    double.fail_next(status, times=3)
    assert deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))["url"]


def test_an_api_that_never_answers_is_one_line(
    double: KubernetesDouble, version: Path, tmp_path: Path
) -> None:
    double.fail_next(503, times=100)
    with pytest.raises(TransientError, match="the Kubernetes API does not answer; got 503"):
        deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))


def test_the_role_is_enough_and_less_is_said(
    double: KubernetesDouble, version: Path, tmp_path: Path
) -> None:
    role = next(one for one in access("models", "deployer") if one["kind"] == "Role")
    double.allow_only(_TOKEN, role["rules"], "models")
    cluster = on(double, _TOKEN)
    deploy(parameters(), version, tmp_path / "endpoint", cluster=cluster)
    double.behave("*", Behaviour("crash_loop"))
    with pytest.raises(EndpointError) as caught:  # it may read all that says why
        deploy(parameters(settings={"timeout": 9}), version, tmp_path / "b", cluster=cluster)
    assert "cannot be read" not in str(caught.value)
    assert "cannot get resource" not in str(caught.value)
    double.deny("patch", "inferenceservices")
    with pytest.raises(StoreError, match='cannot patch resource "inferenceservices"') as refused:
        deploy(parameters(settings={"timeout": 8}), version, tmp_path / "c", cluster=cluster)
    assert "kfp-suite endpoints access" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "moon"}, "target: not allowed; got moon; expected local or cluster"),
        ({"timeout_seconds": 0}, "timeout_seconds: out of range"),
        ({"runtime": "mlsever"}, "unknown runtime 'mlsever'; did you mean 'mlserver'?"),
        ({"settings": {"replicas": 3}}, "settings: unknown key 'replicas'"),
        ({"settings": {"env": {"DB_PASSWORD": "x"}}}, "'DB_PASSWORD' looks like a secret"),
        ({"settings": {"name": "Late_Flights"}}, "use 'late-flights'"),
        ({"settings": {"min_replicas": 3, "max_replicas": 2}}, "below min_replicas"),
        ({"runtime_options": {"a": 1}}, "runtime 'kfp-suite' has no options"),
    ],
)
def test_bad_parameters_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        DeployParameters(**given)
    assert message in str(caught.value)


def test_a_bad_artifact_is_refused(version: Path, tmp_path: Path) -> None:
    (version / "pushed.json").write_text("{}")
    with pytest.raises(ContractError, match="not what push writes"):
        deploy(DeployParameters(), version, tmp_path / "endpoint")
    assert not (tmp_path / "endpoint").exists()


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("kind: Pod\n")
    with pytest.raises(KfpSuiteError, match="not an InferenceService of a published version"):
        read_served(file)
