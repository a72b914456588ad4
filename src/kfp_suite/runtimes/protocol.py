"""The request of each server for a sample of rows, and the difference from the model's answers.

Plain JSON on both sides, so that the client needs none of the model's libraries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import EndpointError
from kfp_suite.contracts.model import Field
from kfp_suite.contracts.sample import Sample
from kfp_suite.runtimes.runtime import MLSERVER, TRITON

V2_DATATYPES: Mapping[ColumnType, str] = {
    "int64": "INT64",
    "float64": "FP64",
    "bool": "BOOL",
    "string": "BYTES",
    "date": "BYTES",
    "timestamp": "BYTES",
}
OTHER = math.inf
"""The difference of answers that cannot be compared: another class, or not a number."""


@dataclass(frozen=True)
class Question:
    """A request: the path below the server's address, and the body."""

    path: str
    body: dict[str, Any]


def question_for(
    runtime: str,
    name: str,
    sample: Sample,
    *,
    features: bool = False,
    inputs: Sequence[Field] = (),
    probabilities: bool = True,
) -> Question:
    """The request that a server takes.

    Args:
        runtime: The server.
        name: The model's.
        sample: Rows to predict.
        features: It takes the estimator's matrix: there is no transformer before it.
        inputs: The model's, for a server that takes a tensor a raw column.
        probabilities: Whether the model has probabilities.
    """
    if features:
        wanted = ("predict_proba" if probabilities else "predict",)
        return ask_features(name, sample, wanted if runtime == MLSERVER else ())
    if runtime == TRITON:
        return ask_columns(name, sample, inputs)
    return ask_records(name, sample)


def ask_records(name: str, sample: Sample) -> Question:
    """Raw records by V1: our server, and TensorFlow Serving's signature on columns."""
    return Question(f"/v1/models/{name}:predict", {"instances": list(sample.records)})


def ask_features(name: str, sample: Sample, outputs: Sequence[str] = ()) -> Question:
    """The estimator's matrix by V2, as one tensor `features`.

    Args:
        name: The model's.
        sample: Rows whose features are all numbers: see `finite`.
        outputs: The tensors to request; empty: all.
    """
    rows, width = len(sample), len(sample.features[0])
    flat = [value for row in sample.features for value in row]
    tensor = {"name": "features", "shape": [rows, width], "datatype": "FP32", "data": flat}
    body: dict[str, Any] = {"inputs": [tensor]}
    if outputs:
        body["outputs"] = [{"name": output} for output in outputs]
    return Question(f"/v2/models/{name}/infer", body)


def ask_columns(name: str, sample: Sample, inputs: Sequence[Field]) -> Question:
    """A tensor a raw column by V2, of shape [rows, 1]."""
    tensors = [
        {
            "name": field.name,
            "shape": [len(sample), 1],
            "datatype": V2_DATATYPES[field.type],
            "data": [record[field.name] for record in sample.records],
        }
        for field in inputs
    ]
    return Question(f"/v2/models/{name}/infer", {"inputs": tensors})


def finite(sample: Sample) -> Sample:
    """The rows of a sample whose features are all numbers: JSON has no other."""
    return sample.picked([i for i, row in enumerate(sample.features) if None not in row])


def difference(sample: Sample, body: Any) -> float:
    """The difference between an answer and the model's own.

    Args:
        sample: The rows of the request, with the model's answers.
        body: The parsed answer, of V1 (a list of values or of objects) or V2.

    Returns:
        The largest difference of a probability, a score, or a predicted number relative to
        it; infinity for another class, another shape or a value that is not a number.

    Raises:
        EndpointError: it has no predictions, or not in the form of the protocol.
    """
    answer = _read(body)
    if "scores" in answer:
        return _farthest(answer["scores"], _flat(sample.scores), relative=True)
    predictions = answer["predictions"]
    if len(predictions) != len(sample):
        return OTHER
    probabilities = answer.get("probabilities")
    if sample.probabilities and probabilities is not None:
        far = _farthest(_flat(probabilities), _flat(sample.probabilities), relative=False)
        same = all(_same(a, b) for a, b in zip(predictions, sample.predictions, strict=True))
        return far if same else OTHER
    if sample.probabilities or not all(map(_is_number, sample.predictions)):
        same = all(_same(a, b) for a, b in zip(predictions, sample.predictions, strict=True))
        return 0.0 if same else OTHER
    return _farthest(_flat(predictions), _flat(sample.predictions), relative=True)


def _read(body: Any) -> dict[str, list[Any]]:
    """An answer as `predictions` and `probabilities`, or as `scores`; flat lists for V2.

    Raises:
        EndpointError: it is none.
    """
    if isinstance(body, Mapping) and isinstance(body.get("predictions"), list):
        predictions = body["predictions"]
        if predictions and all(isinstance(row, Mapping) for row in predictions):
            names = predictions[0].keys()
            columns = {name: [row.get(name) for row in predictions] for name in names}
            found = {"predictions": columns.get("prediction", [])}
            if "probabilities" in columns:
                found["probabilities"] = columns["probabilities"]
            return found
        found = {"predictions": predictions}
        if "probabilities" in body:
            found["probabilities"] = body["probabilities"]
        return found
    if outputs := _outputs(body):
        if "prediction" in outputs:
            found = {"predictions": _flat(outputs["prediction"])}
            if "probabilities" in outputs:
                found["probabilities"] = outputs["probabilities"]
            return found
        # Of several, the scores are the ones with the most values: a label is one a row.
        return {"scores": max((_flat(data) for data in outputs.values()), key=len)}
    raise EndpointError(
        "no predictions in the answer", got=body, expected="predictions (V1) or outputs (V2)"
    )


def _outputs(body: Any) -> dict[str, list[Any]]:
    """The tensors of V2 by name; empty if the answer is not of V2."""
    listed = body.get("outputs") if isinstance(body, Mapping) else None
    if not isinstance(listed, list):
        return {}
    found = {
        output["name"]: output["data"]
        for output in listed
        if isinstance(output, Mapping)
        and isinstance(output.get("name"), str)
        and isinstance(output.get("data"), list)
    }
    return found if len(found) == len(listed) else {}


def _flat(values: Any) -> list[Any]:
    """The values of nested lists, from the first to the last."""
    found, waiting = [], [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (list, tuple)):
            waiting += reversed(value)
        else:
            found.append(value)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    try:
        return _is_number(value) and math.isfinite(value)
    except OverflowError:  # JSON's integers have no end
        return False


def _same(got: Any, expected: Any) -> bool:
    return bool(got == expected) and isinstance(got, bool) == isinstance(expected, bool)


def _farthest(got: Sequence[Any], expected: Sequence[Any], *, relative: bool) -> float:
    if len(got) != len(expected):
        return OTHER
    most = 0.0
    for one, other in zip(got, expected, strict=True):
        if not _is_number(other) or not _is_finite(one):
            return OTHER
        scale = max(abs(other), 1.0) if relative else 1.0
        most = max(most, abs(one - other) / scale)
    return most
