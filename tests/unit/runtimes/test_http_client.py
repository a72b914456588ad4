"""Whatever an endpoint says, it is an answer or an EndpointError, and in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.contracts.sample import Sample
from kfp_suite.runtimes.http_client import ask
from kfp_suite.runtimes.local import LOOPBACK, Launch, LocalServer
from kfp_suite.runtimes.protocol import OTHER, Question, difference

QUESTION = Question("/v1/models/wings:predict", {"instances": [{}]})
OK = b"HTTP/1.1 200 OK\r\n"
SAMPLE = Sample(records=({}, {}), predictions=("a", "b"), probabilities=((0.9, 0.1), (0.2, 0.8)))


@contextmanager
def saying(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that reads a request and then does as it likes."""
    with socket.create_server((LOOPBACK, 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        read = connection.recv(65536)
                        while read.startswith(b"POST") and not read.endswith(b"}]}"):
                            read += connection.recv(65536)
                        say(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (OK + b"Content-Length: 100\r\n\r\n{}", "did not answer; got IncompleteRead"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n40\r\n{}", "did not answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer; got SSH-2.0-OpenSSH_9.2"),
        (b"", "did not answer"),
        (OK + b"\r\n" + b"[" * 100_000, "did not answer JSON"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nwhy", "did not answer; got Incomplete"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nwhy", "answered 500; got why"),
    ],
)
def test_half_an_answer_is_none(said: bytes, told: str) -> None:
    with saying(lambda connection: connection.sendall(said)) as base:
        with pytest.raises(EndpointError) as caught:
            ask(base, QUESTION, timeout=5)
        assert told in str(caught.value)
        launch = Launch(("sleep", "60"), "/v2/health/ready")
        with LocalServer(launch, int(base.rpartition(":")[2])) as server:
            assert not server.ready() or said.startswith(OK)


def test_an_answer_that_drips_in_has_one_deadline() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.05)

    with saying(drip) as base:
        started = time.monotonic()
        with pytest.raises(EndpointError, match="timed out"):
            ask(base, QUESTION, timeout=0.5)
        assert time.monotonic() - started < 10


def test_a_whole_answer_is_one_whatever_its_pieces() -> None:
    def piecemeal(connection: socket.socket) -> None:
        connection.sendall(OK + b"X-Model-Version: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"predict', b'ions": [1]}'):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(0.01)
        connection.sendall(b"0\r\n\r\n")

    with saying(piecemeal) as base:
        answer = ask(base, QUESTION, timeout=5)
    assert (answer.body, answer.version) == ({"predictions": [1]}, "3")


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "predictions",
        {},
        {"predictions": None},
        {"outputs": []},
        {"outputs": ["x"]},
        {"outputs": [{"name": "a"}]},
        {"outputs": [{"name": ["a"], "data": [1]}]},
        {"outputs": [{"name": "prediction", "data": "ab"}]},
    ],
)
def test_what_is_no_answer_of_a_protocol_is_told(body: Any) -> None:
    with pytest.raises(EndpointError, match=r"no predictions in the answer.*expected predictions"):
        difference(SAMPLE, body)


@pytest.mark.parametrize(
    "body",
    [
        {"predictions": []},
        {"predictions": ["a", {"prediction": "b"}]},
        {"predictions": [{"prediction": "a"}, "b"]},
        {"predictions": [{"prediction": "a"}, {}]},
        {"predictions": ["a", "b"], "probabilities": [[0.9, 0.1], [0.2]]},
        {"predictions": ["a", "b"], "probabilities": [[0.9, 0.1], [0.2, 10**400]]},
        {"predictions": ["a", "b"], "probabilities": [[0.9, 0.1], [0.2, float("nan")]]},
        {"outputs": [{"name": "prediction", "data": [["a"], ["c"]]}]},
    ],
)
def test_another_answer_is_another(body: Any) -> None:
    assert difference(SAMPLE, body) == OTHER


def test_the_deepest_answer_is_read() -> None:
    deep: Any = "a"
    for _ in range(5000):
        deep = [deep]
    assert difference(SAMPLE, {"predictions": ["a", "b"], "probabilities": deep}) == OTHER
