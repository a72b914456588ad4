"""Every server on the storage URI that deploy would use, asked and compared with the model.

KServe's scikit-learn server is in its image alone: a stand-in takes its place (sklearn_server.py).
KFP_SUITE_SKLEARNSERVER=<a checkout of KServe>/python/sklearnserver starts KServe's own instead,
where `kserve-storage` is installed, too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import MLSERVER_METRICS, inference_service
from kfp_suite.kserve.settings import EndpointSettings
from kfp_suite.models.loading import load_model
from kfp_suite.models.request_parsing import record_format, table_of_records
from kfp_suite.runtimes.http_client import ask
from kfp_suite.runtimes.launching import Loaded, start
from kfp_suite.runtimes.local import Launch, LocalServer, free_port
from kfp_suite.runtimes.protocol import Question, difference
from kfp_suite.stores.versions import ModelStore
from tests.servers.conftest import environment, use

START_SECONDS = 120
TOLERANCE = 1e-5
MISSING_KEPT = 3


@contextmanager
def served(
    models: ModelStore, folder: Path, runtime: str, version: int = 1, **more: Any
) -> Iterator[tuple[LocalServer, Deployable]]:
    """A version on `runtime`, started on what its storage URI holds."""
    found = Deployable.find(models, "wings", version, runtime=runtime, **more)
    layout = folder / "layout"
    if runtime == "kfp-suite":
        models.fetch("wings", version, layout)
    else:
        models.fetch_layout("wings", found.served.storage_uri, layout)
    with start(runtime, Loaded("wings", version, layout)) as server:
        server.wait(START_SECONDS)
        yield server, found


def agrees(server: LocalServer, deployable: Deployable) -> float:
    """How far the server's answer is from the model's own."""
    settings = EndpointSettings(transformer=False)
    manifest = inference_service(
        deployable.served, namespace="models", settings=settings, options=deployable.options
    )
    sample, question = deployable.question(manifest)
    return difference(sample, server.ask(question).body)


def infer(port: int, request: ModelInferRequest) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)


def numbers(answer: Any) -> list[float]:
    """Of the first output, whatever its datatype."""
    contents = answer.outputs[0].contents
    return list(contents.fp32_contents) or list(contents.fp64_contents)


def features_request(deployable: Deployable, *outputs: str) -> ModelInferRequest:
    request = ModelInferRequest(model_name="wings")
    rows = deployable.sample.features
    tensor = request.inputs.add(name="features", datatype="FP32", shape=[len(rows), len(rows[0])])
    tensor.contents.fp32_contents.extend(
        value for row in rows for value in row if value is not None
    )
    for output in outputs:
        request.outputs.add(name=output)
    return request


def test_our_server(models: ModelStore, tmp_path: Path) -> None:
    with served(models, tmp_path, "kfp-suite") as (server, deployable):
        assert agrees(server, deployable) <= TOLERANCE


def test_mlserver(models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use("mlserver", monkeypatch)
    with served(models, tmp_path, "mlserver") as (server, deployable):
        assert agrees(server, deployable) <= TOLERANCE
        answer = infer(server.grpc_port, features_request(deployable, "predict_proba"))
        expected = [value for row in deployable.sample.scores for value in row]
        assert numbers(answer) == pytest.approx(expected, abs=TOLERANCE)
        assert answer.model_version == "1"


def test_mlservers_metrics_are_where_the_manifest_says() -> None:
    python = environment("mlserver") / "bin" / "python"
    code = "from mlserver.settings import Settings as s; print(s().metrics_port, s().http_port)"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [MLSERVER_METRICS["prometheus.kserve.io/port"], "8080"]


@contextmanager
def sklearn_served(
    models: ModelStore, folder: Path, version: int = 1
) -> Iterator[tuple[LocalServer, Deployable]]:
    """A version on KServe's scikit-learn server, as the manifest of deploy has it."""
    found = Deployable.find(models, "wings", version, runtime="sklearn")
    manifest = inference_service(found.served, namespace="models")
    model = manifest["spec"]["predictor"]["model"]
    layout = folder / "layout"
    models.fetch_layout("wings", model["storageUri"], layout)
    own = os.environ.get("KFP_SUITE_SKLEARNSERVER")
    environment = {one["name"]: one["value"] for one in model["env"]}
    if own:
        environment["PYTHONPATH"] = os.pathsep.join([own, os.environ.get("PYTHONPATH", "")])
    port, grpc_port = free_port(), free_port()
    module = "sklearnserver" if own else "tests.servers.sklearn_server"
    command = [sys.executable, "-m", module, "--model_name=wings", f"--model_dir={layout}"]
    command += [f"--http_port={port}", f"--grpc_port={grpc_port}"]
    launch = Launch(
        tuple(command), "/v2/models/wings/ready", environment=environment, grpc_port=grpc_port
    )
    with LocalServer(launch, port) as server:
        server.wait(START_SECONDS)
        yield server, found


def test_sklearn(models: ModelStore, tmp_path: Path) -> None:
    with sklearn_served(models, tmp_path) as (server, deployable):
        assert [one.name for one in (tmp_path / "layout").iterdir()] == ["model.joblib"]
        assert agrees(server, deployable) <= TOLERANCE
        expected = [value for row in deployable.sample.scores for value in row]
        instances = {"instances": deployable.sample.features}
        v1 = server.ask(Question("/v1/models/wings:predict", instances)).body["predictions"]
        assert [value for row in v1 for value in row] == pytest.approx(expected, abs=TOLERANCE)
        answer = infer(server.grpc_port, features_request(deployable))
        assert list(answer.outputs[0].shape) == [len(deployable.sample.scores), 2]
        assert numbers(answer) == pytest.approx(expected, abs=TOLERANCE)


def behind_our_transformer(
    models: ModelStore, folder: Path, predictor: LocalServer, deployable: Deployable
) -> None:
    """Raw records to our transformer before the predictor give what the model gives; where
    some of them lack a number, too."""
    models.fetch("wings", MISSING_KEPT, folder / "artifact")
    manifest = inference_service(deployable.served, namespace="models")
    arguments = manifest["spec"]["transformer"]["containers"][0]["args"]
    wanted = [a.partition("=")[2] for a in arguments if a.startswith("--predictor_outputs=")]
    host = "/".join([predictor.base.removeprefix("http://"), *wanted])
    loaded = Loaded("wings", MISSING_KEPT, folder / "artifact")
    with start("kfp-suite", loaded, predictor=host) as transformer:
        transformer.wait(START_SECONDS)
        question = Question("/v1/models/wings:predict", deployable.sample.request)
        answer = transformer.ask(question)
        assert difference(deployable.sample, answer.body) <= TOLERANCE
        assert isinstance(answer.body["predictions"][0], bool)
        assert answer.version == str(MISSING_KEPT)
        gaps = [{**record, "weight": None} for record in deployable.sample.records]
        model = load_model(folder / "artifact")
        expected = model.predict(table_of_records(gaps, record_format(model.manifest)))
        got = transformer.ask(Question(question.path, {"instances": gaps})).body
        assert np.allclose(got["probabilities"], expected.probabilities, atol=TOLERANCE)
        assert not np.allclose(got["probabilities"], answer.body["probabilities"], atol=TOLERANCE)
        # The answer is the predictor's: without it there is none.
        predictor.stop()
        with pytest.raises(EndpointError, match="the predictor does not answer"):
            transformer.ask(question)


def test_sklearn_behind_our_transformer(models: ModelStore, tmp_path: Path) -> None:
    with sklearn_served(models, tmp_path, MISSING_KEPT) as (server, deployable):
        behind_our_transformer(models, tmp_path, server, deployable)


def test_mlserver_behind_our_transformer(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("mlserver", monkeypatch)
    with served(models, tmp_path, "mlserver", MISSING_KEPT) as (server, deployable):
        behind_our_transformer(models, tmp_path, server, deployable)


def test_triton_behind_our_transformer(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("triton", monkeypatch)
    options = {"backend": "python"}
    with served(models, tmp_path, "triton", MISSING_KEPT, options=options) as (
        server,
        deployable,
    ):
        behind_our_transformer(models, tmp_path, server, deployable)


@pytest.mark.parametrize("ensemble", [False, True])
def test_triton(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ensemble: bool
) -> None:
    use("triton", monkeypatch)
    options = {"backend": "python", "ensemble": ensemble}
    with served(models, tmp_path, "triton", options=options) as (server, deployable):
        assert agrees(server, deployable) <= TOLERANCE
        if ensemble:
            sample = deployable.sample.picked([0])
            columns = {name: [value] for name, value in sample.records[0].items()}
            tensors = [
                {"name": "span", "shape": [1, 1], "datatype": "INT64", "data": columns["span"]},
                {"name": "weight", "shape": [1, 1], "datatype": "FP64", "data": [1.0]},
                {"name": "kind", "shape": [1, 1], "datatype": "BYTES", "data": columns["kind"]},
                {"name": "seen", "shape": [1, 1], "datatype": "BYTES", "data": ["yesterday"]},
            ]
            with pytest.raises(EndpointError, match=r"inputs\.seen\[0\].*expected a time"):
                server.ask(Question("/v2/models/wings/infer", {"inputs": tensors}))
        else:
            answer = infer(server.grpc_port, features_request(deployable))
            assert answer.outputs[0].name == "scores"
            assert len(answer.raw_output_contents[0]) == 2 * 2 * 4


def test_triton_serves_two_versions(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("triton", monkeypatch)
    options: dict[str, Any] = {
        **{"backend": "python", "instances": 2, "max_batch_size": 16},
        **{"preferred_batch_sizes": [4, 8], "max_queue_delay_microseconds": 250},
    }
    two = served(models, tmp_path, "triton", 2, options=options, beside=[1])
    with two as (server, second):
        # Who names no version gets the one that is deployed.
        assert agrees(server, second) <= TOLERANCE
        first = Deployable.find(models, "wings", 1, runtime="triton", options=options)
        for deployable, version in ((first, 1), (second, 2)):
            manifest: Mapping[str, Any] = {"spec": {}}
            sample, question = deployable.question(manifest)
            path = f"/v2/models/wings/versions/{version}/infer"
            answer = server.ask(Question(path, question.body))
            assert difference(sample, answer.body) <= TOLERANCE
            assert answer.version == str(version)
        read = json.loads(get(f"{server.base}/v2/models/wings/config"))
        assert read["max_batch_size"] == 16
        assert read["dynamic_batching"]["preferred_batch_size"] == [4, 8]
        assert read["dynamic_batching"]["max_queue_delay_microseconds"] == 250
        assert read["version_policy"] == {"all": {}}
        assert [group["count"] for group in read["instance_group"]] == [2]


def test_torchserve_serves_two_versions_to_who_has_a_token(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("torchserve", monkeypatch)
    # The default is not the newest, and batches do not have TorchServe's own size.
    options = {"batch_size": 4, "max_batch_delay": 7}
    options["token_expiration_minutes"] = 1000
    with served(models, tmp_path, "torchserve", options=options, beside=[2]) as (server, first):
        assert agrees(server, first) <= TOLERANCE
        second = Deployable.find(models, "wings", 2)
        for path, asked, version in (
            ("/predictions/wings", first, "1"),
            ("/predictions/wings/1.0", first, "1"),
            ("/predictions/wings/2.0", second, "2"),
        ):
            answer = server.ask(Question(path, asked.sample.request))
            assert difference(asked.sample, answer.body) <= TOLERANCE
            assert answer.version == version
        assert difference(second.sample, server.ask(first_of(first)).body) > TOLERANCE
        with pytest.raises(EndpointError, match=r"answered 400.*unknown field 'wingspan'"):
            server.ask(Question("/predictions/wings", {"instances": [{"wingspan": 3}]}))

        keys = torchserve_keys(server)
        wrong: tuple[dict[str, str], ...] = ({}, bearer("wrong"), bearer(keys["management"]))
        for headers in wrong:
            with pytest.raises(EndpointError, match=r"answered 400.*Token Authorization failed"):
                ask(server.base, first_of(first), headers=headers)
        # Whoever asks for its health needs one, too: KServe's probes have none.
        with pytest.raises(OSError, match="400"):
            get(f"{server.base}/ping")
        assert "Healthy" in get(f"{server.base}/ping", bearer(keys["inference"]))
        said = ask(server.base, first_of(first), headers=bearer(keys["inference"]))
        assert difference(first.sample, said.body) <= TOLERANCE

        body = json.dumps(first.sample.request).encode()
        key = server.headers()["Authorization"]
        over_grpc = torchserve_over_grpc(server.grpc_port, body, {"authorization": key})
        assert difference(first.sample, over_grpc) <= TOLERANCE
        with pytest.raises(grpc.RpcError) as refused:
            torchserve_over_grpc(server.grpc_port, body, {})
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

        described = get(
            torchserve_address(server, "management") + "/models/wings/all",
            bearer(keys["management"]),
        )
        loaded = {version["modelVersion"]: version for version in json.loads(described)}
        assert set(loaded) == {"1.0", "2.0"}
        for version in loaded.values():
            assert (version["batchSize"], version["maxBatchDelay"]) == (4, 7)
        # Prometheus asks without a token.
        metrics = get(torchserve_address(server, "metrics") + "/metrics")
        assert re.search(
            r'ts_inference_requests_total\{model_name="wings",.*model_version="2', metrics
        )


def test_torchserve_without_tokens_and_metrics_in_the_log(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("torchserve", monkeypatch)
    options = {"token_authentication": False, "metrics_mode": "log"}
    with served(models, tmp_path, "torchserve", options=options) as (server, deployable):
        assert server.headers() == {}
        assert agrees(server, deployable) <= TOLERANCE
        with pytest.raises(OSError, match=r"404|refused"):
            get(torchserve_address(server, "metrics") + "/metrics")


def first_of(deployable: Deployable) -> Question:
    return Question("/predictions/wings", deployable.sample.request)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def get(url: str, headers: Mapping[str, str] | None = None) -> str:
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(response.read().decode())


def torchserve_folder(server: LocalServer) -> Path:
    """Where it runs, and so where it writes its tokens."""
    return Path(f"/proc/{server.process.pid}/cwd").resolve()


def torchserve_keys(server: LocalServer) -> dict[str, str]:
    """By what each is for; every one that expires does so in 1,000 minutes."""
    found = json.loads((torchserve_folder(server) / "key_file.json").read_text())
    assert "expiration time" in found["inference"]
    for key in found.values():
        if "expiration time" in key:
            left = datetime.fromisoformat(key["expiration time"]) - datetime.now(UTC)
            assert timedelta(minutes=990) < left < timedelta(minutes=1001)
    return {name: key["key"] for name, key in found.items()}


def torchserve_address(server: LocalServer, api: str) -> str:
    lines = (torchserve_folder(server) / "config.properties").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{api}_address="))


def torchserve_over_grpc(port: int, body: bytes, metadata: Mapping[str, str]) -> Any:
    """One prediction by TorchServe's own service."""
    request, response = _torchserve_messages()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        message = request(model_name="wings", input={"body": body})
        return json.loads(call(message, metadata=tuple(metadata.items()), timeout=30).prediction)


def _torchserve_messages() -> tuple[Any, Any]:
    """Its `PredictionsRequest` and `PredictionResponse`, as far as they are used."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="torchserve_test.proto", package="org.pytorch.serve.grpc.inference", syntax="proto3"
    )
    request = file.message_type.add(name="PredictionsRequest")
    request.field.add(name="model_name", number=1, type=kinds.TYPE_STRING, label=1)
    request.field.add(name="model_version", number=2, type=kinds.TYPE_STRING, label=1)
    entry = request.nested_type.add(name="InputEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=kinds.TYPE_BYTES, label=1)
    request.field.add(
        name="input",
        number=3,
        type=kinds.TYPE_MESSAGE,
        label=3,
        type_name=".org.pytorch.serve.grpc.inference.PredictionsRequest.InputEntry",
    )
    response = file.message_type.add(name="PredictionResponse")
    response.field.add(name="prediction", number=1, type=kinds.TYPE_BYTES, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    package = "org.pytorch.serve.grpc.inference"
    classes = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in ("PredictionsRequest", "PredictionResponse")
    ]
    return classes[0], classes[1]
