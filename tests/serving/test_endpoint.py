"""The real server, real HTTP: V1 and V2, versions, and what bad requests are told."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import (
    ModelInferRequest,
    ModelMetadataRequest,
    ModelReadyRequest,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
)
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.local.serving import Endpoint, local_endpoint
from kfp_suite.runtimes.local import free_port
from kfp_suite.server.serving import POLL_SECONDS
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from tests.serving.conftest import publish

# It predicts where it is trained, and never where it is served.
BROKEN_WHEN_SERVED = """
import sys
from sklearn.linear_model import LogisticRegression

class Broken(LogisticRegression):
    def predict_proba(self, X):
        if {"serve", "--multi_model"} & set(sys.orig_argv):
            raise RuntimeError("out of order")
        return super().predict_proba(X)

def fit(training):
    return Broken().fit(training.train.matrix, training.train.target)
"""
RECORD = {"span": 7, "weight": 3.5, "kind": "a", "seen": "2024-01-05T08:00:00"}


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def endpoint(models: ModelStore, grpc_port: int) -> Iterator[Endpoint]:
    uri = models.store.uri
    arguments = [f"{uri}/feet/1", "--grpc-port", str(grpc_port)]
    with local_endpoint(f"{uri}/wings/1", "wings", arguments=arguments) as served:
        yield served


def post(endpoint: Endpoint, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(
        endpoint.base + path,
        content=content,
        headers={"content-type": "application/json"},
        timeout=30,
    )


def v1(endpoint: Endpoint, body: Any) -> httpx.Response:
    return post(endpoint, "/v1/models/wings:predict", body)


def test_v1_takes_records(endpoint: Endpoint) -> None:
    response = v1(endpoint, {"instances": [RECORD, {**RECORD, "span": 9}]})
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["x-model-version"] == "1"
    assert answer["model_version"] == "1"
    assert len(answer["predictions"]) == 2
    assert all(abs(sum(row) - 1) < 1e-6 for row in answer["probabilities"])


def test_columns_records_and_v2_say_the_same(endpoint: Endpoint) -> None:
    records = v1(endpoint, {"instances": [RECORD]}).json()
    columns = v1(endpoint, {"inputs": {name: [value] for name, value in RECORD.items()}}).json()
    response = post(endpoint, "/v2/models/wings/infer", {"inputs": tensors()})
    assert response.status_code == 200, response.text
    v2 = response.json()
    assert columns == records
    assert v2["model_version"] == "1"
    outputs = {output["name"]: output["data"] for output in v2["outputs"]}
    assert outputs["prediction"] == records["predictions"]
    assert outputs["probabilities"] == records["probabilities"][0]


def test_several_models_are_served_by_name(endpoint: Endpoint) -> None:
    answers = {
        name: post(endpoint, f"/v1/models/{name}:predict", {"instances": [RECORD]}).json()
        for name in ("wings", "feet")
    }
    assert answers["wings"]["probabilities"] != answers["feet"]["probabilities"]
    assert httpx.get(f"{endpoint.base}/v2/models").json() == {"models": ["wings", "feet"]}


def test_grpc_says_what_http_says(endpoint: Endpoint, grpc_port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        service = GRPCInferenceServiceStub(channel)
        found = service.ModelInfer(grpc_request(RECORD))
        tensors = {output.name: output.contents for output in found.outputs}
        expected = v1(endpoint, {"instances": [RECORD]}).json()
        assert found.model_version == "1"
        assert list(tensors["prediction"].bool_contents) == expected["predictions"]
        assert list(tensors["probabilities"].fp64_contents) == expected["probabilities"][0]
        with pytest.raises(grpc.RpcError) as refused:
            service.ModelInfer(grpc_request({"span": 7, "kindness": "a"}))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "unknown field 'kindness'; did you mean 'kind'?" in refused.value.details()


def grpc_request(record: dict[str, Any]) -> ModelInferRequest:
    request = ModelInferRequest(model_name="wings")
    for name, value in record.items():
        tensor = request.inputs.add(name=name, shape=[1])
        if isinstance(value, str):
            tensor.datatype = "BYTES"
            tensor.contents.bytes_contents.append(value.encode())
        elif isinstance(value, float):
            tensor.datatype = "FP64"
            tensor.contents.fp64_contents.append(value)
        else:
            tensor.datatype = "INT64"
            tensor.contents.int64_contents.append(value)
    return request


def test_a_large_request_does_not_hold_up_a_small_one(endpoint: Endpoint) -> None:
    large = json.dumps({"instances": [RECORD] * 60_000}).encode()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(v1, endpoint, large)
        waits = []
        while not slow.done():
            started = time.monotonic()
            v1(endpoint, {"instances": [RECORD]})
            waits.append(time.monotonic() - started)
        assert len(slow.result().json()["predictions"]) == 60_000
    assert len(waits) > 1


def test_requests_that_arrive_together_are_answered_each_as_alone(endpoint: Endpoint) -> None:
    records = [{**RECORD, "span": span} for span in range(60)]
    records[30]["kind"] = 3
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda r: v1(endpoint, {"instances": [r]}), records))
    assert [found.status_code for found in together] == [200] * 30 + [400] + [200] * 29
    alone = [v1(endpoint, {"instances": [record]}).json() for record in records]
    assert [found.json() for found in together] == alone


def test_a_port_in_use_is_said_so(models: ModelStore, endpoint: Endpoint, grpc_port: int) -> None:
    where = f"{models.store.uri}/wings/1"
    with (
        pytest.raises(EndpointError, match=f"port {endpoint.port} cannot be used"),
        local_endpoint(where, "none", endpoint.port),
    ):
        pass
    with (
        pytest.raises(EndpointError, match=f"port {grpc_port} cannot be used"),
        local_endpoint(where, "none", arguments=["--grpc-port", str(grpc_port)]),
    ):
        pass


def test_null_is_missing_where_the_model_imputes(endpoint: Endpoint) -> None:
    null = v1(endpoint, {"instances": [{**RECORD, "weight": None}]})
    left_out = v1(endpoint, {"instances": [{k: v for k, v in RECORD.items() if k != "weight"}]})
    assert null.status_code == 200
    assert null.json() == left_out.json()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"instances": [{**RECORD, "wingspan": 3}]},
            "instances[0]: unknown field 'wingspan'; did you mean 'span'?",
        ),
        (
            {"instances": [RECORD, {**RECORD, "span": "wide"}]},
            "instances[1].span: got 'wide'; expected a whole number or null; "
            "see the model's metadata",
        ),
        (
            {"instances": [{**RECORD, "kind": 3, "weight": True}]},
            "instances[0].weight: got True; expected a number or null; "
            'instances[0].kind: got 3; expected text, as "3" or null; see the model\'s metadata',
        ),
        (
            {"instances": [{**RECORD, "seen": "yesterday"}]},
            "instances[0].seen: got 'yesterday'; expected a time as 2013-01-31T08:30:00 or null; "
            "see the model's metadata",
        ),
        ({"instances": []}, "instances: no records; got an empty list; expected a list of objects"),
        (
            {"records": [RECORD]},
            "no records in the request; got records; "
            'expected {"instances": [{...}]} or {"inputs": {"field": [...]}}',
        ),
    ],
)
def test_a_bad_request_is_told_field_got_and_expected(
    endpoint: Endpoint, body: Any, message: str
) -> None:
    response = v1(endpoint, body)
    assert (response.status_code, response.json()) == (400, {"error": message})


def test_json_without_its_content_type_is_read(endpoint: Endpoint) -> None:
    content = json.dumps({"instances": [RECORD]}).encode()
    form = {"content-type": "application/x-www-form-urlencoded"}
    found = httpx.post(endpoint.url, content=content, headers=form, timeout=30)
    assert found.json() == v1(endpoint, {"instances": [RECORD]}).json()


def test_what_is_not_json_is_a_bad_request(endpoint: Endpoint) -> None:
    assert v1(endpoint, b"{").status_code == 400


def test_a_v2_tensor_of_another_type_is_a_bad_request(endpoint: Endpoint) -> None:
    tensor = {"name": "kind", "shape": [1], "datatype": "FP64", "data": [1.0]}
    response = post(endpoint, "/v2/models/wings/infer", {"inputs": [tensor]})
    assert response.status_code == 400
    assert response.json() == {"error": "inputs.kind: another datatype; got FP64; expected BYTES"}


@pytest.mark.parametrize("data", [[[1], 2], [[1, 2]], [["1"], "bc"], [[[1]], [[2]]]])
def test_a_tensor_that_is_not_nested_as_its_shape_is_a_bad_request(
    endpoint: Endpoint, data: Any
) -> None:
    tensor = {"name": "span", "shape": [2, 1], "datatype": "INT64", "data": data}
    answer = post(endpoint, "/v2/models/wings/infer", {"inputs": [tensor]})
    assert answer.status_code == 400, answer.text
    assert "inputs.span" in answer.json()["error"]


def test_a_body_of_100_mb_is_refused_and_the_next_is_answered(endpoint: Endpoint) -> None:
    try:
        status = v1(endpoint, b" " * 100_000_000).status_code
    except httpx.WriteError:  # the server had closed before all was sent
        status = 413
    assert status == 413
    assert v1(endpoint, {"instances": [RECORD]}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/wings/versions/1/ready", 200),
        ("/v2/models/wings/versions/1", 200),
        ("/v2/models/wings/ready?model_version=1", 200),
        ("/v2/models/wings/versions/2/ready", 404),
        ("/v2/models/wings/ready?model_version=2", 404),
        ("/v2/models/nobody/versions/1/ready", 404),
    ],
)
def test_a_version_may_be_named(endpoint: Endpoint, path: str, status: int) -> None:
    answer = httpx.get(endpoint.base + path)
    assert answer.status_code == status, answer.text
    if status == 404:
        assert "error" in answer.json()


def test_v2_infers_by_version(endpoint: Endpoint) -> None:
    right = post(endpoint, "/v2/models/wings/versions/1/infer", {"inputs": tensors()})
    assert right.json()["model_version"] == "1"
    wrong = post(endpoint, "/v2/models/wings/versions/7/infer", {"inputs": tensors()})
    assert wrong.status_code == 404
    assert wrong.json()["error"] == "model 'wings' serves version 1, not '7'"


def test_nobody_who_may_ask_may_end_it_for_all(endpoint: Endpoint, grpc_port: int) -> None:
    told = "model 'feet' is served for good: only --multi_model loads and unloads"
    for act in ("load", "unload"):
        answer = post(endpoint, f"/v2/repository/models/feet/{act}", {})
        assert (answer.status_code, answer.json()) == (403, {"error": told})
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        service = GRPCInferenceServiceStub(channel)
        for call, request in (
            (service.RepositoryModelLoad, RepositoryModelLoadRequest(model_name="feet")),
            (service.RepositoryModelUnload, RepositoryModelUnloadRequest(model_name="feet")),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(request)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert refused.value.details() == told
    assert post(endpoint, "/v1/models/feet:predict", {"instances": [RECORD]}).status_code == 200


def tensors() -> list[dict[str, Any]]:
    datatypes = {"span": "INT64", "weight": "FP64", "kind": "BYTES", "seen": "BYTES"}
    return [
        {"name": name, "shape": [1], "datatype": datatypes[name], "data": [value]}
        for name, value in RECORD.items()
    ]


def test_the_outputs_that_are_asked_for_are_answered(endpoint: Endpoint) -> None:
    path = "/v2/models/wings/infer"
    whole = post(endpoint, path, {"inputs": tensors()}).json()["outputs"]
    assert [output["name"] for output in whole] == ["prediction", "probabilities"]
    for names in (["probabilities"], ["probabilities", "prediction"]):
        asked = {"inputs": tensors(), "outputs": [{"name": name} for name in names]}
        found = post(endpoint, path, asked).json()["outputs"]
        assert found == [one for name in names for one in whole if one["name"] == name]
    unknown = {"inputs": tensors(), "outputs": [{"name": "prediction"}, {"name": "odds"}]}
    refused = post(endpoint, path, unknown)
    assert refused.status_code == 400
    assert refused.json()["error"] == (
        "outputs[1].name: no such output; got odds; expected prediction or probabilities"
    )


def test_an_output_may_be_asked_for_in_binary(endpoint: Endpoint) -> None:
    path, inputs = "/v2/models/wings/infer", tensors()
    whole = post(endpoint, path, {"inputs": inputs}).json()["outputs"][1]["data"]
    one = {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}
    for asked in (one, {"parameters": {"binary_data_output": True}}):
        answer = post(endpoint, path, {"inputs": inputs, **asked})
        length = int(answer.headers["inference-header-content-length"])
        outputs = json.loads(answer.content[:length])["outputs"]
        assert outputs[-1]["parameters"] == {"binary_data_size": 16}
        assert struct.unpack("<2d", answer.content[-16:]) == tuple(whole)


def test_grpc_answers_the_outputs_and_the_version_that_are_asked_for(
    endpoint: Endpoint, grpc_port: int
) -> None:
    request = grpc_request(RECORD)
    request.outputs.add(name="probabilities")
    request.model_version = "1"
    expected = v1(endpoint, {"instances": [RECORD]}).json()["probabilities"][0]
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        service = GRPCInferenceServiceStub(channel)
        (output,) = service.ModelInfer(request).outputs
        assert output.name == "probabilities"
        assert list(output.contents.fp64_contents) == expected
        assert service.ModelReady(ModelReadyRequest(name="wings", version="1")).ready
        assert service.ModelMetadata(ModelMetadataRequest(name="wings", version="1")).inputs
        request.model_version = "7"
        for call, asked in (
            (service.ModelInfer, request),
            (service.ModelReady, ModelReadyRequest(name="wings", version="7")),
            (service.ModelMetadata, ModelMetadataRequest(name="wings", version="7")),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(asked)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert refused.value.details() == "model 'wings' serves version 1, not '7'"
        request.model_version = ""
        request.outputs.add(name="odds")
        with pytest.raises(grpc.RpcError) as refused:
            service.ModelInfer(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_no_model_explains(endpoint: Endpoint) -> None:
    answer = post(endpoint, "/v1/models/wings:explain", {"instances": [RECORD]})
    assert answer.status_code == 404
    assert answer.json() == {"error": "model 'wings' has no explainer"}


def test_metadata_is_the_signature(endpoint: Endpoint) -> None:
    found = httpx.get(f"{endpoint.base}/v2/models/wings").json()
    assert {field["name"]: field["datatype"] for field in found["inputs"]} == {
        "span": "INT64",
        "weight": "FP64",
        "kind": "BYTES",
        "seen": "BYTES",
    }
    assert [field["name"] for field in found["outputs"]] == ["prediction", "probabilities"]


def test_health_and_metrics(endpoint: Endpoint) -> None:
    assert httpx.get(f"{endpoint.base}/v2/health/ready").json() == {"ready": True}
    assert httpx.get(f"{endpoint.base}/v2/health/live").status_code == 200
    assert 'request_predict_seconds_count{model_name="wings"}' in (
        httpx.get(f"{endpoint.base}/metrics").text
    )
    assert httpx.get(f"{endpoint.base}/v2/models/other/ready").status_code == 404


def test_a_new_champion_takes_over_without_a_dropped_request(models: ModelStore) -> None:
    models.set_alias("wings", CHAMPION, 1, "test")
    with local_endpoint(f"{models.store.uri}/wings", "wings", free_port()) as served:
        seen = [served.ask({"instances": [RECORD]}).version]
        models.set_alias("wings", CHAMPION, 2, "test")
        deadline = time.monotonic() + 240
        while seen[-1] != "2" and time.monotonic() < deadline:
            seen.append(served.ask({"instances": [RECORD]}).version)
    assert seen[0] == "1"
    assert seen[-1] == "2"
    assert seen == sorted(seen)


def test_a_champion_that_cannot_predict_does_not_end_the_following(tmp_path: Path) -> None:
    models = ModelStore(FolderStore(tmp_path / "store"))
    for number, module in enumerate(["", BROKEN_WHEN_SERVED, ""]):
        estimator = "random_forest" if number else "logistic_regression"
        publish(models, "wings", tmp_path / str(number), estimator, module)
    models.set_alias("wings", CHAMPION, 1, "test")
    with local_endpoint(f"{models.store.uri}/wings", "wings", free_port()) as served:
        models.set_alias("wings", CHAMPION, 2, "test")
        time.sleep(3 * POLL_SECONDS)
        assert served.ask({"instances": [RECORD]}).version == "1"
        models.set_alias("wings", CHAMPION, 3, "test")
        deadline = time.monotonic() + 240
        while served.ask({"instances": [RECORD]}).version != "3":
            assert time.monotonic() < deadline, "it is followed no longer"
