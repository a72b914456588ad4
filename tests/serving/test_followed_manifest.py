"""A manifest that a gateway follows, and everyone else who looks at it: rollouts, the check at
the end of a run, and another gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kfp_suite.components.rollout.executor import rollout
from kfp_suite.components.rollout.outcome import Outcome
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.contracts.run_record import ENDPOINT, RunRecord
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.gateway_status import read_status
from kfp_suite.kserve.manifests import inference_service, to_yaml
from kfp_suite.local.checking import checked_endpoint
from kfp_suite.local.local import LocalRun
from kfp_suite.local.serving import Endpoint, local_endpoint
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from tests.serving.conftest import publish
from tests.serving.load import Load

AT = "2026-02-03T04:05:06+00:00"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("followed")
    found = ModelStore(FolderStore(folder / "store"))
    for number, estimator in enumerate(["logistic_regression", "decision_tree"]):
        publish(found, "wings", folder / str(number), estimator)
    found.set_alias("wings", CHAMPION, 1, "test")
    return found


@pytest.fixture
def manifest(models: ModelStore, tmp_path: Path) -> Path:
    file = tmp_path / "the manifest" / "wings.yaml"
    file.parent.mkdir()
    first = Deployable.find(models, "wings", 1)
    file.write_text(to_yaml(inference_service(first.served, namespace="models")))
    return file


@pytest.fixture
def gateway(manifest: Path) -> Iterator[Endpoint]:
    with local_endpoint(str(manifest), "wings") as endpoint:
        yield endpoint


def roll(
    models: ModelStore, manifest: Path, version: int, number: int, seconds: float
) -> tuple[Outcome, LocalRun]:
    """A rollout, as a run that ended with it; `seconds`: of a step at most."""
    folder = manifest.parent / f"run-{number}"
    limits = {
        "error_margin": 0.05,
        "latency_seconds": 5.0,
        "latency_margin": 0.2,
        "quality_margin": 0.1,
    }
    parameters = RolloutParameters(
        models.store.uri, "wings", str(version), manifest=str(manifest), attempt=number,
        steps=(0, 100), look_seconds=0.2, step_seconds=seconds, undecided="go_on", limits=limits,
    )  # fmt: skip
    outcome = rollout(parameters, folder / "endpoint")
    endpoint = json.loads((folder / "endpoint" / ENDPOINT).read_text())
    record = RunRecord(folder.name, "1", "progressive_delivery", "SUCCEEDED", endpoint=endpoint)
    return outcome, LocalRun(folder, True, (), record, {}, AT, AT)


def test_rollouts_follow_each_other_while_one_gateway_serves(
    models: ModelStore, manifest: Path, gateway: Endpoint
) -> None:
    sample = Deployable.find(models, "wings", 1).sample.request
    with Load(gateway.url, sample) as load:
        for number, version in enumerate((2, 1), 1):
            outcome, finished = roll(models, manifest, version, number, 40)
            assert outcome.promoted, outcome.why
            with checked_endpoint(finished) as checked:
                assert checked.process is None
                assert checked.found["url"] == gateway.url
                assert checked.found["version"] == version
            assert models.aliases("wings")[CHAMPION] == version
    assert load.failed == []
    status = read_status(manifest)
    assert status is not None
    assert status.url == gateway.base


def test_the_check_of_a_rollout_leaves_the_champion_alone(
    models: ModelStore, manifest: Path, gateway: Endpoint
) -> None:
    """Nobody asks the candidate: it is rolled back. Who is champion meanwhile is not of this
    endpoint's making."""
    outcome, finished = roll(models, manifest, 2, 3, 3)
    assert not outcome.promoted
    models.set_alias("wings", CHAMPION, 2, "another endpoint's word")
    with checked_endpoint(finished) as checked:
        assert checked.process is None
        assert checked.found["version"] == 1
    assert models.aliases("wings")[CHAMPION] == 2
