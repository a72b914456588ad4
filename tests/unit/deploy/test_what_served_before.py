"""A deployment that fails goes back to what has answered, and to nothing else."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kfp_suite.cli.main import cli
from kfp_suite.components.deploy import on_cluster
from kfp_suite.contracts.errors import EndpointError, StoreError, TransientError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import VERSION, inference_service
from kfp_suite.kserve.served import ServedRecords
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from tests.unit.deploy.conftest import on
from tests.unit.deploy.deploying import Deployer
from tests.unit.deploy.fleet import Fleet
from tests.unit.deploy.rolling import roll


class Killed(BaseException):
    """The process of a step ends, and mends nothing."""


@pytest.fixture
def deployer(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, tmp_path: Path
) -> Deployer:
    return Deployer(double, models, tmp_path)


def applied_version(double: KubernetesDouble) -> str:
    live = double.get("inferenceservices", "models/wings")
    version: str = live["metadata"]["annotations"][VERSION]
    return version


def test_a_deployment_that_was_killed_is_not_what_served_before(
    double: KubernetesDouble,
    fleet: Fleet,
    models: ModelStore,
    deployer: Deployer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Version 2 was applied and never answered; KServe says Ready, of version 1's servers."""
    deployer.deploy(1)
    double.behave("*", Behaviour("never_ready", after=3600))
    with monkeypatch.context() as patched:
        patched.setattr(on_cluster, "wait_until_serving", _kill)
        with pytest.raises(Killed):
            deployer.deploy(2)
    assert applied_version(double) == "2"
    other = {"timeout": 9}  # the same version in another way fails, too
    with pytest.raises(EndpointError, match="version 1, which served before, serves again"):
        deployer.deploy(2, settings=other, cluster=_healing_with("1", double), seconds=1)
    assert applied_version(double) == "1"
    assert fleet.split() == {"1": 100}
    assert models.aliases("wings")[CHAMPION] == 1


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_if_no_version_answers_the_status_tells_which_did_last(
    double: KubernetesDouble,
    fleet: Fleet,
    deployer: Deployer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = str(double.kubeconfig(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)

    def status() -> dict[str, Any]:
        ended = CliRunner().invoke(cli, ["endpoints", "status", "wings", "-n", "models", "--json"])
        found: dict[str, Any] = json.loads(ended.output)
        return found

    double.behave("*", Behaviour("image_pull"))
    with pytest.raises(EndpointError):
        deployer.deploy(2)
    assert status()["answered_last"] is None
    double.behave("*", Behaviour())
    deployer.deploy(1)
    assert "answered_last" not in status()
    double.behave("*", Behaviour("image_pull"))
    with pytest.raises(EndpointError):
        deployer.deploy(2, on_failure="keep")
    for pod in double.objects("pods", "models"):
        pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        double.add(pod)
    told = status()
    assert (told["version"], told["answers"], told["answered_last"]) == (2, [], 1)


def _kill(*_: Any, **__: Any) -> Any:
    raise Killed


def _healing_with(version: str, double: KubernetesDouble) -> Cluster:
    """A cluster on which the servers of a version are good ones."""

    def sleep(seconds: float) -> None:
        if applied_version(double) == version:
            double.behave("*", Behaviour())
        time.sleep(seconds / 20)

    return Cluster(double.client(), sleep=sleep)


def test_of_two_at_once_that_fail_neither_is_what_served_before(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, deployer: Deployer
) -> None:
    """The second begins while the first is waited for: it takes its place, and goes back past
    it."""
    deployer.deploy(1)
    double.behave("*", Behaviour("never_ready", after=3600))
    first = inference_service(Deployable.find(models, "wings", 2).served, namespace="models")
    deployer.cluster.apply(first)
    with pytest.raises(EndpointError, match="version 1, which served before, serves again"):
        deployer.deploy(2, settings={"timeout": 9}, cluster=_healing_with("1", double), seconds=1)
    assert fleet.split() == {"1": 100}


def test_the_same_version_in_another_way_is_another_deployment(
    double: KubernetesDouble,
    fleet: Fleet,
    models: ModelStore,
    deployer: Deployer,
) -> None:
    """It is not waited for until time is over, and not taken back."""
    deployer.deploy(1)
    double.behave("*", Behaviour("never_ready", after=3600))
    mine = inference_service(Deployable.find(models, "wings", 2).served, namespace="models")
    mine["spec"]["predictor"]["annotations"]["kfp-suite.io/spec-digest"] = "sha256:other"
    looked = 0

    def sleep(seconds: float) -> None:
        nonlocal looked
        looked += 1
        if looked == 2:
            deployer.cluster.apply(mine)
        time.sleep(seconds / 20)

    found = deployer.deploy(2, cluster=Cluster(double.client(), sleep=sleep), seconds=30)
    assert found["promoted"] is False
    assert "version 2 was deployed there again meanwhile, in another way" in found["why"]
    assert applied_version(double) == "2"


def test_what_a_rollout_has_promoted_is_what_served_before(
    double: KubernetesDouble,
    served: Fleet,
    models: ModelStore,
    deployer: Deployer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if a deployment was killed since."""
    assert roll(models, double, tmp_path).promoted
    double.behave("*", Behaviour("never_ready", after=3600))
    with monkeypatch.context() as patched:
        patched.setattr(on_cluster, "wait_until_serving", _kill)
        with pytest.raises(Killed):
            deployer.deploy(1)
    with pytest.raises(EndpointError, match="version 2, which served before, serves again"):
        deployer.deploy(1, settings={"timeout": 9}, cluster=_healing_with("2", double), seconds=1)
    assert served.split() == {"2": 100}


def test_what_answers_is_written_down_once(
    double: KubernetesDouble, models: ModelStore, deployer: Deployer
) -> None:
    for _ in range(2):
        deployer.deploy(1)
    live = double.get("inferenceservices", "models/wings")
    records = list(models.store.list(f"wings/_served/{live['metadata']['uid']}/"))
    assert [record.name.rpartition("/")[2] for record in records] == ["1.json"]
    newest = ServedRecords(models, "wings", live).newest()
    assert newest is not None
    assert newest["metadata"]["annotations"][VERSION] == "1"
    assert "status" not in newest
    assert "managedFields" not in newest["metadata"]


def test_what_was_never_written_down_is_asked(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, deployer: Deployer
) -> None:
    """An endpoint of an older suite: what serves it, and answers, is what served before."""
    served = Deployable.find(models, "wings", 1).served
    deployer.cluster.apply(inference_service(served, namespace="models"))
    fleet.says["2"] = "7"
    with pytest.raises(EndpointError, match="version 1, which served before, serves again"):
        deployer.deploy(2, seconds=1)
    assert fleet.split() == {"1": 100}


def test_what_answers_wrongly_is_not_gone_back_to(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, deployer: Deployer
) -> None:
    """Somebody applied version 2 by hand; its servers run, and answer what they should not."""
    deployer.deploy(1)
    fleet.answers["2"] = fleet.answers["1"]
    served = Deployable.find(models, "wings", 2).served
    deployer.cluster.apply(inference_service(served, namespace="models"))
    with pytest.raises(EndpointError, match="version 1, which served before, serves again"):
        deployer.deploy(2, settings={"timeout": 9}, seconds=1)
    assert applied_version(double) == "1"


def test_a_record_that_cannot_be_kept_or_read_holds_nothing_up(
    double: KubernetesDouble,
    models: ModelStore,
    deployer: Deployer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    create = FolderStore.create

    def refusing(store: FolderStore, name: str, content: Any) -> None:
        if "/_served/" in name:
            raise StoreError("read-only", where=name)
        create(store, name, content)

    monkeypatch.setattr(FolderStore, "create", refusing)
    with caplog.at_level(logging.WARNING):
        deployer.deploy(1)
    assert "that the version has answered is not written down" in caplog.text
    monkeypatch.undo()
    live = double.get("inferenceservices", "models/wings")
    models.store.create(f"wings/_served/{live['metadata']['uid']}/1.json", b"[]")
    assert ServedRecords(models, "wings", live).newest() is None
    assert "what served before cannot be read" in caplog.text


def test_an_endpoint_that_is_being_deleted_is_waited_for(
    double: KubernetesDouble, fleet: Fleet, deployer: Deployer
) -> None:
    """An apply onto it would succeed, and be lost."""
    deployer.deploy(1)
    uid = double.get("inferenceservices", "models/wings")["metadata"]["uid"]
    double.behave("*", Behaviour(kept=0.3))
    deployer.cluster.delete("wings", "models")
    deployer.deploy(2, seconds=20)
    live = double.get("inferenceservices", "models/wings")
    assert live["metadata"]["uid"] != uid
    assert "deletionTimestamp" not in live["metadata"]
    assert fleet.split() == {"2": 100}


def test_an_endpoint_that_does_not_go_in_time_is_said_so(
    double: KubernetesDouble, deployer: Deployer
) -> None:
    deployer.deploy(1)
    before = double.get("inferenceservices", "models/wings")["spec"]
    double.behave("*", Behaviour(kept=3600))
    deployer.cluster.delete("wings", "models")
    with pytest.raises(TransientError, match="is being deleted") as caught:
        deployer.deploy(2, seconds=1)
    assert "kept by inferenceservice.finalizers" in str(caught.value)
    assert double.get("inferenceservices", "models/wings")["spec"] == before


def test_an_apply_onto_what_is_being_deleted_fails(
    double: KubernetesDouble, models: ModelStore, deployer: Deployer
) -> None:
    """Between a look and an apply, too."""
    deployer.deploy(1)
    double.behave("*", Behaviour(kept=3600))
    deployer.cluster.delete("wings", "models")
    served = Deployable.find(models, "wings", 2).served
    with pytest.raises(TransientError, match="is being deleted"):
        deployer.cluster.apply(inference_service(served, namespace="models"))


def test_what_is_deleted_while_it_is_waited_for_is_said_so(
    double: KubernetesDouble, models: ModelStore, deployer: Deployer
) -> None:
    deployer.deploy(1)
    double.behave("*", Behaviour("never_ready", after=3600))
    looked = 0

    def sleep(seconds: float) -> None:
        nonlocal looked
        looked += 1
        if looked == 2:
            on(double).delete("wings", "models")
        time.sleep(seconds / 20)

    with pytest.raises(EndpointError, match="somebody deleted it meanwhile"):
        deployer.deploy(2, cluster=Cluster(double.client(), sleep=sleep), seconds=30)
    assert double.objects("inferenceservices") == []  # nobody put it back
    assert models.aliases("wings")[CHAMPION] == 1


@pytest.mark.parametrize("outcome", ["storage_failed", "config_error", "crash_loop"])
def test_a_version_that_fails_is_started_anew_when_it_is_deployed_again(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, deployer: Deployer, outcome: Any
) -> None:
    """A Secret was mended: the pods that were made before do not know of it."""
    double.behave("*", Behaviour(outcome))
    with pytest.raises(EndpointError):
        deployer.deploy(1, seconds=1)
    double.behave("*", Behaviour(), started=False)  # of pods that are made from now on
    planned = deployer.deploy(1, dry_run=True)["changes"]
    assert "kfp-suite.io/restarts: '1'" in planned
    deployer.deploy(1, seconds=5)
    assert fleet.split() == {"1": 100}
    live = double.get("inferenceservices", "models/wings")
    assert live["spec"]["predictor"]["annotations"]["kfp-suite.io/restarts"] == "1"


def test_what_was_started_anew_and_serves_stays_as_it_is(
    double: KubernetesDouble, fleet: Fleet, deployer: Deployer
) -> None:
    double.behave("*", Behaviour("config_error"))
    with pytest.raises(EndpointError):
        deployer.deploy(1, seconds=1)
    double.behave("*", Behaviour(), started=False)
    deployer.deploy(1, seconds=5)
    pods = [pod["metadata"]["name"] for pod in double.objects("pods", "models")]
    assert deployer.deploy(1, dry_run=True)["changes"] == ""
    deployer.deploy(1)
    assert [pod["metadata"]["name"] for pod in double.objects("pods", "models")] == pods
    deployer.deploy(2)
    live = double.get("inferenceservices", "models/wings")
    assert "kfp-suite.io/restarts" not in live["spec"]["predictor"]["annotations"]


def test_a_version_that_is_starting_is_not_started_anew(
    double: KubernetesDouble,
    fleet: Fleet,
    deployer: Deployer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The retry of a step that was killed goes on waiting."""
    double.behave("*", Behaviour(after=0.5))
    with monkeypatch.context() as patched:
        patched.setattr(on_cluster, "wait_until_serving", _kill)
        with pytest.raises(Killed):
            deployer.deploy(1)
    pods = [pod["metadata"]["name"] for pod in double.objects("pods", "models")]
    deployer.deploy(1, seconds=20)
    assert [pod["metadata"]["name"] for pod in double.objects("pods", "models")] == pods


def test_pods_that_end_still_answer_for_a_while(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore, deployer: Deployer
) -> None:
    """No status counts them."""
    deployer.deploy(1)
    double.behave("*", Behaviour(ending=0.3))
    deployer.deploy(2, seconds=20)
    assert models.aliases("wings")[CHAMPION] == 2


def test_the_role_is_enough(
    double: KubernetesDouble, models: ModelStore, deployer: Deployer
) -> None:
    role = next(one for one in access("models", "deployer") if one["kind"] == "Role")
    double.allow_only("deployer", role["rules"], "models")
    deployer.cluster = on(double, "deployer")
    double.behave("*", Behaviour("config_error"))
    with pytest.raises(EndpointError) as caught:
        deployer.deploy(1, seconds=1)
    assert "cannot" not in str(caught.value)
    double.behave("*", Behaviour(), started=False)
    deployer.deploy(1, seconds=5)
