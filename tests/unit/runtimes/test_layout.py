"""Every server's folder: what it looks for, the same bytes each time, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnxruntime
import pytest

from kfp_suite.contracts.digests import digest_files, files_below
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.sample import Sample, read_sample
from kfp_suite.runtimes.layout import LayoutRequest, lay_out, parse_options
from kfp_suite.runtimes.protocol import difference
from kfp_suite.stores.files import read_file


def laid_out(runtime: str, versions: Mapping[int, Path], folder: Path, **options: Any) -> Path:
    folder.mkdir()
    lay_out(LayoutRequest(runtime, "wings", options), versions, folder)
    return folder


def only(versions: Mapping[int, Path]) -> dict[int, Path]:
    return {3: versions[3]}


def sample_of(artifact: Path) -> Sample:
    return read_sample(lambda name: read_file(str(artifact / name)))


@pytest.mark.parametrize(
    ("runtime", "options"),
    [
        ("kfp-suite", {}),
        ("sklearn", {}),
        ("mlserver", {"max_batch_size": 8, "max_batch_time": 0.01}),
        ("triton", {}),
        ("triton", {"ensemble": True, "backend": "python"}),
        ("torchserve", {}),
    ],
)
def test_the_same_version_is_the_same_bytes(
    versions: dict[int, Path], tmp_path: Path, runtime: str, options: dict[str, Any]
) -> None:
    one = laid_out(runtime, only(versions), tmp_path / "one", **options)
    two = laid_out(runtime, only(versions), tmp_path / "two", **options)
    assert files_below(one)
    assert digest_files(one, files_below(one)) == digest_files(two, files_below(two))


def test_scikit_learns_servers_find_one_estimator(
    versions: dict[int, Path], tmp_path: Path
) -> None:
    alone = laid_out("sklearn", only(versions), tmp_path / "sklearn")
    assert files_below(alone) == ["model.joblib"]
    sample = sample_of(versions[3])
    scores = joblib.load(alone / "model.joblib").predict_proba(np.array(sample.features))
    answer = {"outputs": [{"name": "predict_proba", "data": scores.tolist()}]}
    assert difference(sample, answer) <= 1e-6

    batching = {"max_batch_size": 8, "max_batch_time": 0.25}
    folder = laid_out("mlserver", only(versions), tmp_path / "mlserver", **batching)
    assert files_below(folder) == ["model-settings.json", "model.joblib"]
    settings = json.loads((folder / "model-settings.json").read_text())
    assert settings["name"] == "wings"
    assert settings["parameters"] == {"uri": "./model.joblib", "version": "3"}
    assert {key: settings[key] for key in batching} == batching


def test_tritons_repository_has_every_version_as_its_graph(
    versions: dict[int, Path], tmp_path: Path
) -> None:
    folder = laid_out("triton", versions, tmp_path / "layout")
    assert "version_policy { all { } }" in (folder / "wings" / "config.pbtxt").read_text()
    assert files_below(folder) == sorted(
        ["wings/config.pbtxt", "wings/3/model.onnx", "wings/10/model.onnx"]
    )
    for version, artifact in versions.items():
        graph = onnxruntime.InferenceSession(str(folder / "wings" / str(version) / "model.onnx"))
        sample = sample_of(artifact)
        (scores,) = graph.run(
            ["probabilities"], {"features": np.array(sample.features, np.float32)}
        )
        answer = {"outputs": [{"name": "probabilities", "data": scores.tolist()}]}
        assert difference(sample, answer) <= 1e-6


@pytest.mark.parametrize(
    ("deployed", "options", "said"),
    [
        (3, {}, r"requests that name no version would get version 10; expected version 3"),
        (3, {"latest": 1}, "version 3 is deployed, and not served; got 10 served"),
        (10, {"specific": [3]}, "version 10 is deployed, and not served; got 3 served"),
        (3, {"specific": [3]}, ""),
        (10, {"latest": 1}, ""),
    ],
)
def test_what_is_deployed_is_what_answers(
    versions: dict[int, Path], tmp_path: Path, deployed: int, options: dict[str, Any], said: str
) -> None:
    request = LayoutRequest("triton", "wings", options)
    if not said:
        lay_out(request, versions, tmp_path, deployed=deployed)
        return
    with pytest.raises(ParameterError, match=said):
        lay_out(request, versions, tmp_path, deployed=deployed)
    assert not list(tmp_path.iterdir())


def test_an_ensemble_has_a_model_a_step(versions: dict[int, Path], tmp_path: Path) -> None:
    folder = laid_out("triton", only(versions), tmp_path / "layout", ensemble=True)
    assert {path.name for path in folder.iterdir()} == {
        *("wings", "wings-preprocess", "wings-model", "wings-postprocess")
    }
    # Each model has its version, and the one with the artifact is where the steps look.
    for path in folder.iterdir():
        assert (path / "config.pbtxt").is_file()
        assert list((path / "3").iterdir())
    assert (folder / "wings-model" / "3" / "artifact" / "model.json").is_file()


@pytest.mark.parametrize(
    ("runtime", "options", "said"),
    [
        ("sklearn", {}, r"versions: runtime 'sklearn' serves one version; got \[3, 10\]"),
        ("mlserver", {}, "serves one version.*split the traffic with a canary"),
        ("triton", {"ensemble": True}, "versions: an ensemble serves one version"),
        ("triton", {"specific": [4]}, "specific: version 4 is not served; expected one of 3, 10"),
        ("tensorflow-serving", {}, "does not serve the model; got a sklearn model"),
    ],
)
def test_what_a_server_does_not_serve_is_refused(
    versions: dict[int, Path], tmp_path: Path, runtime: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        laid_out(runtime, versions, tmp_path / "layout", **options)


@pytest.mark.parametrize(
    ("runtime", "options", "said"),
    [
        ("sklearn", {"a": 1}, "runtime 'sklearn' has no options"),
        ("tritn", {}, "runtime: unknown runtime 'tritn'.*did you mean 'triton'"),
        ("mlserver", {"max_batch_size": -1}, "max_batch_size: out of range; got -1"),
        ("mlserver", {"max_batch_time": float("nan")}, "max_batch_time: out of range; got nan"),
        ("mlserver", {"max_batch_time": float("inf")}, "max_batch_time: out of range; got inf"),
    ],
)
def test_options_that_are_not_there_are_refused(
    runtime: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        parse_options(runtime, options)
