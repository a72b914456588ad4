"""The manifests of our server, run as a kubelet would run them, in the image that they name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from kfp_suite.image_builder.bases import Bases
from kfp_suite.kserve.canary import Mode, mode_of
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.manifests import inference_service, server_image, serving_runtime
from kfp_suite.kserve.multi_model import shared_runtime, shared_service
from kfp_suite.kserve.settings import EndpointSettings, parse_settings
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.runtimes.runtime import MLSERVER, SKLEARN, SUITE, TRITON
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from kfp_suite.testing.kubernetes.kinds import Json
from kfp_suite.testing.kubernetes.kubelet import KubeletError, running_pod
from tests.container.conftest import Image
from tests.serving.conftest import publish
from tests.tensorflow.training import NUMBERS, features, fit, write_dataset

SECONDS = 240


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("served")
    found = ModelStore(FolderStore(folder / "store"))
    publish(found, "wings", folder / "made", "logistic_regression")
    return found


@pytest.fixture(scope="module")
def models(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 of `wings`."""
    return mounted(store, "wings", tmp_path_factory.mktemp("mounted"))


def mounted(store: ModelStore, name: str, folder: Path) -> Path:
    """A version as KServe's storage initializer leaves it: nobody's own, to be read by all."""
    store.fetch(name, 1, folder / "model")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder / "model"


@pytest.fixture(autouse=True)
def in_the_cluster(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IMAGE_VARIABLES["serving"], image("serving"))
    monkeypatch.setenv(STORE_VARIABLE, "pvc://claim/store")


@pytest.fixture(params=["Standard", "Knative"])
def mode(request: pytest.FixtureRequest) -> Mode:
    return mode_of(request.param)


def pods_of(component: str, mode: Mode, *manifests: Json) -> Json:
    """The spec of the pods that a cluster makes of manifests, the InferenceService last."""
    name = f"models/{manifests[-1]['metadata']['name']}-{component}"
    with running(KubernetesDouble(mode=mode)) as double:
        cluster = Cluster(double.client())
        for manifest in manifests:
            cluster.apply(manifest)
        if mode == "Knative":
            spec: Json = double.get("revisions", f"{name}-00001")["spec"]
        else:
            spec = double.get("deployments", name)["spec"]["template"]["spec"]
    return spec


def predictor_of(found: Deployable, mode: Mode) -> Json:
    settings = EndpointSettings()
    return pods_of(
        "predictor",
        mode,
        serving_runtime(server_image(found.served, settings), "models"),
        inference_service(found.served, namespace="models", settings=settings, mode=mode),
    )


def served(store: ModelStore, runtime: str = SUITE, name: str = "wings") -> Deployable:
    return Deployable.find(store, name, 1, runtime=runtime)


def answer_of(models: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's own request, and what it must be answered."""
    return (
        json.loads((models / "sample_request.json").read_text()),
        json.loads((models / "sample_answer.json").read_text()),
    )


def check_predictor(client: Any, spec: Json, models: Path, name: str) -> None:
    """Start a predictor, ask it for the model's own sample, and end it."""
    with running_pod(spec, models, client) as pod:
        pod.wait_until_ready(SECONDS)
        assert pod.succeeds("livenessProbe")
        request, answer = answer_of(models)
        found = httpx.post(f"{pod.address(8080)}/v1/models/{name}:predict", json=request)
        assert found.status_code == 200, found.text
        assert found.json()["predictions"] == answer["predictions"]
        assert found.json()["model_version"] == "1"
        assert pod.stop() == 0
        assert "Traceback" not in pod.log()


def test_the_predictor_starts_answers_and_ends(
    client: Any, store: ModelStore, models: Path, mode: Mode
) -> None:
    check_predictor(client, predictor_of(served(store), mode), models, "wings")


def test_a_network_is_served_by_its_own_image(
    client: Any, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IMAGE_VARIABLES["tensorflow"], image("tensorflow"))
    write_dataset(tmp_path)
    fit(tmp_path, features(tmp_path, tmp_path, *NUMBERS), tmp_path / "trained")
    store = ModelStore(FolderStore(tmp_path / "store"))
    store.publish("net", tmp_path / "trained", evaluation={}, run={}, parameters={})
    spec = predictor_of(served(store, name="net"), "Standard")
    assert spec["containers"][0]["image"] == image("tensorflow")
    check_predictor(client, spec, mounted(store, "net", tmp_path / "mounted"), "net")


def test_the_shared_server_loads_what_the_agent_brings(
    client: Any, store: ModelStore, models: Path, mode: Mode
) -> None:
    settings = parse_settings({"shared": "many"})
    version = served(store).served
    spec = pods_of(
        "predictor",
        mode,
        shared_runtime(server_image(version, settings), "models"),
        shared_service(version, "models", settings, mode),
    )
    with running_pod(spec, models.parent, client) as pod:
        pod.wait_until_ready(SECONDS)
        base = pod.address(8080)
        loaded = httpx.post(f"{base}/v2/repository/models/model/load", timeout=60)
        assert loaded.status_code == 200, loaded.text
        request, answer = answer_of(models)
        found = httpx.post(f"{base}/v1/models/model:predict", json=request)
        assert found.status_code == 200, found.text
        assert found.json()["predictions"] == answer["predictions"]
        assert pod.stop() == 0


@pytest.mark.parametrize(
    ("runtime", "stock", "mode"),
    [
        (SKLEARN, "kserve/sklearnserver:v0.20.0", "Standard"),
        (SKLEARN, "kserve/sklearnserver:v0.20.0", "Knative"),
        (MLSERVER, "registry.example.com/mlserver:1", "Standard"),
        (TRITON, "registry.example.com/tritonserver:1", "Standard"),
    ],
)
def test_the_transformer_asks_the_predictor(
    client: Any, store: ModelStore, models: Path, runtime: str, stock: str, mode: Mode
) -> None:
    settings = parse_settings({"image": stock})
    deployable = served(store, runtime)
    manifest = inference_service(
        deployable.served, namespace="models", settings=settings, mode=mode
    )
    spec = pods_of("transformer", mode, manifest)
    request, _ = answer_of(models)
    rows = len(request["instances"])
    with predictor(client, rows, is_binary=runtime == TRITON) as (host, asked):
        # KServe tells the transformer where its predictor is.
        server = spec["containers"][0]
        server["args"] = [*server["args"], f"--predictor_host={host}"]
        with running_pod(spec, models, client) as pod:
            pod.wait_until_ready(SECONDS)
            found = httpx.post(pod.address(8080) + "/v1/models/wings:predict", json=request)
            assert found.status_code == 200, found.text
            assert found.json()["probabilities"] == [[0.5, 0.5]] * rows
            assert pod.stop() == 0
    (body,) = asked
    (tensor,) = body["inputs"]
    assert tensor["shape"][0] == rows
    assert tensor["datatype"].startswith("FP")
    wanted = [{"name": "predict_proba"}] if runtime == MLSERVER else None
    assert body.get("outputs") == wanted


def test_a_kubelet_refuses_an_image_that_is_root(client: Any, found_bases: Bases) -> None:
    spec = {
        "containers": [
            {
                "name": "kserve-container",
                "image": found_bases.base,
                "securityContext": {"runAsNonRoot": True},
            }
        ]
    }
    with (
        pytest.raises(KubeletError, match="CreateContainerConfigError"),
        running_pod(spec, Path("/"), client),
    ):
        pass


def test_a_server_that_does_not_start_is_said(client: Any, store: ModelStore, models: Path) -> None:
    spec = predictor_of(served(store), "Standard")
    del spec["containers"][0]["command"]
    with pytest.raises(KubeletError, match="StartError"), running_pod(spec, models, client):
        pass


def test_a_probe_that_never_succeeds_is_said(client: Any, store: ModelStore, models: Path) -> None:
    spec = predictor_of(served(store), "Standard")
    spec["containers"][0]["startupProbe"]["httpGet"]["path"] = "/nowhere"
    with (
        running_pod(spec, models, client) as pod,
        pytest.raises(KubeletError, match="Unhealthy: startupProbe failed"),
    ):
        pod.wait_until_ready(5)


@contextmanager
def predictor(
    client: Any, rows: int, *, is_binary: bool
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A predictor that finds both classes as likely, and that containers can ask.

    Args:
        client: Of Docker's daemon.
        rows: That it is asked for.
        is_binary: Whether it says that it takes tensors as bytes, as Triton does.

    Returns:
        Its address, and the bodies that it was sent, without such bytes.
    """
    scores = {"name": "output-0", "shape": [rows, 2], "datatype": "FP64", "data": [0.5] * 2 * rows}
    extensions = ["binary_tensor_data"] if is_binary else []
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state = {"status": "alive", "ready": True, "name": "wings"}
            self._answer({**state, "extensions": extensions})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            head = self.headers.get("inference-header-content-length")
            assert (head is not None) == is_binary
            asked.append(json.loads(body[: int(head)] if head else body))
            self._answer({"model_name": "wings", "id": "1", "outputs": [scores]})

        def _answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    bridge = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    address = bridge.get("Gateway") or bridge["Subnet"].rpartition(".")[0] + ".1"
    server = ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield f"{address}:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
