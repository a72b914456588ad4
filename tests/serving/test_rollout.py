"""A whole rollout on this machine, under constant load: no client sees a failed request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.rollout.executor import rollout
from kfp_suite.components.rollout.outcome import Outcome
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.canary import split_of, with_candidate
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import (
    inference_service,
    read_manifest,
    to_yaml,
)
from kfp_suite.local.serving import Endpoint, local_endpoint
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from tests.serving.conftest import publish
from tests.serving.load import Load

GOOD, SLOW, WRONG, BROKEN, DYING = 2, 3, 4, 5, 6
_SLOW = """
import time
from sklearn.linear_model import LogisticRegression

class Slow(LogisticRegression):
    def predict_proba(self, X):
        time.sleep(0.8)
        return super().predict_proba(X)

def fit(training):
    return Slow().fit(training.train.matrix, training.train.target)
"""
_WRONG = """
from sklearn.linear_model import LogisticRegression

def fit(training):
    return LogisticRegression().fit(training.train.matrix, 1 - training.train.target)
"""
_BROKEN = """
from sklearn.linear_model import LogisticRegression

class Broken(LogisticRegression):
    def predict_proba(self, X):
        if len(X) % 3 == 0:
            raise RuntimeError("out of order")
        return super().predict_proba(X)

def fit(training):
    return Broken().fit(training.train.matrix, training.train.target)
"""
_DYING = """
import os
from sklearn.linear_model import LogisticRegression

class Dying(LogisticRegression):
    def predict_proba(self, X):
        if len(X) % 3 == 0:
            os._exit(137)
        return super().predict_proba(X)

def fit(training):
    return Dying().fit(training.train.matrix, training.train.target)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("rollout")
    models = ModelStore(FolderStore(folder / "store"))
    for i, (estimator, module) in enumerate(
        [
            ("logistic_regression", ""),
            ("hist_gradient_boosting", ""),
            ("logistic_regression", _SLOW),
            ("logistic_regression", _WRONG),
            ("logistic_regression", _BROKEN),
            ("logistic_regression", _DYING),
        ]
    ):
        publish(models, "wings", folder / str(i), estimator, module)
    return models


@contextmanager
def serving(store: ModelStore, folder: Path) -> Iterator[tuple[Endpoint, Path]]:
    """Version 1, behind the gateway."""
    manifest = folder / "wings.yaml"
    first = Deployable.find(store, "wings", 1)
    manifest.write_text(to_yaml(inference_service(first.served, namespace="models")))
    store.set_alias("wings", CHAMPION, 1, "test")
    with local_endpoint(str(manifest), "wings") as endpoint:
        yield endpoint, manifest


def roll(store: ModelStore, manifest: Path, version: int, **more: Any) -> Outcome:
    given: dict[str, Any] = {
        "steps": (0, 20, 50, 100),
        "look_seconds": 0.3,
        "step_seconds": 40,
        # Slow is what a busy machine is not: these tests share two cores.
        "limits": {
            "error_margin": 0.05,
            "latency_seconds": 0.5,
            "latency_margin": 0.1,
            "quality_margin": 0.1,
        },
        **more,
    }
    parameters = RolloutParameters(
        store.store.uri, "wings", str(version), manifest=str(manifest), **given
    )
    return rollout(parameters, manifest.parent / f"rollout-{version}")


def sample(store: ModelStore) -> dict[str, Any]:
    return Deployable.find(store, "wings", 1).sample.request


def test_a_good_challenger_is_promoted(store: ModelStore, tmp_path: Path) -> None:
    with (
        serving(store, tmp_path) as (endpoint, manifest),
        Load(endpoint.url, sample(store)) as load,
    ):
        outcome = roll(store, manifest, GOOD)
    assert load.failed == []
    assert outcome.promoted, outcome.why
    assert [step.percent for step in outcome.steps] == [0, 20, 50, 100]
    assert split_of(read_manifest(manifest)).stable.version == GOOD
    assert split_of(read_manifest(manifest)).candidate is None
    assert store.aliases("wings")[CHAMPION] == GOOD
    assert load.versions["1"] > load.versions["2"] * 0.2 > 0
    said = json.loads((tmp_path / "rollout-2" / "rollout.json").read_text())
    assert said["promoted"] is True
    errors = said["steps"][-1]["judgement"]["criteria"][0]
    assert errors["good"] >= 0.95
    assert "version 2 promoted" in (tmp_path / "rollout-2" / "rollout.md").read_text()


def test_a_slow_challenger_is_rolled_back(store: ModelStore, tmp_path: Path) -> None:
    with (
        serving(store, tmp_path) as (endpoint, manifest),
        Load(endpoint.url, sample(store)) as load,
    ):
        outcome = roll(store, manifest, SLOW, limits={"latency_seconds": 0.5})
        assert endpoint.ask(sample(store)).version == "1"
    assert load.failed == []
    assert not outcome.promoted
    assert "worse by slower than 500 ms" in outcome.why
    assert split_of(read_manifest(manifest)).candidate is None
    assert store.aliases("wings")[CHAMPION] == 1


def test_a_wrong_challenger_is_rolled_back(store: ModelStore, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.jsonl"
    rows = [
        {
            "span": i,
            "weight": i * 0.5,
            "kind": "ab"[i % 2],
            "seen": f"2024-01-{i % 28 + 1:02}T08:00:00",
            "flies": True,
        }
        for i in range(2000)
    ]
    labelled.write_text("\n".join(map(json.dumps, rows)))
    with (
        serving(store, tmp_path) as (endpoint, manifest),
        Load(endpoint.url, sample(store)) as load,
    ):
        outcome = roll(store, manifest, WRONG, labelled=str(labelled), label="flies")
        assert endpoint.ask(sample(store)).version == "1"
    assert load.failed == []
    assert not outcome.promoted
    assert "wrong predictions" in outcome.why


def test_a_challenger_that_fails_is_rolled_back_and_no_client_sees_it(
    store: ModelStore, tmp_path: Path
) -> None:
    two = sample(store)["instances"]
    with (
        serving(store, tmp_path) as (endpoint, manifest),
        Load(endpoint.url, {"instances": [*two, two[0]]}) as load,
    ):
        outcome = roll(store, manifest, BROKEN)
    assert load.failed == []
    assert not outcome.promoted
    assert "worse by errors" in outcome.why


def test_a_challenger_whose_server_dies_is_rolled_back_and_no_client_sees_it(
    store: ModelStore, tmp_path: Path
) -> None:
    two = sample(store)["instances"]
    with (
        serving(store, tmp_path) as (endpoint, manifest),
        Load(endpoint.url, {"instances": [*two, two[0]]}) as load,
    ):
        outcome = roll(store, manifest, DYING, undecided="go_on")
    assert load.failed == []
    assert not outcome.promoted
    assert "worse by errors" in outcome.why
    assert split_of(read_manifest(manifest)).candidate is None


def test_a_shadow_is_judged_and_nobody_sees_its_answers(store: ModelStore, tmp_path: Path) -> None:
    two = sample(store)["instances"]
    with (
        serving(store, tmp_path) as (endpoint, manifest),
        Load(endpoint.url, {"instances": [*two, two[0]]}) as load,
    ):
        bad = roll(store, manifest, BROKEN, shadow=100)
        good = roll(store, manifest, GOOD, shadow=100, steps=(0, 100))
    assert load.failed == []
    assert not bad.promoted
    assert "worse by errors" in bad.why
    assert [step.percent for step in bad.steps] == [0]
    assert str(BROKEN) not in load.versions
    assert good.promoted
    assert good.steps[0].judgement["criteria"][0]["candidate"]["total"] > 0


def test_a_step_that_was_killed_is_picked_up(store: ModelStore, tmp_path: Path) -> None:
    with (
        serving(store, tmp_path) as (endpoint, manifest),
        Load(endpoint.url, sample(store)) as load,
    ):
        found = Deployable.find(store, "wings", GOOD).served
        side = inference_service(found, namespace="default")["spec"]["predictor"]
        half = with_candidate(read_manifest(manifest), side, 50, "Standard")
        write_file(manifest, to_yaml(half).encode())
        with pytest.raises(
            EndpointError, match="another rollout is under way; got version 2 at 50"
        ):
            roll(store, manifest, SLOW)
        outcome = roll(store, manifest, GOOD)
        again = roll(store, manifest, GOOD)
    assert load.failed == []
    assert [step.percent for step in outcome.steps] == [50, 100]
    assert outcome.promoted
    assert (again.promoted, again.steps) == (True, ())
