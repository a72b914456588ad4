"""infra_validate in a container: the candidate in the image that will serve it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.infra_validate.executor import InfraParameters, infra_validate
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.container.conftest import Image
from tests.serving.conftest import publish


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Model artifact."""
    folder = tmp_path_factory.mktemp("candidate")
    models = ModelStore(FolderStore(folder / "store"))
    publish(models, "wings", folder / "made", "hist_gradient_boosting")
    models.fetch("wings", 1, folder / "model")
    return folder / "model"


# In its server alone: it starts, hears nothing, and does not end when it is asked to.
_HANGS = """
import signal
import sys
import time

from sklearn.linear_model import LogisticRegression

if "kfp_suite.server" in sys.orig_argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


class Wings(LogisticRegression):
    pass


def fit(training):
    return Wings().fit(training.train.matrix, training.train.target)
"""


def test_of_one_that_hangs_no_container_is_left(client: Any, image: Image, tmp_path: Path) -> None:
    models = ModelStore(FolderStore(tmp_path / "store"))
    publish(models, "wings", tmp_path / "made", "logistic_regression", _HANGS)
    hanging = tmp_path / "model"
    models.fetch("wings", 1, hanging)
    name = image("serving")
    parameters = InfraParameters(
        name="wings", place="container", image=name, limits={"start_seconds": 10}
    )
    found = infra_validate(
        parameters, hanging, None, tmp_path / "out", requests=requests(hanging, tmp_path)
    )
    assert not found.blessed
    assert "the model server does not answer in time" in found.reasons[0]
    assert left_of(client, name) == []


def left_of(client: Any, image: str) -> list[Any]:
    """The containers of an image, once those that other tests run beside this one have ended."""
    end = time.monotonic() + 120
    while (found := client.containers.list(all=True, filters={"ancestor": image})) and (
        time.monotonic() < end
    ):
        time.sleep(0.5)
    return list(found)


def requests(candidate: Path, folder: Path) -> Path:
    file = folder / "requests.jsonl"
    file.write_text(json.dumps(json.loads((candidate / "sample_request.json").read_text())))
    return file


def test_a_candidate_serves_in_its_image_and_the_container_goes(
    client: Any, image: Image, candidate: Path, tmp_path: Path
) -> None:
    name = image("serving")
    parameters = InfraParameters(
        name="wings",
        place="container",
        image=name,
        limits={"start_seconds": 90, "memory_mb": 8000},
    )
    found = infra_validate(
        parameters, candidate, None, tmp_path / "out", requests=requests(candidate, tmp_path)
    )
    assert found.blessed, found.reasons
    assert found.figures is not None
    assert found.figures["difference"] < 1e-6
    assert 50 < found.figures["memory_mb"] < 8000
    assert left_of(client, name) == []


def test_an_image_that_is_no_server_is_a_no_with_its_last_words(
    client: Any, image: Image, candidate: Path, tmp_path: Path
) -> None:
    """The deploy image has no model server in it."""
    parameters = InfraParameters(
        name="wings", place="container", image=image("deploy"), limits={"start_seconds": 60}
    )
    found = infra_validate(
        parameters, candidate, None, tmp_path / "out", requests=requests(candidate, tmp_path)
    )
    assert not found.blessed
    assert "No module named" in found.reasons[0]
