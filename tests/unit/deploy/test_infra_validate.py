"""infra_validate on a cluster: an InferenceService of its own, without traffic, gone afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.infra_validate.executor import InfraParameters, infra_validate
from kfp_suite.contracts.errors import MissingError, ParameterError, StoreError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import inference_service, renamed
from kfp_suite.kserve.trials import trial_name
from kfp_suite.runtimes.launching import Loaded, start
from kfp_suite.runtimes.runtime import SUITE
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from tests.answers import answered_once
from tests.unit.deploy.conftest import CLAIM, in_a_pod, on

_TOKEN = "validator"
_RUN = "0f3a/run of Monday"


@pytest.fixture(scope="module", autouse=True)
def asked_once() -> Iterator[None]:
    """Of the candidate, which all tests share."""
    with answered_once():
        yield


@pytest.fixture(scope="module")
def candidate(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Model artifact."""
    folder = tmp_path_factory.mktemp("candidate") / "model"
    store.fetch("wings", 1, folder)
    return folder


def name_of(store: ModelStore, run_id: str = _RUN) -> str:
    return trial_name("wings", store.manifest("wings", 1).digest, run_id)


@pytest.fixture(scope="module")
def server(store: ModelStore, candidate: Path) -> Iterator[str]:
    """The real server on it, under the name that the InferenceService gets."""
    with start(SUITE, Loaded(name_of(store), 1, candidate)) as found:
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
    role = access("models", "validator", metrics=True, delete=True)[1]
    double.allow_only(_TOKEN, role["rules"], "models")
    in_a_pod(monkeypatch, double.kubeconfig(tmp_path / "kubeconfig", _TOKEN))
    return double


def parameters(limits: Mapping[str, float] | None = None, **more: Any) -> InfraParameters:
    return InfraParameters(
        **{"name": "wings", "place": "cluster", "namespace": "models", "run_id": _RUN, **more},
        limits=limits or {},
    )


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
        parameters({"start_seconds": 6}),
        candidate,
        None,
        tmp_path / "out",
        requests=requests,
        model_uri="gs://b/m",
    )
    assert not found.blessed
    assert why in found.reasons[0]
    assert as_the_step.objects("inferenceservices") == []


def test_the_memory_that_the_server_tells_is_held_against_its_limit(
    as_the_step: KubernetesDouble, server: str, candidate: Path, requests: Path, tmp_path: Path
) -> None:
    as_the_step.endpoint, as_the_step.proxy = server, server
    for most, blessed in ((8000, True), (20, False)):
        found = infra_validate(
            parameters({"memory_mb": most}),
            candidate,
            None,
            tmp_path / str(most),
            requests=requests,
            model_uri="gs://b/m",
        )
        assert found.figures is not None
        assert 50 < found.figures["memory_mb"] < 8000
        assert found.blessed is blessed, found.reasons


def test_a_limit_of_what_cannot_be_measured_is_not_kept(
    as_the_step: KubernetesDouble, server: str, candidate: Path, requests: Path, tmp_path: Path
) -> None:
    as_the_step.endpoint, as_the_step.proxy = server, server
    as_the_step.deny("get", "pods/proxy")
    given = parameters({"memory_mb": 8000})
    found = infra_validate(
        given, candidate, None, tmp_path / "out", requests=requests, model_uri="gs://b/m"
    )
    assert not found.blessed
    assert found.reasons == (
        "the memory was not measured, so nobody knows that it is at most 8,000.0 MB",
    )


def test_what_the_cluster_refuses_is_told_and_nothing_else(
    as_the_step: KubernetesDouble, candidate: Path, requests: Path, tmp_path: Path
) -> None:
    as_the_step.deny("patch", "inferenceservices")
    with pytest.raises(StoreError, match='cannot patch resource "inferenceservices"') as caught:
        infra_validate(
            parameters(), candidate, None, tmp_path / "out", requests=requests, model_uri="gs://b/m"
        )
    assert not isinstance(caught.value.__context__, MissingError)


def test_a_run_has_a_trial_of_its_own_which_says_so(
    as_the_step: KubernetesDouble,
    server: str,
    store: ModelStore,
    candidate: Path,
    requests: Path,
    tmp_path: Path,
) -> None:
    """Another run's of the same model is left alone; this run's own is taken up again."""
    as_the_step.endpoint = server
    other = name_of(store, "another run")
    assert other != name_of(store)
    served = Deployable.find(store, "wings", 1, name=other).served
    cluster = on(as_the_step)
    cluster.apply(inference_service(served, namespace="models"))
    killed = inference_service(renamed(served, name_of(store)), namespace="models")
    cluster.apply(killed)
    settings = {"min_replicas": 3, "labels": {"team": "birds"}, "logger": {"url": "http://logs"}}
    found = infra_validate(
        parameters(settings=settings),
        candidate,
        None,
        tmp_path / "out",
        requests=requests,
        model_uri="minio://b/m",
    )
    assert found.blessed, found.reasons
    (left,) = as_the_step.objects("inferenceservices")
    assert left["metadata"]["name"] == other
    applied = [one.body for one in as_the_step.requests if one.method == "PATCH"][-1]
    assert applied["metadata"]["labels"] == {
        "team": "birds",
        "app.kubernetes.io/managed-by": "kfp-suite",
        "kfp-suite.io/trial": "true",
        "kfp-suite.io/run": "0f3a-run-of-Monday",
    }
    predictor = applied["spec"]["predictor"]
    assert predictor["minReplicas"] == 1
    assert "logger" not in predictor
    assert predictor["model"]["storageUri"] == "s3://b/m"


@pytest.mark.parametrize("runtime", ["kfp-suite", "mlserver", "triton"])
def test_any_server_finds_its_layout_in_the_store(
    as_the_step: KubernetesDouble,
    server: str,
    store: ModelStore,
    candidate: Path,
    requests: Path,
    tmp_path: Path,
    runtime: str,
) -> None:
    """Raw records go to our server before it, which reads the artifact from there, too."""
    as_the_step.endpoint = server
    versions = store.versions("wings")
    settings = {"image": "r/mlserver:1"} if runtime == "mlserver" else {}
    given = parameters(runtime=runtime, settings=settings, store=store.store.uri)

    def mounted(uri: str) -> str:
        return uri.replace(CLAIM, store.store.uri)

    infra_validate(given, candidate, None, tmp_path / "out", requests=requests)
    spec = [one.body for one in as_the_step.requests if one.method == "PATCH"][-1]["spec"]
    folder = Path(mounted(spec["predictor"]["model"]["storageUri"]))
    expected = {
        "kfp-suite": folder / "model.json",
        "mlserver": folder / "model-settings.json",
        "triton": folder / "wings" / "config.pbtxt",
    }
    assert expected[runtime].is_file()
    if runtime != "kfp-suite":
        (environment,) = spec["transformer"]["containers"][0]["env"]
        # What it asks the server for is what the layout calls the model.
        assert "--model_name=wings" in spec["transformer"]["containers"][0]["args"]
        assert (Path(mounted(environment["value"])) / "model.json").is_file()
    if runtime == "mlserver":
        assert json.loads(expected[runtime].read_text())["name"] == "wings"
    # The next run that tries it finds it all there, and leaves nothing more.
    objects = {one.name for one in store.store.list()}
    again = replace(given, run_id="another run")
    infra_validate(again, candidate, None, tmp_path / "again", requests=requests)
    assert {one.name for one in store.store.list()} == objects
    assert store.versions("wings") == versions
    assert as_the_step.objects("inferenceservices") == []


def test_another_server_needs_a_store_that_the_cluster_reads(
    as_the_step: KubernetesDouble, candidate: Path, requests: Path, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="store: the cluster cannot read what runtime 'triton"):
        infra_validate(
            parameters(runtime="triton"),
            candidate,
            None,
            tmp_path / "out",
            requests=requests,
            model_uri="gs://b/m",
        )
