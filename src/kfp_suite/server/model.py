"""A published version behind KServe's model interface: V1 and V2, over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kserve
import orjson
import pyarrow as pa
from kserve.errors import InvalidInput

from kfp_suite.contracts.errors import DataError, InputError
from kfp_suite.contracts.model import DEFAULT_SIGNATURE, SAMPLE_REQUEST, Signature
from kfp_suite.models.loading import LoadedModel, Prediction, load_model
from kfp_suite.models.request_parsing import (
    RecordFormat,
    examples_of,
    record_format,
    table_of_columns,
    table_of_records,
)
from kfp_suite.runtimes.http_client import VERSION_HEADER
from kfp_suite.server.batching import SLOW_SECONDS, Batcher
from kfp_suite.server.daemon_threads import Threads
from kfp_suite.server.errors import NotExplained, PredictTimeout
from kfp_suite.server.limits import PREDICT_SECONDS
from kfp_suite.server.metrics import METRICS
from kfp_suite.server.remote_predictor import RemoteScores
from kfp_suite.server.tensors import (
    check_outputs,
    infer_response,
    metadata,
    table_of_tensors,
)

# Calls cheaper than this run on the event loop: handing them to a thread costs more.
_CHEAP_SECONDS = 0.0005
_FEW_ROWS = 256
_WARM_UP_CALLS = 10
_THREADS = 4


@dataclass(frozen=True)
class ServedVersion:
    """A loaded model and the version it is; `cheap`: a call for a few rows costs little;
    `form`: how its records are read."""

    version: str
    model: LoadedModel
    cheap: bool
    form: RecordFormat

    @classmethod
    def load(
        cls, version: str, folder: Path, *, verify: bool = True, estimator: bool = True
    ) -> ServedVersion:
        """Load a Model artifact, and warm it up with its own sample request; without its
        estimator for a transformer, which has that elsewhere.

        Raises:
            As `load_model`.
        """
        model = load_model(folder, verify=verify, estimator=estimator)
        call = model.predict if estimator else model.features
        sample = orjson.loads((folder / SAMPLE_REQUEST).read_bytes())
        form = record_format(model.manifest)
        row = _table_of_v1(sample, form).slice(0, 1)
        seconds = []
        for _ in range(_WARM_UP_CALLS):
            started = time.monotonic()
            call(row)
            seconds.append(time.monotonic() - started)
        return cls(version, model, min(seconds) < _CHEAP_SECONDS, form)


class VersionedModel(kserve.Model):  # type: ignore[misc]
    """Answers with a version that can be replaced while requests are in flight.

    Each request takes the version once, at its start, so that one version answers it and its
    answer names that version.
    """

    def __init__(
        self,
        name: str,
        current: ServedVersion,
        remote: RemoteScores | None = None,
        predict_seconds: float = PREDICT_SECONDS,
    ) -> None:
        """Serve `current`; with `remote`, as the transformer before it.

        Args:
            name: The model's.
            current: The version that answers at first.
            remote: The predictor behind the transformer; None: the model itself.
            predict_seconds: Limit of a prediction, in seconds.
        """
        super().__init__(name, return_response_headers=True)
        self.enable_latency_logging = False
        self._current, self._remote = current, remote
        self._predict_seconds = predict_seconds
        self._batcher = Batcher(min(SLOW_SECONDS, predict_seconds / 4))
        self._aside = Threads(_THREADS, "aside")
        self.ready = True

    @property
    def version(self) -> str:
        """The version that answers now."""
        return self._current.version

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the version that answers now."""
        return self._current.model.manifest.signature

    @property
    def hangs(self) -> bool:
        """Whether a call is at it for longer than a prediction may take."""
        return max(self._batcher.longest(), self._aside.longest()) > self._predict_seconds

    async def healthy(self) -> bool:
        """Whether it answers."""
        return bool(self.ready) and not self.hangs

    def replace(self, current: ServedVersion) -> None:
        """Answer with another version from the next request on."""
        self._current = current

    async def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Answer a request.

        Raises:
            InvalidInput: HTTP 400: naming the field, its value and the expected type.
            PredictTimeout: HTTP 504: it took too long.
            PredictorFailed: HTTP 502: the predictor that this is the transformer of.
        """
        current = self._current
        try:
            async with asyncio.timeout(self._predict_seconds):
                prediction = await self._predicted(payload, current)
        except TimeoutError as error:
            raise PredictTimeout(self._predict_seconds) from error
        except InputError as error:
            raise InvalidInput(str(error)) from error
        METRICS.records.labels(self.name, current.version).inc(len(prediction.values))
        if response_headers is not None:
            response_headers[VERSION_HEADER] = current.version
        if isinstance(payload, kserve.InferRequest):
            outputs = current.model.manifest.signature.outputs
            return infer_response(payload, outputs, prediction, current.version)
        answer = {"predictions": prediction.values.tolist(), "model_version": current.version}
        if prediction.probabilities is not None:
            answer["probabilities"] = prediction.probabilities.tolist()
            answer["classes"] = list(current.model.manifest.classes)
        return answer

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """No answer. Raises NotExplained: HTTP 404."""
        raise NotExplained(self.name)

    async def _off_the_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the function on a thread, so that a slow call does not block the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, function, *args)

    async def _predicted(self, payload: Any, current: ServedVersion) -> Prediction:
        if (
            isinstance(payload, dict)
            and payload.get("signature_name", DEFAULT_SIGNATURE) != DEFAULT_SIGNATURE
        ):
            examples = examples_of(payload)
            found: Prediction = await self._off_the_loop(current.model.predict_examples, examples)
            return found
        signature = current.model.manifest.signature
        if tensors := isinstance(payload, kserve.InferRequest):
            check_outputs(payload, signature.outputs)
        read = table_of_tensors if tensors else _table_of_v1
        left_out: Counter[str] = Counter()
        few = _rows_of(payload) <= _FEW_ROWS
        if few:
            table = read(payload, current.form, left_out)
        else:
            table = await self._off_the_loop(read, payload, current.form, left_out)
        if left_out:
            METRICS.observe_left_out(self.name, current.version, left_out)
        if few and current.cheap and self._remote is None:
            return current.model.predict(table)
        if self._remote is None:
            return await self._batcher.predict(current.model, table)
        features = await self._off_the_loop(current.model.features, table)
        return current.model.decided(await self._remote.scores(features))

    def get_input_types(self) -> list[dict[str, Any]]:
        """The signature's inputs, as V2 model metadata."""
        return [
            {**metadata(field), "parameters": {"type": field.type, "nullable": field.nullable}}
            for field in self.signature.inputs
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The signature's outputs, as V2 model metadata."""
        manifest = self._current.model.manifest
        found = [metadata(field) for field in manifest.signature.outputs]
        for one in found:
            if one["name"] == "probabilities" and manifest.classes:
                one["parameters"] = {"classes": list(manifest.classes)}
        return found


def _rows_of(payload: Any) -> int:
    """How many rows a request seems to have, before it is checked."""
    if isinstance(payload, kserve.InferRequest):
        return max((tensor.shape[0] for tensor in payload.inputs if tensor.shape), default=0)
    if isinstance(payload, dict):
        instances = payload.get("instances") or payload.get("inputs") or ()
        if isinstance(instances, dict):
            instances = next(iter(instances.values()), ())
        return len(instances) if isinstance(instances, (list, tuple)) else 0
    return 0


def _table_of_v1(
    payload: object, form: RecordFormat, left_out: Counter[str] | None = None
) -> pa.Table:
    if isinstance(payload, dict) and "instances" in payload:
        return table_of_records(payload["instances"], form, left_out)
    if isinstance(payload, dict) and "inputs" in payload:
        return table_of_columns(payload["inputs"], form, left_out)
    raise DataError(
        "no records in the request",
        got=", ".join(payload) if isinstance(payload, dict) else type(payload).__name__,
        expected='{"instances": [{...}]} or {"inputs": {"field": [...]}}',
    )
