"""The real server, real HTTP: V1 and V2, versions, and what bad requests are told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kfp_suite.components.stores.versions import CHAMPION, ModelStore
from kfp_suite.pipelines.runs.serving import Endpoint, free_port, local_endpoint

RECORD = {"span": 7, "weight": 3.5, "kind": "a", "seen": "2024-01-05T08:00:00"}


@pytest.fixture(scope="module")
def endpoint(models: ModelStore) -> Iterator[Endpoint]:
    with local_endpoint(f"{models.store.uri}/wings/1", "wings") as served:
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
