"""Our transformer before a predictor that has no answer: the client is told so, and by which
code, and that its own request was right."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from kfp_suite.contracts.model import read_model
from kfp_suite.models.loading import load_model
from kfp_suite.models.request_parsing import record_format, table_of_records
from kfp_suite.runtimes.local import LOOPBACK, LocalServer
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.serving.conftest import KEEPS_MISSING, publish
from tests.serving.test_process import V1, infer, model, post, serve

__all__ = ["model"]
SCORES = {"outputs": [{"name": "probabilities", "data": [0.25, 0.75]}]}


class Predictor(ThreadingHTTPServer):
    """It answers as it is told to."""

    status, content = 200, b""
    extensions: Sequence[str] = ()
    asked: tuple[Message, bytes] = Message(), b""

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def say(self, status: int, content: bytes) -> None:
        self.status, self.content = status, content


class _Handler(BaseHTTPRequestHandler):
    server: Predictor

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"extensions": self.server.extensions}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked = self.headers, body
        self._answer(self.server.status, self.server.content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quietly."""


@pytest.fixture(scope="module")
def predictor() -> Iterator[Predictor]:
    with Predictor() as found:
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def transformer(model: Path, predictor: Predictor) -> Iterator[LocalServer]:
    host = f"--predictor_host={LOOPBACK}:{predictor.server_port}"
    with serve(model, host, "--predict-timeout=2") as found:
        yield found


def test_what_the_predictor_scores_is_answered(
    transformer: LocalServer, predictor: Predictor
) -> None:
    predictor.say(200, json.dumps(SCORES).encode())
    answer = post(transformer, 1)
    assert answer.status_code == 200
    assert answer.json()["probabilities"] == [[0.25, 0.75]]


@pytest.mark.parametrize(
    ("status", "content", "code", "said"),
    [
        (500, b"boom", 502, "the predictor answered 500; got boom"),
        (400, b"not mine", 502, "the predictor answered 400; got not mine"),
        (503, b"starting", 503, "the predictor answered 503; got starting"),
        (429, b"busy", 429, "the predictor answered 429; got busy"),
        (200, b"<html>", 502, "the predictor gives no scores; got <html>"),
        (200, b"[]", 502, "the predictor gives no scores; got []"),
        (200, b'{"outputs": []}', 502, "the predictor gives no scores; got {"),
    ],
)
def test_what_it_cannot_answer_is_not_the_client_s_fault(
    status: int,
    content: bytes,
    code: int,
    said: str,
    transformer: LocalServer,
    predictor: Predictor,
) -> None:
    predictor.say(status, content)
    answer = post(transformer, 1)
    assert answer.status_code == code
    assert said in answer.json()["error"]
    assert f'code="{code}"' in httpx.get(f"{transformer.base}/metrics").text


def test_grpc_says_so_too_and_one_that_is_gone_is_unavailable(model: Path) -> None:
    with Predictor() as gone:
        port = gone.server_port
        gone.shutdown()
    with serve(model, f"--predictor_host={LOOPBACK}:{port}") as server:
        answer = post(server, 1)
        assert answer.status_code == 502
        assert "the predictor does not answer; got" in answer.json()["error"]
        with (
            grpc.insecure_channel(f"{LOOPBACK}:{server.grpc_port}") as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            infer(GRPCInferenceServiceStub(channel), 1)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the predictor does not answer" in caught.value.details()


@pytest.mark.parametrize("extensions", [(), ("sequence", "binary_tensor_data")])
def test_a_missing_number_is_sent_as_the_predictor_reads_it(
    extensions: Sequence[str], tmp_path: Path
) -> None:
    models = ModelStore(FolderStore(tmp_path / "store"))
    publish(models, "wings", tmp_path / "made", "hist_gradient_boosting", features=KEEPS_MISSING)
    folder = tmp_path / "model"
    models.fetch("wings", 1, folder)
    record = {"span": 7, "weight": None}
    table = table_of_records([record], record_format(read_model(folder).manifest))
    expected = np.asarray(load_model(folder).features(table))
    assert np.isnan(expected).any()
    with Predictor() as predictor:
        predictor.extensions = extensions
        predictor.say(200, json.dumps(SCORES).encode())
        with serve(folder, f"--predictor_host={LOOPBACK}:{predictor.server_port}") as server:
            answer = httpx.post(server.base + V1, json={"instances": [record]}, timeout=40)
        headers, body = predictor.asked
        predictor.shutdown()
    assert answer.status_code == 200, answer.text
    if extensions:
        length = int(headers["inference-header-content-length"])
        (tensor,) = json.loads(body[:length])["inputs"]
        assert tensor["parameters"] == {"binary_data_size": len(body) - length}
        got = np.frombuffer(body[length:], "<f4")
    else:
        (tensor,) = json.loads(body)["inputs"]
        got = np.array(tensor["data"], dtype=np.float32)
    assert tensor["shape"] == list(expected.shape)
    np.testing.assert_array_equal(got, expected.ravel())


def test_the_estimator_is_not_loaded_a_second_time(tmp_path: Path) -> None:
    models = ModelStore(FolderStore(tmp_path / "store"))
    module = """
import sys
from sklearn.linear_model import LogisticRegression

if any(one.startswith("--predictor_host") for one in sys.orig_argv):
    raise RuntimeError("not here")

class Own(LogisticRegression):
    pass

def fit(training):
    return Own().fit(training.train.matrix, training.train.target)
"""
    publish(models, "wings", tmp_path / "made", "logistic_regression", module)
    models.fetch("wings", 1, tmp_path / "model")
    with Predictor() as predictor:
        predictor.say(200, json.dumps(SCORES).encode())
        host = f"--predictor_host={LOOPBACK}:{predictor.server_port}"
        with serve(tmp_path / "model", host) as transformer:
            assert post(transformer, 1).json()["probabilities"] == [[0.25, 0.75]]
        predictor.shutdown()
