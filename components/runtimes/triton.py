"""NVIDIA Triton: a model repository.

    <name>/config.pbtxt, <name>/<n>/model.onnx      the graph, for stock images
    <name>/config.pbtxt, <name>/<n>/model.py        or the Python backend

and, where raw columns are asked for, an ensemble of three:

    <name>/config.pbtxt                 columns in, prediction and probabilities out
    <name>-preprocess/                  columns → features      (Python backend)
    <name>-model/                       features → scores       (ONNX Runtime or Python)
    <name>-postprocess/                 scores → predictions    (Python backend)

The Python backend imports `kfp_suite`, so its image has it. Configuration is the text
format of Triton's `model_config.proto`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.columns import ColumnType
from kfp_suite.components.contracts.errors import ParameterError
from kfp_suite.components.contracts.model import (
    ESTIMATOR_ONNX,
    Field,
    ModelManifest,
    read_model,
)
from kfp_suite.components.contracts.sample import read_sample
from kfp_suite.components.runtimes.checks import (
    INT32,
    OPTIONS,
    UINT32,
    different,
    in_range,
    one_of,
    served_versions,
)
from kfp_suite.components.runtimes.prototext import quoted
from kfp_suite.components.runtimes.runtime import RUNTIMES, TRITON, check_serves
from kfp_suite.components.stores.files import read_file

ARTIFACT = "artifact"
FEATURES, SCORES = "features", "scores"
ONNX_BACKEND, PYTHON_BACKEND = "onnxruntime", "python"
_PLACEHOLDER = "An ensemble has no files of its own; object stores keep no empty folders.\n"
_MODEL = '''"""Served by Triton's Python backend."""

from kfp_suite.components.runtimes.triton_backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
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
        max_queue_delay_microseconds: How long a batch waits for more; 0 or more.
        instances: Copies of the model that work at once; 1 or more.
        kind: Where instances are: `cpu` or `gpu`.
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
    latest: int = 1
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


def lay_out(name: str, versions: Mapping[int, Path], options: TritonOptions, folder: Path) -> None:
    """The model repository.

    Raises:
        ParameterError: no ONNX graph where one is asked for, versions whose inputs are not
            the same, or a version that is not there.
    """
    served_versions("specific", options.specific, versions)
    if options.ensemble and len(versions) > 1:
        # It would answer for one version with the steps of another.
        raise ParameterError(
            "an ensemble serves one version",
            where="versions",
            got=sorted(versions),
            fix="split the traffic with a canary, or leave the ensemble out",
        )
    needs = ESTIMATOR_ONNX if options.backend == ONNX_BACKEND else ""
    shapes = {}
    for version, path in versions.items():
        manifest = read_model(path).manifest
        check_serves(RUNTIMES[TRITON], manifest, needs)
        shapes[version] = _shape(manifest, path, onnx=bool(needs))
    first, *others = shapes.values()
    if any(other != first for other in others):
        raise ParameterError(
            "the versions do not take and give the same",
            where="versions",
            got=sorted(versions),
            fix="split the traffic between two endpoints instead",
        )
    estimator = f"{name}-model" if options.ensemble else name
    _write_estimator(estimator, versions, first, options, folder)
    if options.ensemble:
        _write_ensemble(name, max(versions), first, options, folder)


@dataclass(frozen=True)
class _Shape:
    """What every version of a model has to agree on."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    features: int
    scores: int
    scores_name: str


def _shape(manifest: ModelManifest, path: Path, *, onnx: bool) -> _Shape:
    sample = read_sample(lambda name: read_file(str(path / name)))
    if not sample.features:
        raise ParameterError(
            "the model does not say what it takes",
            where=path,
            fix="train it again with this version of kfp-suite",
        )
    row = sample.scores[0]
    return _Shape(
        inputs=manifest.signature.inputs,
        outputs=manifest.signature.outputs,
        features=len(sample.features[0]),
        scores=len(row) if isinstance(row, (list, tuple)) else 1,
        scores_name=str(manifest.notes["onnx"]["output"]) if onnx else SCORES,
    )


def _write_estimator(
    name: str, versions: Mapping[int, Path], shape: _Shape, options: TritonOptions, folder: Path
) -> None:
    onnx = options.backend == ONNX_BACKEND
    inputs = [_tensor(FEATURES, "TYPE_FP32", (shape.features,))]
    outputs = [
        _tensor(shape.scores_name, "TYPE_FP32", (shape.scores,)),
    ]
    config = _config(name, options.backend, inputs, outputs, options)
    write_file(folder / name / "config.pbtxt", (config + _role("model", name)).encode())
    for version, path in versions.items():
        of_version = folder / name / str(version)
        of_version.mkdir(parents=True)
        if onnx:
            shutil.copyfile(path / ESTIMATOR_ONNX, of_version / "model.onnx")
        else:
            write_file(of_version / "model.py", _MODEL.encode())
        if options.ensemble or not onnx:
            shutil.copytree(path, of_version / ARTIFACT)


def _write_ensemble(
    name: str, version: int, shape: _Shape, options: TritonOptions, folder: Path
) -> None:
    estimator = f"{name}-model"
    columns = [_tensor(field.name, DATATYPES[field.type], (1,)) for field in shape.inputs]
    answers = [
        _tensor(field.name, DATATYPES[field.type], field.shape or (1,)) for field in shape.outputs
    ]
    features = _tensor(FEATURES, "TYPE_FP32", (shape.features,))
    given = _tensor(SCORES, "TYPE_FP32", (shape.scores,))
    for role, inputs, outputs in (
        ("preprocess", columns, [features]),
        ("postprocess", [given], answers),
    ):
        config = _config(f"{name}-{role}", PYTHON_BACKEND, inputs, outputs, options)
        place = folder / f"{name}-{role}"
        write_file(place / "config.pbtxt", (config + _role(role, estimator)).encode())
        write_file(place / str(version) / "model.py", _MODEL.encode())
    steps = [
        _step(f"{name}-preprocess", {f.name: f.name for f in shape.inputs}, {FEATURES: FEATURES}),
        _step(estimator, {FEATURES: FEATURES}, {shape.scores_name: SCORES}),
        _step(f"{name}-postprocess", {SCORES: SCORES}, {f.name: f.name for f in shape.outputs}),
    ]
    text = _head(name, columns, answers, options) + 'platform: "ensemble"\n'
    text += "ensemble_scheduling {\n" + "".join(steps) + "}\n"
    write_file(folder / name / "config.pbtxt", text.encode())
    write_file(folder / name / str(version) / "README", _PLACEHOLDER.encode())


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
