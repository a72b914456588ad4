"""HTTP as clients speak it: forms of a body; what is refused, counted and logged."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from kfp_suite.runtimes.local import LOOPBACK, Launch, LocalServer, free_port
from kfp_suite.stores.versions import ModelStore
from tests.serving.test_endpoint import RECORD, tensors

V1, V2 = "/v1/models/wings:predict", "/v2/models/wings/infer"
RECORDS = {"instances": [RECORD]}
JSON = {"content-type": "application/json"}
ORIGIN = "https://pages.example"


class Served:
    """A server in a process, and the log that it writes."""

    def __init__(self, folder: Path, log: Path, *arguments: str, host: str = LOOPBACK) -> None:
        self.port, self.grpc_port, self.log = free_port(), free_port(), log
        command = [sys.executable, "-m", "kfp_suite.server", f"--model_dir={folder}"]
        command += ["--model_name=wings", "--model_version=1", f"--host={host}", *arguments]
        command += [f"--http_port={self.port}", f"--grpc_port={self.grpc_port}"]
        with log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        self.base = f"http://{LOOPBACK}:{self.port}"

    def post(self, path: str, content: bytes, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(self.base + path, content=content, headers=given, timeout=60)

    def said(self, work: Callable[[], Any]) -> list[str]:
        """The lines that the log has more after `work`."""
        before = self.log.stat().st_size
        work()
        deadline = time.monotonic() + 20
        while self.log.stat().st_size == before and time.monotonic() < deadline:
            time.sleep(0.05)
        with self.log.open() as file:
            file.seek(before)
            return file.read().splitlines()

    def counted(self, code: int) -> float:
        page = httpx.get(f"{self.base}/metrics").text
        labels = f'code="{code}",model_name="wings",model_version="1"'
        found = re.findall(rf"^kfp_suite_requests_total{{{labels}}} (.+)$", page, re.MULTILINE)
        return float(found[0]) if found else 0.0


@pytest.fixture(scope="module")
def folder(models: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("http") / "model"
    models.fetch("wings", 1, found)
    return found


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(folder, tmp_path_factory.mktemp("log") / "log", f"--cors_origin={ORIGIN}")
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{found.base}/v2/models/wings/ready").status_code == 200:
                    break
            except httpx.TransportError:
                assert found.process.poll() is None, found.log.read_text()
                assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found
    finally:
        found.process.terminate()
        found.process.wait(30)


@pytest.fixture(scope="module")
def answer(server: Served) -> list[float]:
    """The probabilities of the record."""
    found: list[float] = server.post(V1, json.dumps(RECORDS).encode(), **JSON).json()[
        "probabilities"
    ][0]
    return found


def probabilities(said: Any) -> list[float]:
    """Of an answer of V1 or V2."""
    if "probabilities" in said:
        found: list[float] = said["probabilities"][0]
        return found
    (data,) = (one["data"] for one in said["outputs"] if one["name"] == "probabilities")
    return list(data)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda body: zlib.compress(body, wbits=-15),  # as some clients take it
    "identity": bytes,
}


@pytest.mark.parametrize("path", [V1, V2])
@pytest.mark.parametrize("coding", PACK)
def test_a_packed_body_is_read(server: Served, answer: list[float], coding: str, path: str) -> None:
    content = json.dumps(RECORDS if path == V1 else {"inputs": tensors()}).encode()
    found = server.post(path, PACK[coding](content), content_encoding=coding, **JSON)
    assert found.status_code == 200, found.text
    assert probabilities(found.json()) == answer


def test_parts_packed_one_by_one_are_one_body(server: Served, answer: list[float]) -> None:
    content = json.dumps(RECORDS).encode()
    packed = gzip.compress(content[:9]) + gzip.compress(content[9:])
    found = server.post(V1, packed, content_encoding="gzip", **JSON)
    assert probabilities(found.json()) == answer


@pytest.mark.parametrize(
    ("content", "coding", "status", "said"),
    [
        (b'{"instances": []}', "gzip", 400, "the body is not packed with gzip"),
        (gzip.compress(b"{}", mtime=0)[:-5], "gzip", 400, "ends in the middle"),
        (gzip.compress(b"", mtime=0) * 17, "gzip", 400, "more than 16 parts"),
        (b"{}", "br", 415, "content-encoding: got br; expected gzip or deflate, or none"),
        (b"{}", "gzip, gzip", 415, "expected gzip or deflate"),
        (
            gzip.compress(b" " * 40_000_000, mtime=0),
            "gzip",
            413,
            "the body is over 33,554,432 bytes",
        ),
    ],
)
def test_one_that_cannot_be_unpacked_is_refused(
    server: Served, content: bytes, coding: str, status: int, said: str
) -> None:
    found = server.post(V1, content, content_encoding=coding, **JSON)
    assert found.status_code == status
    assert said in found.json()["error"]
    assert found.headers["x-model-version"] == "1"
    assert (found.headers.get("accept-encoding") == "gzip, deflate") == (status == 415)


def test_bodies_that_unpack_to_a_lot_leave_nothing(server: Served) -> None:
    bomb = gzip.compress(b" " * 100_000_000)

    def send(count: int) -> int:
        for _ in range(count):
            assert server.post(V1, bomb, content_encoding="gzip").status_code == 413
        return int(psutil.Process(server.process.pid).memory_info().rss)

    before = send(3)
    assert send(10) - before < 48 * 1024 * 1024


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
@pytest.mark.parametrize("path", [V1, V2])
@pytest.mark.parametrize(
    "options",
    [
        [],  # the content type of a form
        ["-H", "content-type:"],
        ["-H", "content-type: text/plain"],
        ["-H", "content-type: application/json; charset=utf-8"],
        ["--http1.0", "-H", "content-type: application/json"],
        ["-H", "transfer-encoding: chunked", "-H", "content-type: application/json"],
        ["-H", "expect: 100-continue", "-H", "content-type: application/json"],
        ["--compressed", "-H", "content-type: application/json"],
    ],
)
def test_curl(
    server: Served, answer: list[float], tmp_path: Path, path: str, options: list[str]
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(RECORDS if path == V1 else {"inputs": tensors()}, indent=1))
    command = ["curl", "-sS", *options, "--data-binary", f"@{file}", server.base + path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert probabilities(json.loads(done.stdout)) == answer


def test_binary_that_calls_itself_json_is_read_by_its_length(
    server: Served, answer: list[float]
) -> None:
    inputs = tensors()
    for one in inputs:
        if one["name"] == "weight":
            del one["data"]
            one["parameters"] = {"binary_data_size": 8}
    head = json.dumps({"inputs": inputs}).encode()
    length = {"inference_header_content_length": str(len(head))}
    found = server.post(V2, head + struct.pack("<d", RECORD["weight"]), **length, **JSON)
    assert probabilities(found.json()) == answer
    more = server.post(V2, head + bytes(9), **length)
    assert more.status_code == 400
    assert more.json()["error"] == ("binary_data_size: got 9 bytes behind the JSON; expected 8")


@pytest.mark.parametrize("number", ["100000000000000000", "1e17", "1152921504606847000"])
def test_numbers_are_read_however_javascript_writes_them(server: Served, number: str) -> None:
    record = json.dumps({**RECORD, "weight": float(number)})
    written = record.replace(json.dumps(float(number)), number)
    for body in (
        f'{{"instances": [{written}]}}',
        f'{{"inputs": {{"span": [7], "kind": ["a"], "weight": [{number}]}}}}',
    ):
        assert server.post(V1, body.encode(), **JSON).status_code == 200
    tensor = f'{{"name": "weight", "datatype": "FP64", "shape": [1], "data": [{number}]}}'
    assert server.post(V2, f'{{"inputs": [{tensor}]}}'.encode(), **JSON).status_code == 200


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        ([[0.23, "Ideal"]], "instances[0]: not a record; got a list of 2 values"),
        ([[]], "instances[0]: not a record; got an empty list"),
        ([{}], "instances[0]: an empty record; expected an object with kind, seen, span, weight"),
    ],
)
def test_what_is_no_record_is_told(server: Served, instances: Any, said: str) -> None:
    found = server.post(V1, json.dumps({"instances": instances}).encode(), **JSON)
    assert found.status_code == 400
    assert found.json()["error"].startswith(said)


@pytest.mark.parametrize("path", ["/", "/v2/health/live", "/v2/health/ready", "/v2/models/wings"])
def test_head_is_as_get_without_the_body(server: Served, path: str) -> None:
    found = httpx.head(server.base + path)
    assert (found.status_code, found.content) == (200, b"")
    assert (
        found.headers["content-length"] == httpx.get(server.base + path).headers["content-length"]
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", V1 + "/", 404, f"POST {V1}/: no such path"),
        ("GET", "/v2/models/wings/labels", 404, "GET /v2/models/wings/labels: no such path"),
        ("PUT", V1, 405, f"PUT {V1}: no such method"),
        ("GET", "/v2/models/nobody", 404, "Model with name nobody does not exist."),
        ("POST", "/v2/repository/index?", 400, "the request is not JSON"),
    ],
)
def test_what_there_is_not_is_an_error_and_no_redirect(
    server: Served, method: str, path: str, status: int, said: str
) -> None:
    found = httpx.request(method, server.base + path, content=b"{nope" if "?" in path else b"")
    assert found.status_code == status
    assert found.json()["error"].startswith(said)


REFUSED: list[tuple[str, bytes, dict[str, str], int]] = [
    (V1, b"{nope", JSON, 400),
    (V2, b"{nope", JSON, 400),
    (V2, b"{}", {}, 400),
    (V1, b'{"instances": [{"wingspan": 3}]}', JSON, 400),
    (V1, b"{}", {"content-encoding": "br"}, 415),
    (V1, b" " * (33 * 1024 * 1024), {}, 413),
    (V1, b"{}", {"x-long": "a" * 65_536}, 431),
]


@pytest.mark.parametrize(("path", "content", "headers", "status"), REFUSED)
def test_what_is_refused_is_counted_and_one_line_of_the_log(
    server: Served, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    before = server.counted(status)

    def ask() -> None:
        try:
            assert server.post(path, content, **headers).status_code == status
        except httpx.WriteError:  # it had closed before all was sent
            assert status == 413

    said = [line for line in server.said(ask) if "/metrics" not in line]
    assert server.counted(status) == before + 1
    assert len(said) == 1, said
    assert f"POST {path}: {status} " in said[0]


def test_grpc_counts_and_logs_the_same(server: Served) -> None:
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    before = server.counted(400)

    def ask() -> None:
        with grpc.insecure_channel(f"{LOOPBACK}:{server.grpc_port}") as channel:
            request = ModelInferRequest(model_name="wings")
            request.inputs.add(name="span", shape=[1], datatype="nope")
            with pytest.raises(grpc.RpcError):
                GRPCInferenceServiceStub(channel).ModelInfer(request)

    said = [line for line in server.said(ask) if "/metrics" not in line]
    assert server.counted(400) == before + 1
    assert len(said) == 1
    assert "INVALID_ARGUMENT" in said[0]


def test_a_client_that_goes_away_is_no_error(server: Served) -> None:
    def leave() -> None:
        with socket.create_connection((LOOPBACK, server.port)) as client:
            head = f"POST {V1} HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{{"
            client.sendall(head.encode())
            time.sleep(0.3)
        time.sleep(0.5)
        server.post(V1, json.dumps(RECORDS).encode(), **JSON)

    said = "\n".join(server.said(leave))
    assert "Traceback" not in said
    assert "ERROR" not in said


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), ("https://other.example", False)])
def test_pages_may_ask_if_their_origin_is_named(server: Served, origin: str, allowed: bool) -> None:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "content-type"
    before = httpx.options(server.base + V1, headers=asked)
    assert (before.status_code == 200) == allowed
    for content in (json.dumps(RECORDS).encode(), b"{nope"):  # a page can read the error, too
        found = server.post(V1, content, origin=origin, **JSON)
        assert ("access-control-allow-origin" in found.headers) == allowed


def test_grpc_health_and_reflection(server: Served) -> None:
    with grpc.insecure_channel(f"{LOOPBACK}:{server.grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", "inference.GRPCInferenceService"):
            asked = health_pb2.HealthCheckRequest(service=service)
            assert health.Check(asked, timeout=20).status == serving
            assert next(iter(health.Watch(asked, timeout=20))).status == serving
        with pytest.raises(grpc.RpcError) as refused:
            health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=20)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services


def test_all_addresses_are_those_of_ipv6_too(folder: Path, tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "kfp_suite.server", f"--model_dir={folder}"]
    command += ["--model_name=wings", "--model_version=1", f"--http_port={port}"]
    launch = Launch((*command, f"--grpc_port={grpc_port}"), "/v2/models/wings/ready")
    with LocalServer(launch, port) as found:
        found.wait(120)
        for host, address in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
            with socket.create_connection((host, port)):
                pass
            assert httpx.post(f"http://{address}:{port}{V1}", json=RECORDS).status_code == 200
            with grpc.insecure_channel(f"{address}:{grpc_port}") as channel:
                asked = health_pb2.HealthCheckRequest()
                found_health = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=20)
                assert found_health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "no-such-host.invalid"], "no address of 'no-such-host.invalid' is known"),
        (["--grpc-port", "{port}"], "HTTP and gRPC cannot share a port"),
    ],
)
def test_where_it_cannot_serve_is_one_line(
    models: ModelStore, arguments: list[str], said: str
) -> None:
    port = str(free_port())
    given = [one.format(port=port) for one in arguments]
    command = [sys.executable, "-c", "from kfp_suite.cli.main import main; main()"]
    command += ["serve", f"{models.store.uri}/wings/1", "--port", port, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
