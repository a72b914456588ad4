"""A network as a user gets one: the command, the endpoint, and the model made again."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from kfp_suite.local.serving import local_endpoint
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.local.command import kfp_suite
from tests.tensorflow.pictures import picture

tf = pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")

PARAMETERS = ["--param", "hyperparameters.epochs=12", "--param", "thresholds.accuracy.min=0.8"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def made(root: Path) -> dict[str, Any]:
    done = kfp_suite(
        "run", "train_and_deploy_tensorflow", "--params", "digits", "--root", str(root), "--json",
        *PARAMETERS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_pictures_become_a_live_version(root: Path, made: dict[str, Any]) -> None:
    assert (made["model"], made["version"], made["blessed"]) == ("digits", 1, True)
    answer = made["endpoint"]["answer"]
    assert answer["model_version"] == "1"
    assert all(0 <= digit <= 9 for digit in answer["predictions"])
    models = ModelStore(FolderStore(root / "models"))
    uri = models.saved_model_uri(models.manifest("digits", 1))
    assert set(tf.saved_model.load(f"{uri}/1").signatures) == {
        "serving_default",
        "serving_examples",
        "features",
    }


def test_the_endpoint_takes_any_picture_and_examples(root: Path, made: dict[str, Any]) -> None:
    def post(path: str, body: Any) -> httpx.Response:
        return httpx.post(served.base + path, json=body, timeout=60)

    with local_endpoint(str(root / "models" / "digits" / "1"), "digits") as served:
        pictures = [
            picture("L", (8, 8)),
            picture("RGBA", (300, 200)),
            picture("RGB", (20, 5), "BMP"),
        ]
        v1 = post(
            "/v1/models/digits:predict", {"instances": [{"image": p} for p in pictures]}
        ).json()
        assert len(v1["predictions"]) == 3
        tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": pictures}
        v2 = post("/v2/models/digits/infer", {"inputs": [tensor]}).json()
        assert v2["outputs"][0]["data"] == v1["predictions"]
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pictures[0].encode()]))
        example = tf.train.Example(features=tf.train.Features(feature={"image": feature}))
        encoded = base64.b64encode(example.SerializeToString()).decode()
        request = {"signature_name": "serving_examples", "instances": [{"b64": encoded}]}
        by_example = post("/v1/models/digits:predict", request)
        assert by_example.json()["predictions"] == v1["predictions"][:1]
        refused = post("/v1/models/digits:predict", {"instances": [{"image": "no picture"}]})
        assert refused.status_code == 400
        assert "a PNG, JPEG, GIF or BMP file in Base64" in refused.text
        unknown = post("/v1/models/digits:predict", {**request, "signature_name": "serving"})
        assert unknown.status_code == 400 and "no signature 'serving'" in unknown.text


def test_it_is_made_again_bit_for_bit(root: Path, made: dict[str, Any]) -> None:
    done = kfp_suite("reproduce", str(root / "models" / "digits" / "1"))
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.startswith(f"identical: digits version 1, {made['digest']}")
    # TensorFlow says nothing of its own between the steps.
    assert done.stderr.split() == ["ingest", "…", "transform", "…", "train", "…"]
