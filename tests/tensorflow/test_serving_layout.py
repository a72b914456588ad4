"""What TensorFlow Serving loads: its configuration read by its own protos, its warm-up
requests replayed, its arguments beside KServe's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.sample import Sample, read_sample
from kfp_suite.kserve.manifests import Served, inference_service
from kfp_suite.models.loading import load_model
from kfp_suite.runtimes.checks import INT64, UINT32
from kfp_suite.runtimes.layout import LayoutRequest, lay_out, parse_options
from kfp_suite.runtimes.protocol import ask_records, difference
from kfp_suite.runtimes.tensorflow_serving import (
    Batching,
    ServedModel,
    TensorFlowServingOptions,
    models_config,
)
from kfp_suite.stores.files import read_file
from tests.tensorflow.serving_protos import parse
from tests.tensorflow.training import fit

tf = pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")

NAME = "late-flights"
MOUNT = "/mnt/models"
# Of KServe 0.21's ClusterServingRuntime kserve-tensorflow-serving.
KSERVE = Path(__file__).resolve().parents[3] / "shared" / "kserve" / "runtimes"
KSERVE_ARGUMENTS = [
    "--model_name={{.Name}}",
    "--port=9000",
    "--rest_api_port=8080",
    "--model_base_path=/mnt/models",
    "--rest_api_timeout_in_ms=60000",
]
KSERVE_METRICS = {"prometheus.kserve.io/port": "8080", "prometheus.kserve.io/path": "/metrics"}


@pytest.fixture(scope="module")
def versions(
    data: Path, fitted: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Path]:
    """Two models, as the versions 2 and 3."""
    other = tmp_path_factory.mktemp("three") / "model"
    fit(data, fitted, other, seed=3)
    return {2: trained, 3: other}


def laid_out(versions: Mapping[int, Path], folder: Path, **options: Any) -> Path:
    lay_out(LayoutRequest("tensorflow-serving", NAME, options), versions, folder)
    return folder


def sample_of(artifact: Path) -> Sample:
    return read_sample(lambda name: read_file(str(artifact / name)))


def columns_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A signature's outputs as TensorFlow Serving's V1 says them: an object a row."""
    values = {name: tensor.numpy().tolist() for name, tensor in answer.items()}
    return {
        "predictions": [
            dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)
        ]
    }


def test_the_layout_is_what_the_server_looks_for(versions: dict[int, Path], tmp_path: Path) -> None:
    labels = {"stable": 2, "canary": 3}
    batching = {"max_batch_size": 64, "allowed_batch_sizes": [8, 64], "batch_timeout_micros": 500}
    laid_out(versions, tmp_path, latest=2, labels=labels, batching=batching)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("2", "3", "models.config", "batching.config", "monitoring.config")
    }
    for version in versions:
        assert (tmp_path / str(version) / "saved_model.pb").is_file()

    parsed = parse((tmp_path / "models.config").read_text(), "ModelServerConfig")
    (config,) = parsed.model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == (NAME, MOUNT, "tensorflow")
    assert config.model_version_policy.latest.num_versions == 2
    assert dict(config.version_labels) == labels

    parsed = parse((tmp_path / "batching.config").read_text(), "BatchingParameters")
    assert list(parsed.allowed_batch_sizes) == [8, 64]
    assert (parsed.max_batch_size.value, parsed.batch_timeout_micros.value) == (64, 500)
    assert (parsed.max_enqueued_batches.value, parsed.num_batch_threads.value) == (100, 2)

    parsed = parse((tmp_path / "monitoring.config").read_text(), "MonitoringConfig")
    assert (parsed.prometheus_config.enable, parsed.prometheus_config.path) == (True, "/metrics")


def test_what_is_deployed_is_what_answers(versions: dict[int, Path], tmp_path: Path) -> None:
    request = LayoutRequest("tensorflow-serving", NAME)
    with pytest.raises(ParameterError, match="no version would get version 3; expected version 2"):
        lay_out(request, versions, tmp_path, deployed=2)
    assert not list(tmp_path.iterdir())


def test_what_is_not_asked_for_is_not_written(versions: dict[int, Path], tmp_path: Path) -> None:
    laid_out(versions, tmp_path, monitoring=False)
    parsed = parse((tmp_path / "models.config").read_text(), "ModelServerConfig")
    (config,) = parsed.model_config_list.config
    assert config.model_version_policy.WhichOneof("policy_choice") == "all"
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3", "models.config"}


def test_warm_up_requests_get_the_models_own_answer(
    data: Path, versions: dict[int, Path], tmp_path: Path
) -> None:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    laid_out(versions, tmp_path)
    rows = read_dataset(data / "dataset").head("train", 20)
    for version, artifact in versions.items():
        signatures = tf.saved_model.load(str(tmp_path / str(version))).signatures
        path = tmp_path / str(version) / "assets.extra" / "tf_serving_warmup_requests"
        records = [
            PredictionLog.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(str(path))
        ]
        expected = load_model(artifact).predict(rows)
        said = Sample(
            records=({},) * 20,
            predictions=tuple(expected.values.tolist()),
            probabilities=tuple(map(tuple, expected.probabilities.tolist())),
        )
        answers: list[Any] = []
        for record in records:
            request = record.predict_log.request
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            answer = signatures[request.model_spec.signature_name](
                **{name: tf.constant(array) for name, array in inputs.items()}
            )
            answers += columns_of(answer)["predictions"]
        assert difference(said, {"predictions": answers}) <= 1e-5
        # The sample is the first rows of train, as the first requests are.
        sample = sample_of(artifact)
        assert difference(sample, {"predictions": answers[: len(sample)]}) <= 1e-5


def test_versions_answer_for_themselves(versions: dict[int, Path]) -> None:
    one, two = (sample_of(path) for path in versions.values())
    assert difference(one, {"predictions": [
        {"prediction": p, "probabilities": q}
        for p, q in zip(two.predictions, two.probabilities, strict=True)
    ]}) > 1e-3  # fmt: skip


# Every option to its text and back

VERSIONS = st.lists(st.integers(1, INT64), min_size=1, max_size=4, unique=True)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
LABELS = st.text("abcXYZ019_", min_size=1, max_size=63)


@st.composite
def models(draw: st.DrawFn) -> ServedModel:
    versions = draw(VERSIONS)
    specific = draw(st.lists(st.sampled_from(versions), unique=True))
    latest = draw(st.integers(0, UINT32))
    served = specific or sorted(versions)[-latest:]
    labels = draw(st.dictionaries(LABELS, st.sampled_from(served), max_size=3))
    options = {"latest": latest, "specific": specific, "labels": labels}
    parsed = parse_options("tensorflow-serving", options)
    return ServedModel(draw(NAMES), tuple(versions), parsed, f"{MOUNT}/{draw(NAMES)}")


@given(st.lists(models(), min_size=1, max_size=3, unique_by=lambda model: model.name))
def test_every_model_config_reads_back_as_it_was_meant(served: list[ServedModel]) -> None:
    parsed = parse(models_config(served), "ModelServerConfig")
    for model, config in zip(served, parsed.model_config_list.config, strict=True):
        assert (config.name, config.base_path) == (model.name, model.base)
        assert dict(config.version_labels) == model.options.labels
        policy, options = config.model_version_policy, model.options
        kind = policy.WhichOneof("policy_choice")
        if options.specific:
            assert (kind, tuple(policy.specific.versions)) == ("specific", options.specific)
        elif options.latest:
            assert (kind, policy.latest.num_versions) == ("latest", options.latest)
        else:
            assert kind == "all"


@given(*[st.integers(1, INT64)] * 3, st.integers(0, INT64), st.sets(st.integers(1, INT64)))
@settings(max_examples=30)
def test_every_batching_reads_back_as_it_was_meant(
    size: int, waiting: int, threads: int, timeout: int, sizes: set[int]
) -> None:
    from kfp_suite.runtimes import tensorflow_serving

    allowed = [*sorted(one for one in sizes if one < size), size] if sizes else []
    batching = Batching(size, timeout, waiting, threads, tuple(allowed))
    parsed = parse(tensorflow_serving.batching_config(batching), "BatchingParameters")
    got = {
        name: list(value) if name == "allowed_batch_sizes" else value.value
        for name, value in ((name, getattr(parsed, name)) for name in asdict(batching))
    }
    assert got == asdict(batching) | {"allowed_batch_sizes": allowed}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"latest": 1, "labels": {"canary": 2}},
            r"labels: version 2 is not served; expected one of 3$",
        ),
        ({"specific": [2], "labels": {"canary": 3}}, "labels: version 3 is not served.*one of 2$"),
        ({"latest": 0, "labels": {"canary": 4}}, "labels: version 4 is not served.*one of 2, 3"),
        ({"specific": [4]}, "specific: version 4 is not served; expected one of 2, 3"),
        ({"specific": [2, 3, 2]}, r"specific: 2 is there twice; got \[2, 3, 2\]"),
        ({"labels": {"a.b": 3}}, "labels: not a label; got a.b; expected 1 to 63 letters"),
        ({"labels": {"": 3}}, "labels: not a label"),
        ({"latest": -1}, "latest: out of range; got -1; expected 0 to 4294967295"),
        ({"latest": 2**32}, "latest: out of range; got 4294967296"),
        ({"newest": 1}, "runtime_options: unknown key 'newest'"),
        ({"batching": {"max_batch_size": 0}}, r"options.batching.max_batch_size: out of range"),
        ({"batching": {"batch_timeout_micros": -1}}, "batching.batch_timeout_micros: out of"),
        (
            {"batching": {"max_batch_size": 8, "allowed_batch_sizes": [0, 8]}},
            r"batching.allowed_batch_sizes: not allowed; got \[0, 8\]; expected ascending",
        ),
        (
            {"batching": {"max_batch_size": 8, "allowed_batch_sizes": [4, 16]}},
            "end with max_batch_size, 8",
        ),
        ({"batching": {"max_batch_size": 8, "allowed_batch_sizes": [4, 4, 8]}}, "ascending"),
    ],
)
def test_what_the_protos_take_and_the_server_does_not_is_refused(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        parsed = parse_options("tensorflow-serving", options)
        models_config([ServedModel(NAME, (2, 3), parsed)])


def test_a_name_that_is_there_twice_is_refused() -> None:
    options = TensorFlowServingOptions()
    one, two = ServedModel("a", (1,), options), ServedModel("a", (2,), options, "/mnt/other")
    with pytest.raises(ParameterError, match=r"models: model 'a' is there twice; got \['a', 'a'\]"):
        models_config([one, two])


# Beside KServe's own arguments


def test_kserves_runtime_is_as_it_is_held_here() -> None:
    file = KSERVE / "kserve-tensorflow-serving.yaml"
    if not file.is_file():
        pytest.skip("KServe's runtimes are not here")
    spec = yaml.safe_load(file.read_text())["spec"]
    assert spec["containers"][0]["args"] == KSERVE_ARGUMENTS
    assert spec["annotations"] == KSERVE_METRICS


@pytest.mark.parametrize(
    "options",
    [{}, {"latest": 2, "labels": {"stable": 2}, "batching": {}}, {"monitoring": False}],
)
def test_the_arguments_name_what_the_layout_holds(
    versions: dict[int, Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    laid_out(versions, tmp_path, **options)
    served = Served(NAME, "late", 3, "d", "m", "s", "u", "tensorflow-serving", "gs://b/layout")
    manifest = inference_service(served, namespace="models", options=options)
    model = manifest["spec"]["predictor"]["model"]
    assert (model["runtime"], model["protocolVersion"]) == ("kserve-tensorflow-serving", "v1")
    flags = [flag.split("=", 1) for flag in [*KSERVE_ARGUMENTS, *model["args"]]]
    given = dict(flags)
    assert len(given) == len(flags), "a flag is there twice"
    files = {name: text for name, text in given.items() if name.endswith("_file")}
    for path in files.values():
        assert (tmp_path / path.removeprefix(f"{MOUNT}/")).is_file()
    assert len(files) == len([path for path in tmp_path.iterdir() if path.is_file()])

    # --model_config_file goes before the name and the folder that KServe gives.
    config_file = tmp_path / Path(given["--model_config_file"]).name
    config = parse(config_file.read_text(), "ModelServerConfig").model_config_list.config[0]
    assert config.base_path == given["--model_base_path"] == MOUNT
    asked = ask_records(served.name, sample_of(versions[3])).path
    assert asked == f"/v1/models/{config.name}:predict"
    # The server reads labels before it has loaded a version.
    late = given.get("--allow_version_labels_for_unavailable_models")
    assert late == ("true" if config.version_labels else None)
    # It falls over a batching file without batching.
    assert (given.get("--enable_batching") == "true") == ("--batching_parameters_file" in given)
    if "--monitoring_config_file" in given:
        monitoring = parse((tmp_path / "monitoring.config").read_text(), "MonitoringConfig")
        path = monitoring.prometheus_config.path
        assert path == KSERVE_METRICS["prometheus.kserve.io/path"]
        assert given["--rest_api_port"] == KSERVE_METRICS["prometheus.kserve.io/port"]
