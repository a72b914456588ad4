"""Malformed requests by the thousand: refused, never a crash, and no memory kept."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import grpc
import httpx
import psutil
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from kfp_suite.local.serving import Endpoint, local_endpoint
from kfp_suite.runtimes.local import free_port
from kfp_suite.stores.versions import ModelStore
from tests.serving.malformed import malformed, malformed_grpc
from tests.serving.test_endpoint import RECORD, grpc_request

COUNT = int(os.environ.get("KFP_SUITE_MALFORMED", "3000"))
_MAX_GROWTH = 48 * 1024 * 1024


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def endpoint(models: ModelStore, grpc_port: int) -> Iterator[Endpoint]:
    arguments = ["--grpc-port", str(grpc_port)]
    with local_endpoint(f"{models.store.uri}/wings/1", "wings", arguments=arguments) as served:
        yield served


def server_memory() -> int:
    """What our children hold, in bytes: the server is one."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_info().rss for child in children)


def test_malformed_requests_are_refused_and_leave_nothing(endpoint: Endpoint) -> None:
    codes: Counter[int] = Counter()
    failed = []
    with httpx.Client(base_url=endpoint.base, timeout=30) as client:
        for number, request in enumerate(malformed(7, COUNT, "wings", RECORD)):
            if number == COUNT // 3:
                before = server_memory()
            answer = client.post(request.path, content=request.body, headers=request.headers)
            codes[answer.status_code] += 1
            if answer.status_code >= 500:
                failed.append((answer.status_code, answer.text, request))
        good = client.post("/v1/models/wings:predict", json={"instances": [RECORD]})
    assert not failed, f"{len(failed)} of {COUNT}; the first: {failed[0]}"
    assert good.status_code == 200
    assert codes[400] > COUNT / 2
    assert server_memory() - before < _MAX_GROWTH


def test_so_are_they_over_grpc(endpoint: Endpoint, grpc_port: int) -> None:
    codes: Counter[str] = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        service = GRPCInferenceServiceStub(channel)
        for request in malformed_grpc(7, COUNT // 4, lambda: grpc_request(RECORD)):
            try:
                service.ModelInfer(request, timeout=30)
            except grpc.RpcError as error:
                codes[error.code().name] += 1
        service.ModelInfer(grpc_request(RECORD), timeout=30)
    assert set(codes) == {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert codes["INVALID_ARGUMENT"] > COUNT // 8


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            b'{"inputs": [{"name": "span", "shape": ["x"], "datatype": "INT64", "data": [1]}]}',
            "inputs[0].shape[0]: ",
        ),
        (b'{"inputs": 3}', "inputs: "),
        (b'{"id": "\xed\xa0\xbd", "inputs": []}', "not UTF-8"),
    ],
)
def test_what_v2_does_not_take_is_named(endpoint: Endpoint, body: bytes, told: str) -> None:
    answer = httpx.post(
        f"{endpoint.base}/v2/models/wings/infer",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    assert told in answer.json()["error"], answer.text
