"""The estimator behind another server: what our server asks as its transformer.

Raw records come in, the transform makes the matrix, the predictor gives scores, and the
answer is calibrated and decided here: what is served is what was trained.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import orjson

from kfp_suite.components.server.unanswered import PredictorFailed


class RemoteScores:
    """Scores from a server that speaks the Open Inference Protocol (V2) over HTTP."""

    def __init__(self, host: str, name: str, outputs: str = "") -> None:
        """Of `http://host`, for the model `name`; `outputs`: the tensor to ask for, empty:
        all there are."""
        self._url = f"http://{host}/v2/models/{name}/infer"
        self._outputs = [{"name": outputs}] if outputs else []
        self._client = httpx.AsyncClient(timeout=None)  # noqa: S113 - a prediction has one

    async def scores(self, matrix: Any) -> Any:
        """Probabilities, shape (rows, classes), or numbers, shape (rows,).

        Args:
            matrix: float32, shape (rows, features).

        Raises:
            PredictorFailed: the predictor does not answer, or not with scores.
        """
        body: dict[str, Any] = {
            "inputs": [
                {
                    "name": "features",
                    "shape": list(matrix.shape),
                    "datatype": "FP32",
                    "data": matrix.ravel().tolist(),
                }
            ]
        }
        if self._outputs:
            body["outputs"] = self._outputs
        try:
            response = await self._client.post(
                self._url, content=orjson.dumps(body), headers={"content-type": "application/json"}
            )
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


def _scores(answer: Any, rows: int) -> Any:
    tensors = [np.asarray(output["data"]) for output in answer["outputs"]]
    # Of several, the scores are the ones with the most values: a label is one a row.
    values = max(tensors, key=np.size).astype(np.float64).reshape(rows, -1)
    return values if values.shape[1] > 1 else values[:, 0]
