"""The client of the predictor, for our server as its transformer.

Raw records come in, the transform makes the matrix, the predictor returns scores, and
calibration and decision happen here, so that an answer equals the trained model's.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import orjson

from kfp_suite.server.errors import PredictorFailed

_BINARY = "binary_tensor_data"
"""What a server calls the extension by which a tensor follows its header as bytes."""


class RemoteScores:
    """Scores from a server that speaks the Open Inference Protocol (V2) over HTTP."""

    def __init__(self, host: str, name: str, outputs: str = "") -> None:
        """A client of `http://host` for the model `name`; `outputs`: the tensor to request,
        empty: all."""
        self._server = f"http://{host}/v2"
        self._url = f"{self._server}/models/{name}/infer"
        self._outputs = [{"name": outputs}] if outputs else []
        self._client = httpx.AsyncClient(timeout=None)  # noqa: S113 - a prediction has one
        self._binary: bool | None = None

    async def scores(self, matrix: Any) -> Any:
        """Probabilities, shape (rows, classes), or numbers, shape (rows,).

        Args:
            matrix: float32, shape (rows, features); NaN: missing.

        Raises:
            PredictorFailed: the predictor does not answer, or not with scores.
        """
        try:
            content, headers = self._request(matrix, binary=await self._takes_binary())
            response = await self._client.post(self._url, content=content, headers=headers)
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise PredictorFailed("the predictor does not answer", self._url, said) from error
        if response.status_code != 200:
            what = f"the predictor answered {response.status_code}"
            raise PredictorFailed(what, self._url, response.text, response.status_code)
        try:
            return _scores(orjson.loads(response.content), len(matrix))
        except (KeyError, TypeError, ValueError) as error:
            raise PredictorFailed(
                "the predictor gives no scores", self._url, response.text
            ) from error

    async def _takes_binary(self) -> bool:
        """Whether its metadata lists binary tensors. Triton's does, and it takes missing numbers
        in no other form; MLServer and KServe's own server read JSON's null as one."""
        if self._binary is None:
            response = await self._client.get(self._server)
            if response.status_code != 200:
                return False  # not ready: asked again at the next request
            self._binary = _BINARY.encode() in response.content
        return self._binary

    def _request(self, matrix: Any, *, binary: bool) -> tuple[bytes, dict[str, str]]:
        """Body and headers."""
        tensor: dict[str, Any] = {
            "name": "features",
            "shape": list(matrix.shape),
            "datatype": "FP32",
        }
        body: dict[str, Any] = {"inputs": [tensor]}
        if self._outputs:
            body["outputs"] = self._outputs
        if not binary:
            tensor["data"] = matrix.ravel().tolist()
            return orjson.dumps(body), {"content-type": "application/json"}
        raw = matrix.astype("<f4").tobytes()
        tensor["parameters"] = {"binary_data_size": len(raw)}
        head = orjson.dumps(body)
        return head + raw, {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(head)),
        }


def _scores(answer: Any, rows: int) -> Any:
    tensors = [np.asarray(output["data"]) for output in answer["outputs"]]
    # Of several, the scores are the ones with the most values: a label is one a row.
    values = max(tensors, key=np.size).astype(np.float64).reshape(rows, -1)
    return values if values.shape[1] > 1 else values[:, 0]
