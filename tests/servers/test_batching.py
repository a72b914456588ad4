"""A batch that a server gathers is predicted in one call, and a bad request in it fails alone."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.runtimes.protocol import Question
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.servers.conftest import use
from tests.servers.test_servers import infer, served
from tests.serving.conftest import publish

# The probability tells how many rows were predicted together: 1 / (rows + 1).
_COUNTS = """
import numpy as np
from sklearn.linear_model import LogisticRegression


class Counts(LogisticRegression):
    def predict_proba(self, X):
        seldom = 1 / (len(X) + 1)
        return np.full((len(X), 2), [1 - seldom, seldom])


def fit(training):
    return Counts().fit(training.train.matrix, training.train.target)
"""
TOGETHER = 4
GOOD = {"span": 3, "weight": 1.5, "kind": "a", "seen": "2024-01-02T08:00:00"}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("counting")
    found = ModelStore(FolderStore(folder / "store"))
    publish(found, "wings", folder / "made", "logistic_regression", _COUNTS)
    return found


def at_once(ask: Any, asked: list[Any]) -> list[Any]:
    """What each is answered, or refused with."""

    def one(request: Any) -> Any:
        try:
            return ask(request)
        except (EndpointError, grpc.RpcError) as error:
            return error

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(one, asked))


def rows_of(probability: float) -> int:
    return round(1 / probability) - 1


def test_torchserves_batch_is_one_prediction(
    counting: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("torchserve", monkeypatch)
    # KServe's runtime says it to every TorchServe; ours reads the requests itself.
    monkeypatch.setenv("TS_SERVICE_ENVELOPE", "kserve")
    options = {"batch_size": TOGETHER, "max_batch_delay": 5000}
    with served(counting, tmp_path, "torchserve", options=options) as (server, _):

        def ask(record: Any) -> Any:
            question = Question("/v1/models/wings:predict", {"instances": [record]})
            return server.ask(question, 60).body["probabilities"][0][1]

        assert [rows_of(p) for p in at_once(ask, [GOOD] * TOGETHER)] == [TOGETHER] * TOGETHER
        bad, *good = at_once(ask, [{"spam": 1}, GOOD, {**GOOD, "seen": None}, GOOD])
        assert "unknown field 'spam'" in str(bad)
        assert [rows_of(p) for p in good] == [3, 3, 3]


def column(name: str, datatype: str, **contents: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [1, 1], "contents": contents}


def columns(kind: bytes = b"a") -> ModelInferRequest:
    return ModelInferRequest(
        model_name="wings",
        inputs=[
            ModelInferRequest.InferInputTensor(**one)
            for one in (
                column("span", "INT64", int64_contents=[3]),
                column("weight", "FP64", fp64_contents=[1.5]),
                column("kind", "BYTES", bytes_contents=[kind]),
                column("seen", "BYTES", bytes_contents=[b"2024-01-02T08:00:00"]),
            )
        ],
    )


def test_tritons_batch_is_one_prediction(
    counting: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("triton", monkeypatch)
    options = {
        **{"backend": "python", "ensemble": True, "max_batch_size": TOGETHER},
        **{"preferred_batch_sizes": [TOGETHER], "max_queue_delay_microseconds": 5_000_000},
    }
    with served(counting, tmp_path, "triton", options=options) as (server, _):

        def ask(request: ModelInferRequest) -> Any:
            return infer(server.grpc_port, request)

        answers = at_once(ask, [columns() for _ in range(TOGETHER)])
        assert [rows_of(probability_of(one)) for one in answers] == [TOGETHER] * TOGETHER
        # Over HTTP, JSON cannot say such a value.
        bad, *good = at_once(ask, [columns(b"\xff"), columns(), columns(), columns()])
        assert bad.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "inputs.kind: not UTF-8" in bad.details()
        assert [rows_of(probability_of(one)) for one in good] == [3, 3, 3]


def probability_of(answer: Any) -> float:
    """Of the second class, of the one row."""
    position = [one.name for one in answer.outputs].index("probabilities")
    return float(struct.unpack("<2d", answer.raw_output_contents[position])[1])
