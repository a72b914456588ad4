"""A network as an ONNX graph: kept where it says the same, laid out for stock servers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import ESTIMATOR_ONNX, read_model
from kfp_suite.contracts.sample import Sample, read_sample
from kfp_suite.models.loading import load_model
from kfp_suite.models.onnx import OPSET
from kfp_suite.runtimes.layout import LayoutRequest, lay_out
from kfp_suite.runtimes.protocol import difference
from kfp_suite.stores.files import read_file
from tests.tensorflow.training import NUMBERS, features, fit

tf = pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")

from kfp_suite.components.train.keras import to_onnx  # noqa: E402
from kfp_suite.components.train.keras.export import TOLERANCE  # noqa: E402


def sample_of(artifact: Path) -> Sample:
    return read_sample(lambda name: read_file(str(artifact / name)))


def graph_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("label", ["late", "kind", "delay"])
def test_the_graph_says_what_the_network_says(
    data: Path, fitted: Path, tmp_path: Path, label: str
) -> None:
    manifest = fit(data, fitted, tmp_path / "model", label=label)
    proof = manifest.notes["onnx"]
    assert (proof["equal"], proof["why"], proof["output"]) == (True, "", "scores")
    splits = read_dataset(data / "dataset").manifest.splits
    assert proof["rows"] == splits["train"].rows + splits["eval"].rows
    assert ESTIMATOR_ONNX not in manifest.payload
    assert "SavedModel and ONNX" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    graph = onnx.load(tmp_path / "model" / ESTIMATOR_ONNX)
    assert graph.ir_version <= 8
    assert [one.version for one in graph.opset_import if not one.domain] == [OPSET]
    model = load_model(tmp_path / "model")
    matrix = model.features(read_dataset(data / "dataset").table("test"))
    (got,) = graph_of(tmp_path / "model" / ESTIMATOR_ONNX).run(["scores"], {"features": matrix})
    expected = model.scores(matrix).reshape(len(matrix), -1)
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_triton_takes_a_network_as_its_graph(trained: Path, tmp_path: Path) -> None:
    lay_out(LayoutRequest("triton", "late"), {3: trained}, tmp_path)
    sample = sample_of(trained)
    graph = graph_of(tmp_path / "late" / "3" / "model.onnx")
    (given,), (answered,) = graph.get_inputs(), graph.get_outputs()
    text = (tmp_path / "late" / "config.pbtxt").read_text()
    width = len(sample.features[0])
    assert (given.name, given.type, given.shape[1:]) == ("features", "tensor(float)", [width])
    assert f'input {{ name: "features", data_type: TYPE_FP32, dims: {width} }}' in text
    assert (answered.name, answered.type, answered.shape[1:]) == ("scores", "tensor(float)", [2])
    assert 'output { name: "scores", data_type: TYPE_FP32, dims: 2 }' in text
    (scores,) = graph.run(None, {"features": np.array(sample.features, np.float32)})
    answer = {"outputs": [{"name": "scores", "data": scores.tolist()}]}
    assert difference(sample, answer) <= TOLERANCE


def test_what_onnx_has_no_operation_for_is_recorded_and_refused(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fitted = features(data, tmp_path, *NUMBERS)
    manifest = fit(data, fitted, tmp_path / "model", hyperparameters={"activation": "gelu"})
    why = "no conversion: ONNX has no operation for Erfc"
    assert (manifest.notes["onnx"]["equal"], manifest.notes["onnx"]["why"]) == (False, why)
    assert not [record for record in caplog.records if record.name.startswith("tf2onnx")]
    assert not (tmp_path / "model" / ESTIMATOR_ONNX).exists()
    (tmp_path / "layout").mkdir()
    with pytest.raises(ParameterError, match=f"loads estimator.onnx.*got ONNX: {why}"):
        lay_out(LayoutRequest("triton", "late"), {1: tmp_path / "model"}, tmp_path / "layout")


def test_a_graph_that_says_otherwise_is_not_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = features(data, tmp_path, *NUMBERS)
    fit(data, fitted, tmp_path / "other", seed=1)
    other = (tmp_path / "other" / ESTIMATOR_ONNX).read_bytes()
    monkeypatch.setattr(to_onnx, "to_onnx", lambda *_: other)
    manifest = fit(data, fitted, tmp_path / "model")
    assert manifest.notes["onnx"]["why"] == "other values"
    assert manifest.notes["onnx"]["difference"] > TOLERANCE
    assert ESTIMATOR_ONNX not in read_model(tmp_path / "model").manifest.files
