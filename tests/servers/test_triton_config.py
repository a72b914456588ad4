"""Triton's configurations read back by Triton's own proto, from the locked environment.

The server that can be had here has no ONNX backend: what stock images are given is held by
the proto, and by ONNX Runtime on the very files.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pool, message_factory, text_format
from hypothesis import given
from hypothesis import strategies as st

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import Field
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.runtimes.checks import INT32, INT64, UINT32
from kfp_suite.runtimes.layout import parse_options
from kfp_suite.runtimes.protocol import difference
from kfp_suite.runtimes.triton_config import Shape, TritonOptions, configurations
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.servers.conftest import environment
from tests.serving.conftest import publish

_CODE = (
    "import sys; from tritonclient.grpc import model_config_pb2 as found; "
    "sys.stdout.buffer.write(found.DESCRIPTOR.serialized_pb)"
)
# What Triton's ONNX backend wants of a tensor that ONNX Runtime calls so.
_OF_GRAPH = {"tensor(float)": "FP32"}
_DATATYPES = {"int64": "INT64", "float64": "FP64", "bool": "BOOL"}

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
KINDS: st.SearchStrategy[ColumnType] = st.sampled_from(
    ("int64", "float64", "bool", "string", "date", "timestamp")
)
PREDICTIONS: st.SearchStrategy[ColumnType] = st.sampled_from(("int64", "float64", "bool", "string"))


@pytest.fixture(scope="module")
def model_config() -> Any:
    """The class of Triton's `ModelConfig`."""
    python = environment("triton") / "bin" / "python"
    file = subprocess.run([str(python), "-c", _CODE], capture_output=True, check=True).stdout
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    most = draw(st.integers(1, INT32))
    return {
        "backend": draw(st.sampled_from(["onnxruntime", "python"])),
        "ensemble": draw(st.booleans()),
        "max_batch_size": most,
        "preferred_batch_sizes": draw(st.lists(st.integers(1, most), max_size=3, unique=True)),
        "max_queue_delay_microseconds": draw(st.integers(0, UINT32)),
        "instances": draw(st.integers(1, INT32)),
        "kind": draw(st.sampled_from(["cpu", "gpu"])),
        "latest": draw(st.integers(0, UINT32)),
        "specific": draw(st.lists(st.integers(1, INT64), max_size=3, unique=True)),
    }


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    columns = NAMES | st.sampled_from(["features", "scores", "_scores"])
    names = draw(st.lists(columns, min_size=1, max_size=4, unique=True))
    classes = draw(st.integers(1, 9))
    answers: tuple[Field, ...] = (Field("prediction", draw(PREDICTIONS)),)
    if classes > 1:
        answers += (Field("probabilities", "float64", shape=(classes,)),)
    return Shape(
        inputs=tuple(Field(name, draw(KINDS)) for name in names),
        outputs=answers,
        features=draw(st.integers(1, 10_000)),
        scores=classes,
        scores_name=draw(NAMES),
    )


def tensors(config: Any, side: str) -> list[tuple[str, str, list[int]]]:
    """Name, type and shape of each input or output."""
    types = type(config).DESCRIPTOR.fields_by_name[side].message_type.fields_by_name["data_type"]
    values = types.enum_type.values_by_number
    return [
        (tensor.name, values[tensor.data_type].name.removeprefix("TYPE_"), list(tensor.dims))
        for tensor in getattr(config, side)
    ]


def columns(fields: tuple[Field, ...]) -> list[tuple[str, str, list[int]]]:
    return [
        (field.name, _DATATYPES.get(field.type, "STRING"), list(field.shape or (1,)))
        for field in fields
    ]


@given(name=NAMES, shape=shapes(), given_options=options())
def test_every_configuration_reads_back_as_it_was_meant(
    model_config: Any, name: str, shape: Shape, given_options: dict[str, Any]
) -> None:
    parsed: TritonOptions = parse_options("triton", given_options)
    read = {
        model: text_format.Parse(text, model_config())
        for model, text in configurations(name, shape, parsed).items()
    }
    for model, config in read.items():
        assert config.name == model
        assert config.max_batch_size == parsed.max_batch_size
        check_policy(config, parsed)
    whole = read.pop(name) if parsed.ensemble else None
    for config in read.values():
        check_scheduling(config, parsed)
    estimator = read[f"{name}-model" if parsed.ensemble else name]
    assert estimator.backend == parsed.backend
    features = ("features", "FP32", [shape.features])
    assert tensors(estimator, "input") == [features]
    assert tensors(estimator, "output") == [(shape.scores_name, "FP32", [shape.scores])]
    assert estimator.parameters["role"].string_value == "model"
    if whole is None:
        assert len(read) == 1
        return
    before, after = read[f"{name}-preprocess"], read[f"{name}-postprocess"]
    assert (before.backend, after.backend) == ("python", "python")
    for part, config in (("preprocess", before), ("postprocess", after)):
        assert config.parameters["role"].string_value == part
        assert config.parameters["artifact_of"].string_value == estimator.name
    assert (whole.platform, whole.backend) == ("ensemble", "")
    assert tensors(whole, "input") == tensors(before, "input") == columns(shape.inputs)
    assert tensors(whole, "output") == tensors(after, "output") == columns(shape.outputs)
    assert tensors(before, "output") == [features]
    assert tensors(after, "input") == [("scores", "FP32", [shape.scores])]
    check_steps(whole, read)


def test_a_column_that_is_called_as_an_answer_is_refused_in_an_ensemble() -> None:
    field = Field("prediction", "float64")
    shape = Shape((field,), (field,), 1, 1, "scores")
    with pytest.raises(ParameterError, match=r"ensemble: an ensemble cannot take.*'prediction'"):
        configurations("m", shape, TritonOptions(ensemble=True))
    assert list(configurations("m", shape, TritonOptions())) == ["m"]


def check_policy(config: Any, options: TritonOptions) -> None:
    policy = config.version_policy
    kind = policy.WhichOneof("policy_choice")
    if options.specific:
        assert (kind, tuple(policy.specific.versions)) == ("specific", options.specific)
    elif options.latest:
        assert (kind, policy.latest.num_versions) == ("latest", options.latest)
    else:
        assert kind == "all"


def check_scheduling(config: Any, options: TritonOptions) -> None:
    (group,) = config.instance_group
    kinds = type(group).DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number
    assert (group.count, kinds[group.kind].name) == (
        options.instances,
        f"KIND_{options.kind.upper()}",
    )
    batching = config.dynamic_batching
    assert tuple(batching.preferred_batch_size) == options.preferred_batch_sizes
    assert batching.max_queue_delay_microseconds == options.max_queue_delay_microseconds


def check_steps(whole: Any, read: dict[str, Any]) -> None:
    """Each tensor of the ensemble is an input of it or an output of an earlier step, and each
    step is given all its inputs."""
    known = {tensor.name for tensor in whole.input}
    for step in whole.ensemble_scheduling.step:
        model = read[step.model_name]
        assert step.model_version == -1
        assert set(step.input_map) == {tensor.name for tensor in model.input}
        assert set(step.input_map.values()) <= known
        assert set(step.output_map) <= {tensor.name for tensor in model.output}
        assert not known & set(step.output_map.values()), "a tensor is made twice"
        known |= set(step.output_map.values())
    assert {tensor.name for tensor in whole.output} <= known


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """Two of classes, with and without trees, and one of numbers."""
    folder = tmp_path_factory.mktemp("graphs")
    found = ModelStore(FolderStore(folder / "store"))
    for estimator in ("logistic_regression", "decision_tree"):
        publish(found, "wings", folder / estimator, estimator)
    publish(found, "weights", folder / "weights", "linear_regression", label="weight")
    return found


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize(("name", "version"), [("wings", 1), ("wings", 2), ("weights", 1)])
def test_the_graph_is_what_its_configuration_says(
    graphs: ModelStore, model_config: Any, tmp_path: Path, name: str, version: int, ensemble: bool
) -> None:
    found = Deployable.find(
        graphs,
        name,
        version,
        runtime="triton",
        options={"ensemble": ensemble, "specific": [version]},
    )
    graphs.fetch_layout(name, found.served.storage_uri, tmp_path)
    place = tmp_path / (f"{name}-model" if ensemble else name)
    config = text_format.Parse((place / "config.pbtxt").read_text(), model_config())
    assert (config.name, config.backend, config.platform) == (place.name, "onnxruntime", "")
    assert config.default_model_filename == ""  # so it is model.onnx
    assert [one.name for one in place.iterdir() if one.is_dir()] == [str(version)]
    read = onnx.load(place / str(version) / "model.onnx")
    # KServe's own Triton, 23.05, has ONNX Runtime 1.15: up to IR version 9 and opset 19.
    assert read.ir_version <= 9
    assert max(one.version for one in read.opset_import) <= 19
    graph = onnxruntime.InferenceSession(read.SerializeToString())
    given = {one.name: one for one in graph.get_outputs()}
    # Every input of the graph is configured; of its outputs, those that are asked for.
    asked = [name for name, _, _ in tensors(config, "output")]
    assert set(asked) <= set(given)
    for side, nodes in (
        ("input", graph.get_inputs()),
        ("output", [given[name] for name in asked]),
    ):
        # Triton batches: the first dimension is free in the graph and left out here.
        assert [isinstance(node.shape[0], int) for node in nodes] == [False] * len(nodes)
        assert tensors(config, side) == [
            (node.name, _OF_GRAPH[node.type], list(node.shape[1:])) for node in nodes
        ]
    rows = np.array(found.sample.features, np.float32)
    assert 1 < len(rows) <= config.max_batch_size
    (scores,) = graph.run(asked, {"features": rows})
    assert scores.dtype == np.float32
    answer = {"outputs": [{"name": asked[0], "data": scores.tolist()}]}
    assert difference(found.sample, answer) <= 1e-5


@pytest.mark.parametrize(
    ("given_options", "said"),
    [
        ({"max_batch_size": 0}, "max_batch_size: out of range; got 0; expected 1 to 2147483647"),
        ({"max_batch_size": 2**31}, "max_batch_size: out of range; got 2147483648"),
        ({"instances": 0}, "instances: out of range; got 0"),
        ({"max_queue_delay_microseconds": -1}, "max_queue_delay_microseconds: out of range"),
        ({"max_queue_delay_microseconds": 2**32}, "max_queue_delay_microseconds: out of range"),
        ({"latest": -1}, "latest: out of range"),
        ({"preferred_batch_sizes": [0]}, "preferred_batch_sizes: out of range; got 0"),
        (
            {"max_batch_size": 8, "preferred_batch_sizes": [4, 9]},
            "preferred_batch_sizes: out of range; got 9; expected 1 to max_batch_size, 8",
        ),
        ({"preferred_batch_sizes": [4, 4]}, "preferred_batch_sizes: 4 is there twice"),
        ({"specific": [1, 2, 1]}, r"specific: 1 is there twice; got \[1, 2, 1\]"),
        ({"kind": "tpu"}, "kind: not allowed; got tpu; expected cpu or gpu"),
        ({"backend": "onnx"}, "backend: not allowed; got onnx; expected onnxruntime or python"),
        ({"instance": 2}, "unknown key 'instance'.*did you mean 'instances'"),
    ],
)
def test_options_out_of_range_are_refused_by_name(given_options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=f"runtime_options.*{said}"):
        parse_options("triton", given_options)
