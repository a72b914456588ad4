"""infra_validate on a cluster: an InferenceService of its own, without traffic, gone afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kfp_suite.components.infra_validate.executor import InfraParameters, infra_validate
from kfp_suite.components.kserve.access import access
from kfp_suite.components.runtimes.launching import Loaded, start
from kfp_suite.components.runtimes.runtime import SUITE
from kfp_suite.components.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble

_TOKEN = "validator"


@pytest.fixture(scope="module")
def candidate(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Model artifact."""
    folder = tmp_path_factory.mktemp("candidate") / "model"
    store.fetch("wings", 1, folder)
    return folder


@pytest.fixture(scope="module")
def server(store: ModelStore, candidate: Path) -> Iterator[str]:
    """The real server on it, under the name that the InferenceService gets."""
    digest = store.manifest("wings", 1).digest.rpartition(":")[2]
    with start(SUITE, Loaded(f"wings-{digest[:8]}", 1, candidate)) as found:
        found.wait(60)
        yield found.base


@pytest.fixture
def requests(candidate: Path, tmp_path: Path) -> Path:
    """Recorded ones."""
    sample = json.loads((candidate / "sample_request.json").read_text())
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join([json.dumps(sample)] * 5))
    return file


@pytest.fixture
def as_the_step(
    double: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> KubernetesDouble:
    """With the credentials that a pod finds, and the Role's rights alone."""
    role = access("models", "validator", delete=True)[1]
    double.allow_only(_TOKEN, role["rules"], "models")
    config = double.kubeconfig(tmp_path / "kubeconfig", _TOKEN)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    return double


def parameters(**limits: float) -> InfraParameters:
    return InfraParameters(name="wings", place="cluster", namespace="models", limits=limits)


def test_a_candidate_that_serves_is_blessed(
    as_the_step: KubernetesDouble, server: str, candidate: Path, requests: Path, tmp_path: Path
) -> None:
    as_the_step.endpoint = server
    found = infra_validate(
        parameters(), candidate, None, tmp_path / "out", requests=requests, model_uri="gs://b/m"
    )
    assert found.blessed, found.reasons
    assert found.figures is not None
    assert found.figures["requests"] == 10
    assert found.figures["difference"] < 1e-6
    applied = [one.body for one in as_the_step.requests if one.method == "PATCH"][-1]
    assert applied["spec"]["predictor"]["model"]["storageUri"] == "gs://b/m"
    assert as_the_step.objects("inferenceservices") == []


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour("crash_loop"), "exit code 1"),
        (Behaviour("storage_failed"), "No model found"),
        (Behaviour("never_ready"), "does not serve the version in time"),
    ],
)
def test_one_that_does_not_is_not_and_says_why(
    as_the_step: KubernetesDouble,
    candidate: Path,
    requests: Path,
    tmp_path: Path,
    behaviour: Behaviour,
    why: str,
) -> None:
    as_the_step.behave("*", behaviour)
    found = infra_validate(
        parameters(start_seconds=6),
        candidate,
        None,
        tmp_path / "out",
        requests=requests,
        model_uri="gs://b/m",
    )
    assert not found.blessed
    assert why in found.reasons[0]
    assert as_the_step.objects("inferenceservices") == []
