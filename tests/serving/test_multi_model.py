"""One server for many models: what KServe's agent leaves in its folder and asks it to load."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from kserve.protocol.grpc.grpc_predict_v2_pb2 import (
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
)
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.contracts.errors import EndpointError, ParameterError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.manifests import artifact_version
from kfp_suite.kserve.pods import served_securely
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.runtimes.local import free_port
from kfp_suite.server.versions import Repository, RepositoryExtension
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS
from tests.serving.conftest import publish
from tests.serving.test_endpoint import BROKEN_WHEN_SERVED, RECORD

_CLAIM = "pvc://claim/store"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "models"
    found.mkdir()
    return found


@pytest.fixture
def grpc_port() -> int:
    return free_port()


@pytest.fixture
def base(folder: Path, grpc_port: int) -> Iterator[str]:
    """The address of a server that begins without a model."""
    port = free_port()
    arguments = ["--multi_model", f"--model_dir={folder}", "--host=127.0.0.1"]
    ports = [f"--http_port={port}", f"--grpc_port={grpc_port}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kfp_suite.server", *arguments, *ports],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(2400):  # on a busy machine
            try:
                if httpx.get(f"{address}/v2/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(240)


def test_its_pods_probes_answer_before_there_is_a_model(base: str) -> None:
    probes = [one["httpGet"]["path"] for one in served_securely().values() if "httpGet" in one]
    assert len(probes) == 3
    assert [httpx.get(base + path).status_code for path in probes] == [200, 200, 200]


def copied(models: ModelStore, name: str, version: int, folder: Path) -> str:
    """What the agent does; what the server will call it."""
    shutil.rmtree(folder / name, ignore_errors=True)
    models.fetch(name, version, folder / name)
    return artifact_version(models.manifest(name, version).digest)


def load(base: str, name: str, act: str = "load") -> int:
    return httpx.post(f"{base}/v2/repository/models/{name}/{act}", timeout=240).status_code


def asked(base: str, name: str) -> httpx.Response:
    return httpx.post(f"{base}/v1/models/{name}:predict", json={"instances": [RECORD]}, timeout=240)


def test_models_come_change_and_go(models: ModelStore, base: str, folder: Path) -> None:
    assert asked(base, "wings").status_code == 404
    first = copied(models, "wings", 1, folder)
    copied(models, "feet", 1, folder)
    assert (load(base, "wings"), load(base, "feet")) == (200, 200)
    assert httpx.get(f"{base}/v2/models").json() == {"models": ["wings", "feet"]}
    assert asked(base, "wings").headers["x-model-version"] == first
    second = copied(models, "wings", 2, folder)
    assert asked(base, "wings").headers["x-model-version"] == first
    assert load(base, "wings") == 200
    assert asked(base, "wings").headers["x-model-version"] == second != first
    assert asked(base, "feet").status_code == 200
    assert load(base, "wings", "unload") == 200
    assert asked(base, "wings").status_code == 404


def test_what_is_no_model_is_refused_and_the_others_go_on(
    models: ModelStore, base: str, folder: Path
) -> None:
    first = copied(models, "wings", 1, folder)
    assert load(base, "wings") == 200
    for name in ("nobody", "..%2fmodels%2fwings", "Wings", "%2e%2e"):
        assert load(base, name) == 404, name
    copied(models, "wings", 2, folder)
    payload = next(one for one in (folder / "wings").iterdir() if one.suffix in (".onnx", ".skops"))
    payload.write_bytes(payload.read_bytes()[:-1] + b"x")
    assert load(base, "wings") == 400
    assert asked(base, "wings").headers["x-model-version"] == first


def test_they_come_and_go_over_grpc_too(
    models: ModelStore, base: str, grpc_port: int, folder: Path
) -> None:
    copied(models, "wings", 1, folder)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        service = GRPCInferenceServiceStub(channel)
        assert service.RepositoryModelLoad(RepositoryModelLoadRequest(model_name="wings")).isLoaded
        assert asked(base, "wings").status_code == 200
        gone = RepositoryModelUnloadRequest(model_name="wings")
        assert service.RepositoryModelUnload(gone).isUnloaded
        assert asked(base, "wings").status_code == 404
        with pytest.raises(grpc.RpcError) as refused:
            service.RepositoryModelUnload(gone)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_one_that_cannot_predict_is_refused_and_says_why(
    models: ModelStore, base: str, folder: Path, tmp_path: Path
) -> None:
    copied(models, "feet", 1, folder)
    assert load(base, "feet") == 200
    broken = ModelStore(FolderStore(tmp_path / "store"))
    publish(broken, "wings", tmp_path / "made", "logistic_regression", BROKEN_WHEN_SERVED)
    copied(broken, "wings", 1, folder)
    answer = httpx.post(f"{base}/v2/repository/models/wings/load", timeout=240)
    assert answer.status_code == 400
    assert answer.json() == {"error": "model 'wings' cannot be loaded: RuntimeError: out of order"}
    assert asked(base, "feet").status_code == 200


def test_one_that_went_holds_no_memory_and_no_thread(models: ModelStore, folder: Path) -> None:
    copied(models, "wings", 1, folder)
    repository = Repository(folder)
    repository.read_all()
    before = threading.active_count()
    served = repository.get_model("wings")
    many = {"instances": [RECORD] * 2000}
    assert len(asyncio.run(served.predict(many))["predictions"]) == 2000
    assert threading.active_count() > before
    held = [weakref.ref(one) for one in (served, served._current, served._current.model)]
    del served
    asyncio.run(RepositoryExtension(repository).unload("wings"))
    gc.collect()
    assert [one() for one in held] == [None] * 3
    deadline = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step is told there: the image lock's image, and its folder's claim."""
    monkeypatch.setenv(IMAGE_VARIABLES["serving"], "registry.example.com/server@sha256:1")
    monkeypatch.setenv(STORE_VARIABLE, _CLAIM)


@contextmanager
def agent(
    double: KubernetesDouble,
    models: ModelStore,
    base: str,
    folder: Path,
    unreadable: str = "",
) -> Iterator[None]:
    """KServe's: it copies what TrainedModels name, and asks the server to load it; but for a
    storage that it cannot read."""
    ended = threading.Event()
    done: dict[str, str] = {}

    def run() -> None:
        while not ended.wait(0.05):
            for one in double.objects("trainedmodels", "models"):
                name, uri = one["metadata"]["name"], one["spec"]["model"]["storageUri"]
                if uri not in (done.get(name), unreadable):
                    shutil.rmtree(folder / name, ignore_errors=True)
                    shutil.copytree(uri.replace(_CLAIM, models.store.uri), folder / name)
                    done[name] = uri
                    load(base, name)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def deployed(
    models: ModelStore, double: KubernetesDouble, folder: Path, name: str, version: int, **more: Any
) -> dict[str, Any]:
    pushed = folder / "pushed"
    pushed.mkdir(parents=True)
    content = {"store": models.store.uri, "model": name, "version": version}
    (pushed / "pushed.json").write_text(json.dumps(content))
    given = {"settings": {"shared": "zoo"}, "timeout_seconds": 20, **more}
    parameters = DeployParameters(target="cluster", namespace="models", **given)
    _, role, _ = access("models", "deployer")
    double.allow_only("deployer", role["rules"], "models")
    cluster = Cluster(double.client("deployer"), sleep=lambda seconds: time.sleep(seconds / 20))
    return deploy(parameters, pushed, folder / "endpoint", cluster=cluster)


@pytest.fixture
def double(base: str) -> Iterator[KubernetesDouble]:
    with running(KubernetesDouble(crds=CRDS, mode="Standard")) as found:
        found.endpoint = base
        yield found


def test_versions_are_deployed_into_one_server(
    models: ModelStore, base: str, folder: Path, double: KubernetesDouble, tmp_path: Path
) -> None:
    with agent(double, models, base, folder):
        found = deployed(models, double, tmp_path / "a", "wings", 1)
        assert found["url"] == base
        assert found["manifest"].endswith("trainedmodel.yaml")
        deployed(models, double, tmp_path / "b", "feet", 1)
        deployed(models, double, tmp_path / "c", "wings", 2)
    assert models.aliases("wings")[CHAMPION] == 2
    second = artifact_version(models.manifest("wings", 2).digest)
    assert asked(base, "wings").headers["x-model-version"] == second
    assert asked(base, "feet").status_code == 200
    (service,) = double.objects("inferenceservices")
    assert service["metadata"]["name"] == "zoo"
    assert "storageUri" not in service["spec"]["predictor"]["model"]
    written = yaml.safe_load((tmp_path / "c" / "endpoint" / "trainedmodel.yaml").read_text())
    assert written["spec"]["inferenceService"] == "zoo"


def test_a_model_that_is_not_loaded_gives_way_to_the_one_before(
    models: ModelStore, base: str, folder: Path, double: KubernetesDouble, tmp_path: Path
) -> None:
    second = models.model_uri(models.manifest("wings", 2)).replace(models.store.uri, _CLAIM)
    with agent(double, models, base, folder, unreadable=second):
        deployed(models, double, tmp_path / "a", "wings", 1)
        with pytest.raises(EndpointError, match="version 1, which served before, serves again"):
            deployed(models, double, tmp_path / "b", "wings", 2, timeout_seconds=1)
        live = double.get("trainedmodels", "models/wings")
        assert live["metadata"]["annotations"]["kfp-suite.io/version"] == "1"
        with pytest.raises(EndpointError) as kept:
            deployed(
                models, double, tmp_path / "c", "wings", 2, timeout_seconds=1, on_failure="keep"
            )
    assert "served before" not in str(kept.value)
    assert double.get("trainedmodels", "models/wings")["spec"]["model"]["storageUri"] == second
    assert models.aliases("wings")[CHAMPION] == 1


def test_a_model_that_is_not_loaded_says_why(
    models: ModelStore, double: KubernetesDouble, tmp_path: Path
) -> None:
    with pytest.raises(EndpointError) as refused:
        deployed(models, double, tmp_path / "a", "wings", 1, timeout_seconds=1)
    assert "the shared server does not serve the model in time" in str(refused.value)
    assert "TrainedModel models/wings of zoo" in str(refused.value)
    planned = deployed(models, double, tmp_path / "b", "wings", 2, dry_run=True)
    assert "+    kfp-suite.io/version: '2'" in planned["changes"]


def test_a_shared_server_has_no_options() -> None:
    with pytest.raises(ParameterError, match="runtime_options: a shared server has no options"):
        DeployParameters(
            target="cluster", settings={"shared": "zoo"}, runtime_options={"workers": 2}
        )


@pytest.mark.parametrize(
    "given", [{"target": "local"}, {"target": "cluster", "runtime": "mlserver"}]
)
def test_only_our_server_on_a_cluster_is_shared(given: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="only our server, on a cluster, is shared"):
        DeployParameters(settings={"shared": "zoo"}, **given)
