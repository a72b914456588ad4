"""The real server, real HTTP: V1 and V2, versions, and what bad requests are told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.runtimes.local import free_port
from kfp_suite.components.stores.versions import CHAMPION, ModelStore
from kfp_suite.pipelines.runs.serving import Endpoint, local_endpoint

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
    datatypes = {"span": "INT64", "weight": "FP64", "kind": "BYTES", "seen": "BYTES"}
    tensors = [
        {"name": name, "shape": [1], "datatype": datatypes[name], "data": [value]}
        for name, value in RECORD.items()
    ]
    response = post(endpoint, "/v2/models/wings/infer", {"inputs": tensors})
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
            "instances[0].kind: got 3; expected text or null; see the model's metadata",
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
    datatypes = {"span": "INT64", "weight": "FP64", "kind": "BYTES", "seen": "BYTES"}
    tensors = [
        {"name": name, "shape": [1], "datatype": datatypes[name], "data": [value]}
        for name, value in RECORD.items()
    ]
    right = post(endpoint, "/v2/models/wings/versions/1/infer", {"inputs": tensors})
    assert right.json()["model_version"] == "1"
    wrong = post(endpoint, "/v2/models/wings/versions/7/infer", {"inputs": tensors})
    assert wrong.status_code == 404
    assert wrong.json()["error"] == "model 'wings' serves version 1, not '7'"


def test_a_model_is_unloaded_and_loaded_again(endpoint: Endpoint) -> None:
    repository = "/v2/repository/models/feet"
    path = "/v1/models/feet:predict"
    assert post(endpoint, f"{repository}/unload", {}).status_code == 200
    assert post(endpoint, path, {"instances": [RECORD]}).status_code == 404
    assert post(endpoint, f"{repository}/load", {}).status_code == 200
    assert post(endpoint, path, {"instances": [RECORD]}).status_code == 200
    assert post(endpoint, "/v2/repository/models/nobody/load", {}).status_code == 404


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
        deadline = time.monotonic() + 30
        while seen[-1] != "2" and time.monotonic() < deadline:
            seen.append(served.ask({"instances": [RECORD]}).version)
    assert seen[0] == "1"
    assert seen[-1] == "2"
    assert seen == sorted(seen)
