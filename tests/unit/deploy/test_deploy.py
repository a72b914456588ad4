"""Deploy: the manifest KServe takes, a wait that the old revision cannot end, and reasons."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.components.deploy import on_cluster
from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    ContractError,
    EndpointError,
    KfpSuiteError,
    ParameterError,
    StoreError,
    SupersededError,
    TransientError,
)
from kfp_suite.kserve.access import access
from kfp_suite.kserve.canary import Mode, split_of, with_candidate, with_mode
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import own_part, read_served
from kfp_suite.kserve.smoke import MAX_UNNAMED_SECONDS, smoke_test
from kfp_suite.kserve.waiting import wait_until_serving
from kfp_suite.runtimes.local import LOOPBACK, free_port
from kfp_suite.stores.champions import ChampionReference, champion_to_json
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from tests.unit.deploy.conftest import IMAGE, on
from tests.unit.deploy.fleet import Fleet

_TOKEN = "deployer"


@pytest.fixture
def version(models: ModelStore, tmp_path: Path) -> Path:
    return pushed(models, tmp_path, 1)


def pushed(models: ModelStore, folder: Path, number: int) -> Path:
    """What push leaves."""
    found = folder / f"version-{number}"
    found.mkdir()
    content = {"store": models.store.uri, "model": "wings", "version": number}
    (found / "pushed.json").write_text(json.dumps(content))
    return found


def parameters(**more: Any) -> DeployParameters:
    return DeployParameters(target="cluster", namespace="models", timeout_seconds=5, **more)


def test_a_local_deploy_writes_the_manifests(version: Path, tmp_path: Path) -> None:
    found = deploy(DeployParameters(), version, tmp_path / "endpoint")
    written = tmp_path / "endpoint" / "inferenceservice.yaml"
    assert read_served(written).version == 1
    assert json.loads((tmp_path / "endpoint" / "endpoint.json").read_text()) == found
    runtime = yaml.safe_load((tmp_path / "endpoint" / "servingruntime.yaml").read_text())
    container = runtime["spec"]["containers"][0]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    model = yaml.safe_load(written.read_text())["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]


def test_a_cluster_serves_and_the_version_is_champion(
    double: KubernetesDouble, fleet: Fleet, version: Path, models: ModelStore, tmp_path: Path
) -> None:
    found = deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))
    assert found["url"] == fleet.url
    assert models.aliases("wings")[CHAMPION] == 1
    live = double.get("inferenceservices", "models/wings")
    assert live["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kfp-suite"
    assert live["metadata"]["annotations"]["kfp-suite.io/version"] == "1"


def test_the_old_revisions_ready_does_not_count(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    cluster = on(double)
    deploy(parameters(), version, tmp_path / "endpoint", cluster=cluster)
    double.behave("*", Behaviour("never_ready", after=3600))
    with pytest.raises(EndpointError, match="does not serve the version in time"):
        deploy(
            DeployParameters(target="cluster", namespace="models", timeout_seconds=1),
            pushed(models, tmp_path, 2),
            tmp_path / "other",
            cluster=cluster,
        )
    assert models.aliases("wings")[CHAMPION] == 1


@pytest.mark.parametrize("stale", [None, True])
def test_an_update_ends_when_its_own_servers_serve(
    double: KubernetesDouble,
    fleet: Fleet,
    models: ModelStore,
    version: Path,
    tmp_path: Path,
    stale: bool | None,
) -> None:
    cluster = on(double)
    deploy(parameters(), version, tmp_path / "a", cluster=cluster)
    double.behave("*", Behaviour(after=0.4, stale_ready=stale))
    deploy(parameters(), pushed(models, tmp_path, 2), tmp_path / "b", cluster=cluster)
    assert fleet.split() == {"2": 100}
    assert {"nobody": 100} not in fleet.shares
    serving = [
        pod["metadata"]["annotations"]["kfp-suite.io/version"]
        for pod in double.objects("pods", "models")
        if pod["status"]["conditions"][0]["status"] == "True"
    ]
    assert serving == ["2"]


def test_what_fails_is_mended_by_the_next_deployment(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    cluster = on(double)
    double.behave("*", Behaviour("crash_loop"))
    with pytest.raises(EndpointError, match="KServe cannot serve the version"):
        deploy(parameters(), version, tmp_path / "a", cluster=cluster)
    double.behave("*", Behaviour(after=0.3))
    deploy(parameters(), pushed(models, tmp_path, 2), tmp_path / "b", cluster=cluster)
    assert models.aliases("wings")[CHAMPION] == 2


def test_scaling_alone_starts_no_server_anew(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path
) -> None:
    cluster = on(double)
    found = []
    for minimum in (1, 2):
        deploy(
            parameters(settings={"min_replicas": minimum, "max_replicas": 4}),
            version,
            tmp_path / str(minimum),
            cluster=cluster,
        )
        live = double.get("inferenceservices", "models/wings")
        found.append(live["spec"]["predictor"]["annotations"]["kfp-suite.io/spec-digest"])
    assert found[0] == found[1]
    assert live["spec"]["predictor"]["minReplicas"] == 2


def test_the_mode_that_is_asked_for_is_the_endpoints(
    double: KubernetesDouble, fleet: Fleet, mode: Mode, version: Path, tmp_path: Path
) -> None:
    other = "Knative" if mode == "Standard" else "Standard"
    given = parameters(settings={"deployment_mode": other})
    deploy(given, version, tmp_path / "a", cluster=on(double))
    live = double.get("inferenceservices", "models/wings")
    assert live["status"]["deploymentMode"] == other


@pytest.mark.parametrize("said", ["setting", "overlay"])
def test_another_mode_than_what_is_live_is_refused(
    double: KubernetesDouble, fleet: Fleet, mode: Mode, version: Path, tmp_path: Path, said: str
) -> None:
    deploy(parameters(), version, tmp_path / "a", cluster=on(double))
    before = double.get("inferenceservices", "models/wings")
    other = "Knative" if mode == "Standard" else "Standard"
    annotated = {"metadata": {"annotations": {"serving.kserve.io/deploymentMode": other}}}
    settings = {"deployment_mode": other} if said == "setting" else {"overlay": annotated}
    with pytest.raises(ParameterError, match="which KServe does not change") as caught:
        deploy(parameters(settings=settings), version, tmp_path / "b", cluster=on(double))
    assert f"got {other}; expected {mode}" in str(caught.value)
    assert double.get("inferenceservices", "models/wings") == before


def test_a_transformer_is_waited_for_too(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    manifest = models.manifest("wings", 1)
    sample = json.loads(models.store.read(f"wings/1/{manifest.path}/sample_answer.json"))
    fleet.answers["1"] = sample
    given = parameters(runtime="sklearn", settings={"image": "r/sklearnserver:1"})
    deploy(given, version, tmp_path / "a", cluster=on(double))
    components = double.get("inferenceservices", "models/wings")["status"]["components"]
    assert set(components) == {"predictor", "transformer"}


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("image_pull", 'ImagePullBackOff Back-off pulling image "registry.example.com/kfp-suite'),
        ("crash_loop", "exit code 1"),
        ("storage_failed", "No model found in"),
        ("unschedulable", "FailedScheduling: 0/3 nodes are available"),
        ("oom", "OOMKilled, exit code 137"),
    ],
)
def test_a_failure_says_why(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path, outcome: Any, told: str
) -> None:
    double.behave("*", Behaviour(outcome))
    given = DeployParameters(target="cluster", namespace="models", timeout_seconds=1)
    with pytest.raises(EndpointError) as caught:
        deploy(given, version, tmp_path / "endpoint", cluster=on(double))
    assert told in str(caught.value)
    assert "kubectl describe inferenceservice wings -n models" in str(caught.value)
    assert not (tmp_path / "endpoint").exists()


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (
            Behaviour("never_ready"),
            (
                "kserve-container: runs, and is not ready",
                "its last lines: INFO waiting for a lock on the model",
                "Unhealthy: Readiness probe failed",
            ),
        ),
        (
            Behaviour(after=3600),
            (
                "storage-initializer: has not ended yet",
                "the storage initializer's last lines: ",
                "Copying contents of pvc://",
            ),
        ),
        (Behaviour("refused"), ("InternalError: fails to reconcile predictor",)),
    ],
)
def test_a_wait_in_vain_says_what_it_waited_for(
    double: KubernetesDouble,
    fleet: Fleet,
    version: Path,
    tmp_path: Path,
    behaviour: Behaviour,
    told: tuple[str, ...],
) -> None:
    double.behave("*", behaviour)
    given = DeployParameters(target="cluster", namespace="models", timeout_seconds=1)
    with pytest.raises(EndpointError) as caught:
        deploy(given, version, tmp_path / "endpoint", cluster=on(double))
    assert [one for one in told if one not in str(caught.value)] == []
    assert "queue-proxy" not in str(caught.value)


def test_no_controller_is_said_so(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path
) -> None:
    double.behave("*", Behaviour("silent"))
    with pytest.raises(EndpointError, match="KServe's controller does not run"):
        deploy(
            DeployParameters(target="cluster", namespace="models", timeout_seconds=1),
            version,
            tmp_path / "endpoint",
            cluster=on(double),
        )


@pytest.mark.parametrize("wrong", ["version", "answer"])
def test_an_endpoint_that_answers_something_else_is_no_champion(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path, wrong: str
) -> None:
    if wrong == "version":
        fleet.says["1"] = "7"
    else:
        fleet.answers["1"]["probabilities"] = [[0.5, 0.5], [0.5, 0.5]]
    expected = {
        "version": "another version answered; got 7; expected 1",
        "answer": "does not answer as the model does",
    }
    with pytest.raises(EndpointError, match=expected[wrong]):
        deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))
    # Another version may be the one before, for a while; a wrong answer is wrong at once.
    assert (fleet.asked > 1) == (wrong == "version")


def test_an_endpoint_that_never_answers_is_given_up_in_half_a_minute(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path
) -> None:
    """However long another version's answer would be waited for."""
    double.endpoint = f"http://{LOOPBACK}:{free_port()}"
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        time.sleep(0.001)

    cluster = Cluster(double.client(), sleep=sleep)
    with pytest.raises(EndpointError, match="did not answer"):
        deploy(replace(parameters(), timeout_seconds=600), version, tmp_path / "a", cluster=cluster)
    assert MAX_UNNAMED_SECONDS - 5 <= naps.count(1.0) <= MAX_UNNAMED_SECONDS


@pytest.mark.parametrize("named", [True, False])
def test_the_servers_before_may_answer_for_a_while(
    double: KubernetesDouble,
    fleet: Fleet,
    models: ModelStore,
    version: Path,
    tmp_path: Path,
    named: bool,
) -> None:
    """A pod that ends answers until every proxy has stopped sending to it."""
    deploy(parameters(), version, tmp_path / "a", cluster=on(double))
    second, right = pushed(models, tmp_path, 2), fleet.answers["2"]
    fleet.answers["2"], fleet.says["2"] = fleet.answers["1"], "1" if named else ""
    before = fleet.asked

    def sleep(seconds: float) -> None:
        if fleet.asked - before >= 4:
            fleet.answers["2"] = right
            fleet.says.clear()
        time.sleep(seconds / 20)

    deploy(parameters(), second, tmp_path / "b", cluster=Cluster(double.client(), sleep=sleep))
    assert models.aliases("wings")[CHAMPION] == 2
    assert fleet.asked - before >= 5


@pytest.mark.parametrize("wrong", ["answer", "never ready"])
def test_what_served_before_serves_again(
    double: KubernetesDouble,
    fleet: Fleet,
    models: ModelStore,
    version: Path,
    tmp_path: Path,
    wrong: str,
) -> None:
    deploy(parameters(), version, tmp_path / "a", cluster=on(double))
    before = own_part(double.get("inferenceservices", "models/wings"))
    if wrong == "answer":
        fleet.answers["2"]["predictions"] = ["nonsense"] * len(fleet.answers["2"]["predictions"])
        fleet.answers["2"]["probabilities"] = [[0.5, 0.5], [0.5, 0.5]]
        told = "does not answer as the model does"
    else:
        double.behave("*", Behaviour("never_ready", after=3600))
        told = "does not serve the version in time"

    def sleep(seconds: float) -> None:
        """The servers of version 1 are good ones, in a new revision, too."""
        live = double.get("inferenceservices", "models/wings")
        if live["metadata"]["annotations"]["kfp-suite.io/version"] == "1":
            double.behave("*", Behaviour())
        time.sleep(seconds / 20)

    with pytest.raises(EndpointError, match="version 1, which served before, serves again") as no:
        deploy(
            replace(parameters(), timeout_seconds=2),
            pushed(models, tmp_path, 2),
            tmp_path / "b",
            cluster=Cluster(double.client(), sleep=sleep),
        )
    assert told in str(no.value)
    assert fleet.split() == {"1": 100}
    assert own_part(double.get("inferenceservices", "models/wings")) == before
    assert models.aliases("wings")[CHAMPION] == 1
    assert not (tmp_path / "b").exists()


def test_a_version_that_fails_may_stay(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    deploy(parameters(), version, tmp_path / "a", cluster=on(double))
    fleet.says["2"] = "7"
    with pytest.raises(EndpointError, match="another version answered") as caught:
        given = parameters(on_failure="keep")
        deploy(given, pushed(models, tmp_path, 2), tmp_path / "b", cluster=on(double))
    assert "served before" not in str(caught.value)
    assert fleet.split() == {"2": 100}
    assert models.aliases("wings")[CHAMPION] == 1


def test_a_first_version_that_fails_stays_and_so_does_its_own_retry(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path
) -> None:
    fleet.says["1"] = "7"
    for number in (1, 2):
        with pytest.raises(EndpointError, match="another version answered") as caught:
            deploy(parameters(), version, tmp_path / str(number), cluster=on(double))
        assert "served before" not in str(caught.value)
        assert fleet.split() == {"1": 100}


def test_what_cannot_be_put_back_is_told_too(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    deploy(parameters(), version, tmp_path / "a", cluster=on(double))
    fleet.says["2"] = "7"
    patches = 0

    class Refusing(Cluster):
        def apply(self, manifest: Mapping[str, Any], **more: Any) -> dict[str, Any]:
            nonlocal patches
            patches += 1
            if patches == 3:  # a ServingRuntime and the service, and then again
                double.deny("patch", "servingruntimes")
            return super().apply(manifest, **more)

    with pytest.raises(EndpointError, match="another version answered") as caught:
        deploy(
            parameters(),
            pushed(models, tmp_path, 2),
            tmp_path / "b",
            cluster=Refusing(double.client(), sleep=lambda _: None),
        )
    assert "version 1, which served before, was put back and does not: " in str(caught.value)
    assert 'cannot patch resource "servingruntimes"' in str(caught.value)


def test_what_another_deployment_has_taken_over_is_left_alone(
    double: KubernetesDouble,
    fleet: Fleet,
    models: ModelStore,
    version: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deploy(parameters(), version, tmp_path / "a", cluster=on(double))
    again = own_part(double.get("inferenceservices", "models/wings"))
    fleet.says["2"] = "7"
    asked = smoke_test

    def taken_over(*given: Any, **more: Any) -> Any:
        again["spec"]["predictor"]["timeout"] = 17
        on(double).apply(again)
        return asked(*given, **more)

    monkeypatch.setattr(on_cluster, "smoke_test", taken_over)
    second = pushed(models, tmp_path, 2)
    found = deploy(parameters(), second, tmp_path / "b", cluster=on(double))
    assert found["promoted"] is False
    live = double.get("inferenceservices", "models/wings")
    assert live["spec"]["predictor"]["timeout"] == 17


def test_a_dry_run_shows_what_would_change(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    cluster = on(double)
    planned = deploy(parameters(dry_run=True), version, tmp_path / "a", cluster=cluster)
    assert "+    kfp-suite.io/version: '1'" in planned["changes"]
    assert "+++ ServingRuntime kfp-suite-server-" in planned["changes"]
    assert f"+    image: {IMAGE}" in planned["changes"]
    assert cluster.find("wings", "models") is None
    deploy(parameters(), version, tmp_path / "b", cluster=cluster)
    second = pushed(models, tmp_path, 2)
    planned = deploy(parameters(dry_run=True), second, tmp_path / "c", cluster=cluster)
    assert "-    kfp-suite.io/version: '1'" in planned["changes"]
    again = deploy(parameters(dry_run=True), version, tmp_path / "d", cluster=cluster)
    assert again["changes"] == ""


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_what_is_transient_is_tried_again(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path, status: int
) -> None:
    double.fail_next(status, times=3)
    assert deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))["url"]


def test_an_api_that_never_answers_is_one_line(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path
) -> None:
    double.fail_next(503, times=100)
    with pytest.raises(TransientError, match="the Kubernetes API does not answer; got 503"):
        deploy(parameters(), version, tmp_path / "endpoint", cluster=on(double))


def test_the_role_is_enough_and_less_is_said(
    double: KubernetesDouble, fleet: Fleet, version: Path, tmp_path: Path
) -> None:
    role = next(one for one in access("models", "deployer") if one["kind"] == "Role")
    double.allow_only(_TOKEN, role["rules"], "models")
    cluster = on(double, _TOKEN)
    deploy(parameters(), version, tmp_path / "endpoint", cluster=cluster)
    double.behave("*", Behaviour("crash_loop"))
    with pytest.raises(EndpointError) as caught:  # it may read all that says why
        deploy(parameters(settings={"timeout": 9}), version, tmp_path / "b", cluster=cluster)
    assert "cannot be read" not in str(caught.value)
    assert "cannot get resource" not in str(caught.value)
    double.deny("patch", "inferenceservices")
    with pytest.raises(StoreError, match='cannot patch resource "inferenceservices"') as refused:
        deploy(parameters(settings={"timeout": 8}), version, tmp_path / "c", cluster=cluster)
    assert "kfp-suite endpoints access" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "moon"}, "target: not allowed; got moon; expected local or cluster"),
        ({"timeout_seconds": 0}, "timeout_seconds: out of range"),
        ({"on_failure": "cry"}, "on_failure: not allowed; got cry; expected rollback or keep"),
        ({"runtime": "mlsever"}, "unknown runtime 'mlsever'; did you mean 'mlserver'?"),
        ({"settings": {"replicas": 3}}, "settings: unknown key 'replicas'"),
        (
            {"settings": {"env": {"DB_PASSWORD": "x"}}},
            "settings.env.DB_PASSWORD: looks like a secret",
        ),
        ({"settings": {"name": "Late_Flights"}}, "use 'late-flights'"),
        ({"settings": {"min_replicas": 3, "max_replicas": 2}}, "below min_replicas"),
        (
            {"runtime_options": {"a": 1}},
            "runtime_options: unknown key 'a'; known: cors_origins, workers",
        ),
    ],
)
def test_bad_parameters_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        DeployParameters(**given)
    assert message in str(caught.value)


def test_a_bad_artifact_is_refused(version: Path, tmp_path: Path) -> None:
    (version / "pushed.json").write_text("{}")
    with pytest.raises(ContractError, match="not what push writes"):
        deploy(DeployParameters(), version, tmp_path / "endpoint")
    assert not (tmp_path / "endpoint").exists()


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("kind: Pod\n")
    with pytest.raises(KfpSuiteError, match="not an InferenceService of a published version"):
        read_served(file)


def test_a_deployment_does_not_end_somebodys_rollout(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    cluster = on(double)
    deploy(parameters(), version, tmp_path / "a", cluster=cluster)
    live = cluster.get("wings", "models")
    mode = cluster.mode(live)
    side = deploy(DeployParameters(), pushed(models, tmp_path, 2), tmp_path / "b")
    candidate = yaml.safe_load(Path(side["manifest"]).read_text())["spec"]["predictor"]
    cluster.apply(with_candidate(with_mode(own_part(live), mode), candidate, 10, mode))
    with pytest.raises(AlreadyExistsError) as caught:
        deploy(parameters(), version, tmp_path / "c", cluster=cluster)
    assert "wings: a rollout is under way; got version 2 at 10 %" in str(caught.value)
    assert "kfp-suite endpoints rollback" in str(caught.value)
    deploy(parameters(force=True), version, tmp_path / "d", cluster=cluster)
    assert split_of(cluster.get("wings", "models")).candidate is None
    assert fleet.split() == {"1": 100}


def test_a_forced_deployment_that_fails_gives_way_to_the_stable_version(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    """The rollout that it has ended stays ended."""
    cluster = on(double)
    deploy(parameters(), version, tmp_path / "a", cluster=cluster)
    live = cluster.get("wings", "models")
    mode = cluster.mode(live)
    side = deploy(DeployParameters(), pushed(models, tmp_path, 2), tmp_path / "b")
    candidate = yaml.safe_load(Path(side["manifest"]).read_text())["spec"]["predictor"]
    split = with_candidate(with_mode(own_part(live), mode), candidate, 10, mode)
    wait_until_serving(cluster, cluster.apply(split), 5)
    fleet.says["2"] = "7"
    with pytest.raises(EndpointError, match="version 1, which served before, serves again"):
        deploy(parameters(force=True), tmp_path / "version-2", tmp_path / "c", cluster=cluster)
    found = split_of(cluster.get("wings", "models"))
    assert (found.stable.version, found.candidate) == (1, None)
    assert fleet.split() == {"1": 100}


def test_a_promoted_predictor_keeps_its_name(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    """KServe ends the servers of a name that is gone at once: `replacing`."""
    cluster = on(double)
    deploy(parameters(), version, tmp_path / "a", cluster=cluster)
    live = own_part(cluster.get("wings", "models"))
    live["spec"]["predictor"]["name"] = "blue"
    live["spec"]["predictor"]["model"]["storageUri"] += "/"
    wait_until_serving(cluster, cluster.apply(live), 5)
    deploy(parameters(), pushed(models, tmp_path, 2), tmp_path / "b", cluster=cluster)
    assert cluster.get("wings", "models")["spec"]["predictor"]["name"] == "blue"
    assert fleet.split() == {"2": 100}


def pinned(models: ModelStore, number: int) -> str:
    return champion_to_json(ChampionReference(models.uri("wings", number), number))


def test_a_version_is_not_deployed_over_a_champion_it_was_not_compared_with(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, version: Path, tmp_path: Path
) -> None:
    models.set_alias("wings", CHAMPION, 2, "another run was faster")
    given = parameters(expected_champion="")
    found = deploy(given, version, tmp_path / "endpoint", cluster=on(double))
    assert found["promoted"] is False
    assert "version 2 has become champion since version 1 was compared with none" in found["why"]
    assert json.loads((tmp_path / "endpoint" / "endpoint.json").read_text()) == found
    assert not (tmp_path / "endpoint" / "inferenceservice.yaml").exists()
    assert double.objects("inferenceservices") == []
    assert models.aliases("wings")[CHAMPION] == 2


def test_one_that_was_is(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, tmp_path: Path
) -> None:
    second = pushed(models, tmp_path, 2)
    given = parameters(expected_champion=pinned(models, 1))
    for number in (1, 2):  # a retried step finds its own version champion
        found = deploy(given, second, tmp_path / f"endpoint-{number}", cluster=on(double))
        assert "promoted" not in found
    assert models.aliases("wings")[CHAMPION] == 2


def test_of_two_deployments_at_once_the_one_that_serves_is_champion(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, tmp_path: Path
) -> None:
    """Both passed the check before either was done."""
    versions = {number: pushed(models, tmp_path, number) for number in (1, 2)}
    models.set_alias("wings", CHAMPION, 2, "so that both would move it")
    models.set_alias("wings", CHAMPION, 1, "a test begins")

    def run(number: int) -> dict[str, Any]:
        return deploy(
            parameters(expected_champion=pinned(models, 1)),
            versions[number],
            tmp_path / f"endpoint-{number}",
            cluster=on(double),
        )

    with ThreadPoolExecutor(2) as pool:
        ended = dict(zip(versions, pool.map(run, versions), strict=True))
    live = double.get("inferenceservices", "models/wings")
    serving = int(live["metadata"]["annotations"]["kfp-suite.io/version"])
    assert models.aliases("wings")[CHAMPION] == serving
    assert "promoted" not in ended[serving]


def test_the_alias_follows_the_endpoint_when_another_deployment_moved_it(
    models: ModelStore,
) -> None:
    deployable = Deployable.find(models, "wings", 2)
    looks = 0

    def in_place() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:  # the other one sets it between our look and our move
            models.set_alias("wings", CHAMPION, 2, "by the other")
            models.set_alias("wings", CHAMPION, 1, "by the other")

    models.set_alias("wings", CHAMPION, 1, "a test begins")
    deployable.make_champion("ours", in_place)
    assert models.aliases("wings")[CHAMPION] == 2


def test_a_deployment_that_was_overtaken_leaves_the_alias(models: ModelStore) -> None:
    deployable = Deployable.find(models, "wings", 2)

    def overtaken() -> None:
        raise SupersededError("version 3 was deployed there meanwhile")

    with pytest.raises(SupersededError):
        deployable.make_champion("ours", overtaken)
    assert models.aliases("wings")[CHAMPION] == 1
