"""Triton's `config.pbtxt`: the text format of its `model_config.proto`.

One for the estimator; for an ensemble also one for the whole, and for the steps before and
after the estimator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import Field
from kfp_suite.runtimes.checks import INT32, OPTIONS, UINT32, different, in_range, one_of
from kfp_suite.runtimes.prototext import quoted

FEATURES, SCORES = "features", "scores"
ONNX_BACKEND, PYTHON_BACKEND = "onnxruntime", "python"
DATATYPES: Mapping[ColumnType, str] = {
    "int64": "TYPE_INT64",
    "float64": "TYPE_FP64",
    "bool": "TYPE_BOOL",
    "string": "TYPE_STRING",
    "date": "TYPE_STRING",
    "timestamp": "TYPE_STRING",
}


@dataclass(frozen=True)
class TritonOptions:
    """How Triton serves.

    Attributes:
        backend: Of the estimator: `onnxruntime`, or `python`, with the library that trained.
        ensemble: Take raw columns, by an ensemble around the estimator; else its features.
        max_batch_size: Rows in a batch at most; 1 or more.
        preferred_batch_sizes: Sizes that are sent on at once; 1 to `max_batch_size`.
        max_queue_delay_microseconds: Time that a batch waits for more requests; 0 or more.
        instances: Copies of the model that work at once; 1 or more.
        kind: The device of the instances: `cpu` or `gpu`.
        latest: Serve the newest N versions; 0: all.
        specific: Serve these versions; empty: by `latest`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    backend: str = ONNX_BACKEND
    ensemble: bool = False
    max_batch_size: int = 1024
    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 100
    instances: int = 1
    kind: str = "cpu"
    latest: int = 0
    specific: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        one_of((ONNX_BACKEND, PYTHON_BACKEND), backend=self.backend)
        one_of(("cpu", "gpu"), kind=self.kind)
        in_range(1, INT32, instances=self.instances, max_batch_size=self.max_batch_size)
        in_range(
            0,
            UINT32,
            latest=self.latest,
            max_queue_delay_microseconds=self.max_queue_delay_microseconds,
        )
        different(specific=self.specific, preferred_batch_sizes=self.preferred_batch_sizes)
        for size in self.preferred_batch_sizes:
            if not 0 < size <= self.max_batch_size:
                raise ParameterError(
                    "out of range",
                    where=f"{OPTIONS}.preferred_batch_sizes",
                    got=size,
                    expected=f"1 to max_batch_size, {self.max_batch_size}",
                )


@dataclass(frozen=True)
class Shape:
    """The properties that all versions of a model share: input columns and predictions, the
    number of its features and scores, and the names of their tensors."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    features: int
    scores: int
    scores_name: str


def estimator_name(name: str, options: TritonOptions) -> str:
    """The model of the repository that is the estimator."""
    return f"{name}-model" if options.ensemble else name


def configurations(name: str, shape: Shape, options: TritonOptions) -> dict[str, str]:
    """The configuration of each model of the repository, by its name.

    Args:
        name: The model's name in requests.
        shape: The inputs and outputs of the estimator.
        options: The other options.

    Raises:
        ParameterError: an ensemble of a model with a column that has the name of an output.
    """
    estimator = estimator_name(name, options)
    features = _tensor(FEATURES, "TYPE_FP32", (shape.features,))
    scores = _tensor(shape.scores_name, "TYPE_FP32", (shape.scores,))
    role = _role("model", estimator)
    found = {estimator: _config(estimator, options.backend, [features], [scores], options) + role}
    if not options.ensemble:
        return found
    _check_names(shape)
    columns = [_tensor(field.name, DATATYPES[field.type], (1,)) for field in shape.inputs]
    answers = [
        _tensor(field.name, DATATYPES[field.type], field.shape or (1,)) for field in shape.outputs
    ]
    given = _tensor(SCORES, "TYPE_FP32", (shape.scores,))
    for part, inputs, outputs in (
        ("preprocess", columns, [features]),
        ("postprocess", [given], answers),
    ):
        config = _config(f"{name}-{part}", PYTHON_BACKEND, inputs, outputs, options)
        found[f"{name}-{part}"] = config + _role(part, estimator)
    # The tensors of an ensemble share one space of names: a column may be called `scores`.
    taken = {field.name for field in (*shape.inputs, *shape.outputs)}
    matrix, said = _free(FEATURES, taken), _free(SCORES, taken)
    steps = [
        _step(f"{name}-preprocess", {f.name: f.name for f in shape.inputs}, {FEATURES: matrix}),
        _step(estimator, {FEATURES: matrix}, {shape.scores_name: said}),
        _step(f"{name}-postprocess", {SCORES: said}, {f.name: f.name for f in shape.outputs}),
    ]
    found[name] = (
        _head(name, columns, answers, options)
        + 'platform: "ensemble"\n'
        + f"ensemble_scheduling {{\n{''.join(steps)}}}\n"
    )
    return found


def _check_names(shape: Shape) -> None:
    answers = {field.name for field in shape.outputs}
    for field in shape.inputs:
        if field.name in answers:
            raise ParameterError(
                f"an ensemble cannot take a column '{field.name}': an answer is called so",
                where=f"{OPTIONS}.ensemble",
                fix="rename the column, or leave the ensemble out",
            )


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"_{name}"
    return name


def _config(
    name: str, backend: str, inputs: list[str], outputs: list[str], options: TritonOptions
) -> str:
    text = _head(name, inputs, outputs, options) + f"backend: {quoted(backend)}\n"
    kind = f"KIND_{options.kind.upper()}"
    text += f"instance_group {{ count: {options.instances}, kind: {kind} }}\n"
    preferred = "".join(f" preferred_batch_size: {size}" for size in options.preferred_batch_sizes)
    delay = options.max_queue_delay_microseconds
    return text + f"dynamic_batching {{{preferred} max_queue_delay_microseconds: {delay} }}\n"


def _head(name: str, inputs: list[str], outputs: list[str], options: TritonOptions) -> str:
    if options.specific:
        policy = "specific { " + " ".join(f"versions: {n}" for n in options.specific) + " }"
    elif options.latest:
        policy = f"latest {{ num_versions: {options.latest} }}"
    else:
        policy = "all { }"
    tensors = [f"input {text}" for text in inputs] + [f"output {text}" for text in outputs]
    return (
        f"name: {quoted(name)}\nmax_batch_size: {options.max_batch_size}\n"
        + "".join(f"{tensor}\n" for tensor in tensors)
        + f"version_policy {{ {policy} }}\n"
    )


def _tensor(name: str, datatype: str, dims: Sequence[int]) -> str:
    shape = " ".join(f"dims: {size}" for size in dims)
    return f"{{ name: {quoted(name)}, data_type: {datatype}, {shape} }}"


def _role(role: str, artifact_of: str) -> str:
    """Which part the Python backend plays, and the model whose folder has the artifact."""
    return "".join(
        f"parameters {{ key: {quoted(key)}, value {{ string_value: {quoted(value)} }} }}\n"
        for key, value in (("role", role), ("artifact_of", artifact_of))
    )


def _step(name: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    def maps(kind: str, names: Mapping[str, str]) -> str:
        return "".join(
            f"    {kind} {{ key: {quoted(key)}, value: {quoted(value)} }}\n"
            for key, value in names.items()
        )

    return (
        f"  step {{\n    model_name: {quoted(name)}\n    model_version: -1\n"
        f"{maps('input_map', inputs)}{maps('output_map', outputs)}  }}\n"
    )
