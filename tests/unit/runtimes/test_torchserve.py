"""What TorchServe loads: archives whose handler answers, and a configuration that it reads."""

from __future__ import annotations

import json
import runpy
import zipfile
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.sample import Sample, read_sample
from kfp_suite.runtimes.layout import LayoutRequest, lay_out, parse_options
from kfp_suite.runtimes.protocol import difference
from kfp_suite.stores.files import read_file

CONFIG = Path("config", "config.properties")


def laid_out(versions: dict[int, Path], folder: Path, **options: Any) -> Path:
    folder.mkdir()
    lay_out(LayoutRequest("torchserve", "wings", options), versions, folder)
    return folder


def properties(folder: Path) -> dict[str, str]:
    lines = (folder / CONFIG).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def sample_of(artifact: Path) -> Sample:
    return read_sample(lambda name: read_file(str(artifact / name)))


class Context:
    """What TorchServe's worker gives a handler."""

    def __init__(self, archive: Path) -> None:
        self.system_properties = {"model_dir": str(archive)}
        self.manifest = json.loads((archive / "MAR-INF" / "MANIFEST.json").read_text())
        self.said: dict[int, int] = {}

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.said[idx] = code


def test_an_archive_holds_what_answers(versions: dict[int, Path], tmp_path: Path) -> None:
    folder = laid_out(versions, tmp_path / "layout")
    assert {path.name for path in (folder / "model-store").iterdir()} == {
        *("wings-3.mar", "wings-10.mar")
    }
    for version, artifact in versions.items():
        unpacked = tmp_path / str(version)
        with zipfile.ZipFile(folder / "model-store" / f"wings-{version}.mar") as archive:
            archive.extractall(unpacked)
        context = Context(unpacked)
        model = context.manifest["model"]
        assert (model["modelName"], model["modelVersion"]) == ("wings", f"{version}.0")
        assert (unpacked / model["handler"]).is_file()
        handle: Any = runpy.run_path(str(unpacked / model["handler"]))["handle"]

        sample = sample_of(artifact)
        body = json.dumps(sample.request).encode()
        batch = [{"body": body}, {"body": b"{"}, {"data": sample.request}, {"body": [1]}]
        assert handle(None, context) is None
        first, torn, second, other = handle(batch, context)
        assert first["model_version"] == str(version)
        assert first == second
        assert difference(sample, first) <= 1e-6
        # One bad request does not fail the others of its batch.
        assert "the request is not JSON" in torn["error"]
        assert "no records in the request" in other["error"]
        assert context.said == {1: 400, 3: 400}


def test_the_same_versions_are_the_same_bytes(versions: dict[int, Path], tmp_path: Path) -> None:
    one, two = laid_out(versions, tmp_path / "one"), laid_out(versions, tmp_path / "two")
    for name in ("wings-3.mar", "wings-10.mar"):
        assert (one / "model-store" / name).read_bytes() == (
            two / "model-store" / name
        ).read_bytes()
    assert (one / CONFIG).read_bytes() == (two / CONFIG).read_bytes()


def test_the_configuration_asks_for_tokens_and_hides_what_manages(
    versions: dict[int, Path], tmp_path: Path
) -> None:
    found = properties(laid_out(versions, tmp_path / "layout"))
    assert found["disable_token_authorization"] == "false"
    assert found["token_expiration_min"] == "60"
    assert found["enable_model_api"] == "false"
    assert found["management_address"] == "http://127.0.0.1:8086"
    assert found["install_py_dep_per_model"] == "false"
    assert found["model_store"] == "/mnt/models/model-store"
    # The port that KServe's runtime says Prometheus asks.
    assert found["metrics_address"] == "http://0.0.0.0:8082"
    assert (found["metrics_mode"], found["enable_metrics_api"]) == ("prometheus", "true")


@pytest.mark.parametrize("asked", [{}, {"default_version": 3}])
def test_every_version_is_loaded_and_the_deployed_one_is_the_default(
    versions: dict[int, Path], tmp_path: Path, asked: dict[str, int]
) -> None:
    options = {**asked, "batch_size": 16, "max_batch_delay": 5, "max_workers": 3}
    request = LayoutRequest("torchserve", "wings", options)
    (folder := tmp_path / "layout").mkdir()
    lay_out(request, versions, folder, deployed=3)
    snapshot = json.loads(properties(folder)["model_snapshot"])
    assert snapshot["modelCount"] == 2
    loaded = snapshot["models"]["wings"]
    assert {name for name, version in loaded.items() if version["defaultVersion"]} == {"3.0"}
    for version in versions:
        said = loaded[f"{version}.0"]
        assert (folder / "model-store" / said["marName"]).is_file()
        assert (said["batchSize"], said["maxBatchDelay"]) == (16, 5)
        assert (said["minWorkers"], said["maxWorkers"], said["responseTimeout"]) == (1, 3, 120)


@pytest.mark.parametrize(
    ("mode", "api"), [("prometheus", "true"), ("legacy", "true"), ("log", "false")]
)
def test_metrics_have_a_mode(
    versions: dict[int, Path], tmp_path: Path, mode: str, api: str
) -> None:
    found = properties(laid_out(versions, tmp_path / "layout", metrics_mode=mode))
    assert (found["metrics_mode"], found["enable_metrics_api"]) == (mode, api)


def test_tokens_can_be_turned_off(versions: dict[int, Path], tmp_path: Path) -> None:
    folder = laid_out(versions, tmp_path / "layout", token_authentication=False)
    assert properties(folder)["disable_token_authorization"] == "true"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"default_version": 4}, "default_version: version 4 is not served; expected one of 3, 10"),
        ({"default_version": 3}, "versions: requests that name no version would get version 3"),
        ({"default_version": -1}, "default_version: out of range; got -1"),
        ({"batch_size": 0}, "batch_size: out of range; got 0; expected 1 to 2147483647"),
        ({"max_batch_delay": -1}, "max_batch_delay: out of range"),
        ({"token_expiration_minutes": 0}, "token_expiration_minutes: out of range"),
        ({"response_timeout": 0}, "response_timeout: out of range"),
        (
            {"min_workers": 3, "max_workers": 2},
            "max_workers: out of range; got 2; expected min_workers, 3, or more",
        ),
        ({"metrics_mode": "statsd"}, "metrics_mode: not allowed; got statsd; expected prometheus"),
        ({"tokens": True}, "unknown key 'tokens'"),
    ],
)
def test_options_that_it_does_not_take_are_refused_by_name(
    versions: dict[int, Path], tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError, match=rf"runtime_options.*{said}|^{said}"):
        parse_options("torchserve", options)
        laid_out(versions, tmp_path / "layout", **options)
    assert not list(tmp_path.rglob("*.mar"))
