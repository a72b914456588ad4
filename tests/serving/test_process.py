"""The process that runs in a container: how it ends, and what it does when a prediction hangs."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import httpx
import psutil
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import (
    ModelInferRequest,
    ModelReadyRequest,
    ServerLiveRequest,
    ServerReadyRequest,
)
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from kfp_suite.runtimes.local import LOOPBACK, Launch, LocalServer, free_port
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.serving.conftest import publish
from tests.serving.load import Load
from tests.serving.test_endpoint import RECORD

# How long it takes depends on the rows of a request: few are fast.
SLOW, LONG, HANGS = 500, 1000, 2000
SECONDS = ((HANGS, 600), (LONG, 12), (SLOW, 3))
_MODULE = f"""
import time
from sklearn.linear_model import LogisticRegression

class Sleepy(LogisticRegression):
    def predict_proba(self, X):
        seconds = [s for rows, s in {SECONDS} if len(X) >= rows]
        time.sleep(seconds[0] if seconds else 0.001)
        return super().predict_proba(X)

def fit(training):
    return Sleepy().fit(training.train.matrix, training.train.target)
"""
V1 = "/v1/models/wings:predict"
_PATIENCE = 240  # seconds, on a busy machine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sleepy")
    models = ModelStore(FolderStore(folder / "store"))
    publish(models, "wings", folder / "made", "logistic_regression", _MODULE)
    models.fetch("wings", 1, folder / "model")
    return folder / "model"


def serve(model: Path, *arguments: str) -> LocalServer:
    """The model server, when it answers."""
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "kfp_suite.server", f"--model_dir={model}"]
    command += ["--model_name=wings", "--model_version=1", f"--host={LOOPBACK}"]
    command += [f"--http_port={port}", f"--grpc_port={grpc_port}", *arguments]
    launch = Launch(tuple(command), "/v2/models/wings/ready", grpc_port=grpc_port)
    server = LocalServer(launch, port)
    try:
        server.wait(_PATIENCE)
    except BaseException:
        server.stop()
        raise
    return server


@pytest.fixture
def server(model: Path) -> Iterator[LocalServer]:
    with serve(model) as found:
        yield found


@pytest.fixture
def impatient(model: Path) -> Iterator[LocalServer]:
    """It gives a prediction two seconds."""
    with serve(model, "--predict-timeout=2") as found:
        yield found


def post(server: LocalServer, rows: int) -> httpx.Response:
    return httpx.post(server.base + V1, json={"instances": [RECORD] * rows}, timeout=_PATIENCE)


def infer(service: Any, rows: int) -> Any:
    request = ModelInferRequest(model_name="wings")
    span = request.inputs.add(name="span", shape=[rows], datatype="INT64")
    span.contents.int64_contents.extend([7] * rows)
    return service.ModelInfer(request, timeout=_PATIENCE)


def eventually(holds: Callable[[], Any], seconds: float = _PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def statuses(server: LocalServer) -> list[int]:
    """Of the paths that probes ask."""
    paths = ("/", "/v2/health/live", "/v2/health/ready", "/v2/models/wings/ready")
    return [httpx.get(server.base + path).status_code for path in paths]


def test_the_log_begins_with_what_is_served_where(server: LocalServer) -> None:
    assert post(server, 1).status_code == 200
    server._log.seek(0)
    first, *others = server._log.read().splitlines()
    url = f"{server.base}{V1}"
    assert first == f"wings version 1: {url}, gRPC at {LOOPBACK}:{server.grpc_port}"
    assert others
    assert [line for line in others if " uvicorn.access " not in line] == []


def test_the_log_is_of_requests_and_not_of_probes(server: LocalServer) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
        assert httpx.get(server.base + path).status_code == 200
    assert post(server, 1).status_code == 200
    server._log.seek(0)
    _, *others = unquote(server._log.read()).splitlines()  # the access log quotes ':'
    assert [line for line in others if V1 not in line] == []
    assert any(V1 in line for line in others)


def test_sigterm_lets_requests_finish_over_http_and_grpc(server: LocalServer) -> None:
    stopped, refused = threading.Event(), []

    def ask_over_grpc() -> int:
        answered = 0
        with grpc.insecure_channel(f"{LOOPBACK}:{server.grpc_port}") as channel:
            service = GRPCInferenceServiceStub(channel)
            while True:
                try:
                    infer(service, 1)
                except grpc.RpcError as error:
                    refused.append((stopped.is_set(), error.code(), error.details()))
                    return answered
                answered += 1

    with (
        grpc.insecure_channel(f"{LOOPBACK}:{server.grpc_port}") as channel,
        ThreadPoolExecutor(4) as pool,
        Load(server.base + V1, {"instances": [RECORD]}) as load,
    ):
        asking = [pool.submit(ask_over_grpc) for _ in range(2)]
        eventually(lambda: load.versions["1"] > 50)
        slow = pool.submit(post, server, SLOW)
        slow_grpc = pool.submit(infer, GRPCInferenceServiceStub(channel), SLOW)
        time.sleep(1)
        stopped.set()
        server.process.terminate()
        assert slow.result(_PATIENCE).status_code == 200
        assert len(slow.result().json()["predictions"]) == SLOW
        assert list(slow_grpc.result(_PATIENCE).outputs[0].shape) == [SLOW]
        assert server.process.wait(_PATIENCE) == 0
        assert all(one.result(_PATIENCE) > 0 for one in asking)
    # Whoever came later was refused at the door.
    assert load.failed
    assert [one for one in load.failed if "ConnectError" not in one] == []
    assert {(after, code) for after, code, _ in refused} == {(True, grpc.StatusCode.UNAVAILABLE)}


def test_what_was_begun_may_take_as_long_as_any_prediction(server: LocalServer) -> None:
    with (
        grpc.insecure_channel(f"{LOOPBACK}:{server.grpc_port}") as channel,
        ThreadPoolExecutor(2) as pool,
    ):
        long = pool.submit(post, server, LONG)
        long_grpc = pool.submit(infer, GRPCInferenceServiceStub(channel), LONG)
        time.sleep(1)
        server.process.terminate()
        assert long.result(_PATIENCE).status_code == 200
        assert list(long_grpc.result(_PATIENCE).outputs[0].shape) == [LONG]
    assert server.process.wait(_PATIENCE) == 0


def test_what_is_given_up_is_said_to_be(impatient: LocalServer) -> None:
    with socket.create_connection((LOOPBACK, urlsplit(impatient.base).port)) as client:
        client.sendall(f"POST {V1} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{".encode())
        time.sleep(0.5)
        impatient.process.terminate()
        client.settimeout(_PATIENCE)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"this server ends before it could answer; ask again" in answer
    assert impatient.process.wait(_PATIENCE) == 0


def test_headers_without_an_end_are_refused_and_cost_nothing(server: LocalServer) -> None:
    before = psutil.Process(server.process.pid).memory_info().rss
    with socket.create_connection((LOOPBACK, urlsplit(server.base).port)) as client:
        client.settimeout(_PATIENCE)
        client.sendall(b"GET / HTTP/1.1\r\nx-long: ")
        with suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(b"a" * 100_000)
        with suppress(ConnectionError):
            assert client.recv(100).startswith(b"HTTP/1.1 431 ")
    assert post(server, 1).status_code == 200
    assert psutil.Process(server.process.pid).memory_info().rss - before < 32 * 1024 * 1024


def test_a_prediction_that_is_late_is_told_so_and_the_next_is_answered(
    impatient: LocalServer,
) -> None:
    late = post(impatient, SLOW)
    assert late.status_code == 504
    assert late.json() == {
        "error": "no prediction within 2 s; send fewer records at once, or allow more with "
        "--predict-timeout"
    }
    eventually(lambda: statuses(impatient) == [200] * 4)
    assert post(impatient, 1).status_code == 200
    assert 'code="504"' in httpx.get(f"{impatient.base}/metrics").text
    with grpc.insecure_channel(f"{LOOPBACK}:{impatient.grpc_port}") as channel:
        service = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            infer(service, SLOW)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no prediction within 2 s" in refused.value.details()


def test_a_server_whose_prediction_hangs_is_not_alive_and_still_ends(
    impatient: LocalServer,
) -> None:
    assert statuses(impatient) == [200] * 4
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        # On both threads: of large batches, and of small ones that wait behind it.
        hanging, behind = pool.submit(post, impatient, HANGS), pool.submit(post, impatient, 1)
        assert {hanging.result().status_code, behind.result().status_code} <= {200, 504}
    assert hanging.result().status_code == 504
    assert time.monotonic() - started < 120
    eventually(lambda: statuses(impatient) == [503] * 4)
    told = httpx.get(f"{impatient.base}/v2/health/live").json()
    assert "A prediction of 'wings' does not come back." in told["error"]
    # Until it is started anew, others are answered beside what cannot come.
    assert post(impatient, 1).status_code == 200
    with grpc.insecure_channel(f"{LOOPBACK}:{impatient.grpc_port}") as channel:
        service = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            service.ServerLive(ServerLiveRequest(), timeout=_PATIENCE)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not service.ServerReady(ServerReadyRequest(), timeout=_PATIENCE).ready
        assert not service.ModelReady(ModelReadyRequest(name="wings"), timeout=_PATIENCE).ready
    impatient.process.terminate()
    assert impatient.process.wait(_PATIENCE) == 0
