"""kfp-suite endpoints, as a person at a terminal uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from kfp_suite.cli.main import cli
from kfp_suite.contracts.errors import MissingError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.canary import with_candidate, with_mode
from kfp_suite.kserve.cluster import TRAINED_MODELS
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.graphs import inference_graph
from kfp_suite.kserve.manifests import inference_service, is_ready, own_part, server_image
from kfp_suite.kserve.multi_model import (
    shared_runtime,
    shared_service,
    trained_model,
)
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.kserve.trials import trial_labels
from kfp_suite.kserve.waiting import wait_until_serving
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from tests.unit.deploy.conftest import on
from tests.unit.deploy.fleet import Fleet


@pytest.fixture
def cluster(
    double: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> KubernetesDouble:
    """The one that the kubeconfig names."""
    config = double.kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    return double


def manifest(models: ModelStore, version: int) -> dict[str, Any]:
    return inference_service(Deployable.find(models, "wings", version).served, namespace="models")


def serve(double: KubernetesDouble, models: ModelStore, percent: int | None = None) -> None:
    """Version 1, and version 2 with a share."""
    found = on(double)
    wait_until_serving(found, found.apply(manifest(models, 1)), 5)
    if percent is not None:
        live = found.get("wings", "models")
        mode = found.mode(live)
        side = manifest(models, 2)["spec"]["predictor"]
        changed = with_candidate(with_mode(own_part(live), mode), side, percent, mode)
        wait_until_serving(found, found.apply(changed), 5)


def endpoints(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["endpoints", *arguments, "-n", "models"])


def test_list_and_status_tell_who_serves(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    assert endpoints("list").output == "no endpoints in models\n"
    serve(cluster, models, 20)
    told = endpoints("list").output
    assert told == f"wings: version 1, version 2 gets 20 %, ready, {fleet.url}\n"
    (found,) = json.loads(endpoints("list", "--json").output)
    assert (found["version"], found["candidate"], found["percent"]) == (1, 2, 20)
    status = endpoints("status", "wings").output
    assert "version: 1\ncandidate: 2\npercent: 20\n" in status
    assert "why:" not in status


def test_the_version_that_answers_is_told_beside_the_one_that_is_wanted(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    """In Standard mode KServe says Ready as long as the version before answers."""
    serve(cluster, models)
    cluster.behave("*", Behaviour("image_pull"))
    on(cluster).apply(manifest(models, 2))
    service = cluster.get("inferenceservices", "models/wings")
    assert is_ready(service) == (cluster.controller.mode == "Standard")
    line, why = endpoints("list").output.splitlines()
    assert line == f"wings: version 1 answers; wanted: version 2, {fleet.url}"
    assert why.startswith("  why: pod wings-predictor-")
    assert "kserve-container: ImagePullBackOff Back-off pulling image" in why
    (found,) = json.loads(endpoints("list", "--json").output)
    assert (found["version"], found["answers"], found["ready"]) == (2, [1], False)
    assert [f"  why: {reason}" for reason in found["why"]] == [why]
    told = endpoints("status", "wings").output
    assert "version: 2\n" in told
    assert "answers: 1\n" in told
    assert "ready: False\n" in told
    first = next(line for line in told.splitlines() if line.startswith("why:"))
    assert "ImagePullBackOff" in first
    found = json.loads(endpoints("status", "wings", "--json").output)
    assert (found["version"], found["answers"], found["ready"]) == (2, [1], False)
    assert "ImagePullBackOff" in found["why"][0]
    cluster.behave("*", Behaviour())
    assert endpoints("list").output == f"wings: version 2, ready, {fleet.url}\n"
    assert "why" not in endpoints("status", "wings").output


def test_a_first_version_that_does_not_start_leaves_none_that_answers(
    cluster: KubernetesDouble, models: ModelStore
) -> None:
    cluster.behave("*", Behaviour("quota"))
    on(cluster).apply(manifest(models, 1))
    line, why = endpoints("list").output.splitlines()
    assert line.startswith("wings: no version answers; wanted: version 1, ")
    assert "exceeded quota" in why


def test_a_candidate_that_does_not_start_is_told_beside_the_version_that_answers(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    serve(cluster, models)
    cluster.behave("*", Behaviour("crash_loop"))
    live, found = on(cluster).get("wings", "models"), on(cluster)
    mode, side = found.mode(live), manifest(models, 2)["spec"]["predictor"]
    found.apply(with_candidate(with_mode(own_part(live), mode), side, 20, mode))
    line, why = endpoints("list").output.splitlines()
    wanted = "version 1, version 2 gets 20 %"
    assert line == f"wings: version 1 answers; wanted: {wanted}, {fleet.url}"
    assert "CrashLoopBackOff" in why


def test_a_candidate_without_a_share_does_not_answer(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    serve(cluster, models, 0)
    (found,) = json.loads(endpoints("list", "--json").output)
    assert (found["answers"], found["candidate"], found["ready"]) == ([1], 2, True)


def test_the_list_asks_as_often_for_many_endpoints_as_for_one(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    def requests() -> int:
        before = len(cluster.requests)
        assert endpoints("list").exit_code == 0
        return len(cluster.requests) - before

    found = on(cluster)
    for number in range(2):
        one = manifest(models, 1)
        one["metadata"]["name"] = f"good-{number}"
        wait_until_serving(found, found.apply(one), 5)
    cluster.behave("*", Behaviour("image_pull"))

    def fail(name: str) -> None:
        one = manifest(models, 2)
        one["metadata"]["name"] = name
        found.apply(one)

    fail("good-0")
    fail("bad-0")
    few = requests()
    fail("good-1")
    for number in range(1, 4):
        fail(f"bad-{number}")
    assert requests() == few
    assert len(endpoints("list").output.splitlines()) == 12


def test_a_graph_whose_newest_router_does_not_run_is_not_ready(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    """In Standard mode KServe says Ready of a graph as soon as it has a Deployment."""
    serve(cluster, models)
    nodes = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "wings"}]}}
    on(cluster).apply(inference_graph("chain", "models", nodes, {}))
    assert "chain: graph of wings, ready" in endpoints("list").output
    cluster.behave("models/chain", Behaviour("image_pull"))
    nodes = {"root": {"routerType": "Ensemble", "steps": [{"serviceName": "wings"}]}}
    on(cluster).apply(inference_graph("chain", "models", nodes, {}))
    assert "chain: graph of wings, not ready" in endpoints("list").output
    told = endpoints("status", "chain").output
    assert "ready: False" in told
    assert "ImagePullBackOff" in told


def test_who_may_not_see_pods_is_told_what_kserve_says(
    double: KubernetesDouble,
    models: ModelStore,
    fleet: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(double, models)
    config = str(double.kubeconfig(tmp_path / "kubeconfig", "reader"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
    rules = [{"apiGroups": ["serving.kserve.io"], "resources": ["*"], "verbs": ["get", "list"]}]
    double.allow_only("reader", rules, "models")
    line, why = endpoints("list").output.splitlines()
    assert line == f"wings: version 1, ready, {fleet.url}"
    assert "which versions answer cannot be seen" in why
    assert json.loads(endpoints("list", "--json").output)[0]["answers"] is None


def test_what_is_shared_tried_or_edited_hides_nothing(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    serve(cluster, models)
    found = on(cluster)
    settings = parse_settings({"shared": "zoo"})
    served = Deployable.find(models, "wings", 2, name="small-wings").served
    for one in (
        shared_runtime(server_image(served, settings), "models"),
        shared_service(served, "models", settings, found.mode(None, "models")),
        trained_model(served, "models", settings),
    ):
        found.apply(one)
    trial = manifest(models, 1)
    trial["metadata"] |= {"name": "wings-1234abcd"}
    trial["metadata"]["labels"] |= trial_labels("run-7")
    found.apply(trial)
    edited = manifest(models, 1)
    edited["metadata"]["name"] = "edited"
    del edited["spec"]["predictor"]["annotations"]
    found.apply(edited)
    assert endpoints("list").output.splitlines() == [
        f"edited: not a version's, ready, {fleet.url}",
        "  why: InferenceService edited: not an InferenceService of a published version; got "
        "KeyError: 'annotations'; expected what the deploy step writes",
        f"wings: version 1, ready, {fleet.url}",
        "wings-1234abcd: trial of run run-7, ready",
        f"zoo: shared by models, ready, {fleet.url}",
        "  small-wings: version 2, in zoo, ready",
    ]
    told = {one["name"]: one for one in json.loads(endpoints("list", "--json").output)}
    assert (told["small-wings"]["kind"], told["small-wings"]["server"]) == ("model", "zoo")
    assert "kind: shared" in endpoints("status", "zoo").output
    assert endpoints("delete", "small-wings", "--yes").output == "small-wings is deleted\n"
    assert cluster.objects("trainedmodels") == []
    assert cluster.get("inferenceservices", "models/zoo")


def test_of_two_with_one_name_delete_asks_which(
    cluster: KubernetesDouble, models: ModelStore
) -> None:
    serve(cluster, models)
    served = Deployable.find(models, "wings", 2).served
    on(cluster).apply(trained_model(served, "models", parse_settings({"shared": "zoo"})))
    refused = endpoints("delete", "wings", "--yes")
    assert "several have this name; got endpoint, model" in str(refused.exception)
    endpoints("delete", "wings", "--kind", "model", "--yes")
    assert cluster.objects("trainedmodels") == []
    assert cluster.get("inferenceservices", "models/wings")


def test_the_role_that_may_delete_may_delete_models(
    cluster: KubernetesDouble, models: ModelStore
) -> None:
    cluster.allow_only("keeper", access("models", "keeper", delete=True)[1]["rules"], "models")
    keeper = on(cluster, "keeper")
    served = Deployable.find(models, "wings", 2).served
    keeper.apply(trained_model(served, "models", parse_settings({"shared": "zoo"})))
    keeper.delete("wings", "models", TRAINED_MODELS)
    assert cluster.objects("trainedmodels") == []


def test_status_says_why_it_is_not_ready(cluster: KubernetesDouble, models: ModelStore) -> None:
    cluster.behave("*", Behaviour("image_pull"))
    on(cluster).apply(manifest(models, 1))
    told = endpoints("status", "wings").output
    assert "ready: False" in told
    assert "ImagePullBackOff" in told


def test_status_knows_graphs_and_models_of_shared_servers(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    found = on(cluster)
    nodes = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "wings"}]}}
    found.apply(inference_graph("chain", "models", nodes, {}))
    told = endpoints("status", "chain").output
    assert "kind: graph\nservices: wings\nready: False\n" in told
    assert "why: endpoint wings is not there\n" in told
    serve(cluster, models)
    told = endpoints("status", "chain").output
    assert "ready: True" in told
    assert "why:" not in told
    served = Deployable.find(models, "wings", 2).served
    found.apply(trained_model(served, "models", parse_settings({"shared": "zoo"})))
    refused = endpoints("status", "wings")
    assert "several have this name; got endpoint, model" in str(refused.exception)
    told = endpoints("status", "wings", "--kind", "model").output
    assert "version: 2\nserver: zoo\nready: False\n" in told
    assert "why: server zoo is not there\n" in told
    gone = endpoints("status", "nothing")
    assert isinstance(gone.exception, MissingError)


def test_logs_are_those_of_every_server(cluster: KubernetesDouble, models: ModelStore) -> None:
    serve(cluster, models)
    told = endpoints("logs", "wings", "--lines", "3").output
    assert ", kserve-container" in told
    assert "Uvicorn running on" in told


def test_rollback_takes_the_candidate_away(
    cluster: KubernetesDouble, models: ModelStore, fleet: Fleet
) -> None:
    serve(cluster, models, 20)
    assert endpoints("rollback", "wings").output == "wings: version 1 serves; 2 is gone\n"
    assert fleet.split() == {"1": 100}
    again = endpoints("rollback", "wings").output
    assert again == "wings: version 1 serves; there is no candidate\n"


def test_delete_asks_first(cluster: KubernetesDouble, models: ModelStore) -> None:
    serve(cluster, models)
    assert endpoints("delete", "wings").exit_code == 1
    assert cluster.get("inferenceservices", "models/wings")
    assert endpoints("delete", "wings", "--yes").output == "wings is deleted\n"
    gone = endpoints("delete", "wings", "--yes")
    assert isinstance(gone.exception, MissingError)


def test_who_may_list_is_said(
    double: KubernetesDouble,
    models: ModelStore,
    fleet: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(double, models)
    config = str(double.kubeconfig(tmp_path / "kubeconfig", "reader"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
    double.allow_only("reader", access("models", "reader")[1]["rules"], "models")
    assert 'cannot list resource "inferenceservices"' in str(endpoints("list").exception)
    role = access("models", "reader", listing=True)[1]
    double.allow_only("reader", role["rules"], "models")
    assert endpoints("list").output.startswith("wings: version 1")
    given = yaml.safe_load_all(endpoints("access", "--list").output)
    assert next(one for one in given if one["kind"] == "Role")["rules"] == role["rules"]


def test_access_is_what_kubectl_applies() -> None:
    found = list(yaml.safe_load_all(endpoints("access").output))
    kinds = ["ServiceAccount", "Role", "RoleBinding", "RoleBinding"]
    assert [one["kind"] for one in found] == kinds
    verbs = {verb for rule in found[1]["rules"] for verb in rule["verbs"]}
    assert "delete" not in verbs
    assert "*" not in str(found[1]["rules"])
    assert "list" not in next(
        rule["verbs"] for rule in found[1]["rules"] if "inferenceservices" in rule["resources"]
    )
    more = list(
        yaml.safe_load_all(endpoints("access", "--metrics", "--by-header", "--delete").output)
    )
    resources = {resource for rule in more[1]["rules"] for resource in rule["resources"]}
    assert {"pods/proxy", "httproutes"} <= resources


@pytest.mark.parametrize(
    ("runs_in", "role"),
    [("kubeflow", ("Role", "pipeline-runner")), ("team-a", ("ClusterRole", "kubeflow-edit"))],
)
def test_access_binds_the_account_where_pipelines_run(runs_in: str, role: tuple[str, str]) -> None:
    """With the endpoints' rights alone, KFP's driver may not report what its task did."""
    given = () if runs_in == "kubeflow" else ("--runs-in", runs_in)
    account, rights, *bindings = yaml.safe_load_all(endpoints("access", *given).output)
    assert account["metadata"]["namespace"] == runs_in
    assert rights["metadata"]["namespace"] == "models"
    where = [binding["metadata"]["namespace"] for binding in bindings]
    assert where == ["models", runs_in]
    referred = [(one["roleRef"]["kind"], one["roleRef"]["name"]) for one in bindings]
    assert referred == [("Role", "kfp-suite-deployer"), role]
    subject = {"kind": "ServiceAccount", "name": "kfp-suite-deployer", "namespace": runs_in}
    assert [one["subjects"] for one in bindings] == [[subject], [subject]]


def test_access_for_the_account_that_runs_anyway_makes_no_account() -> None:
    given = endpoints("access", "--service-account", "pipeline-runner").output
    rights, binding = yaml.safe_load_all(given)
    assert (rights["kind"], rights["metadata"]["namespace"]) == ("Role", "models")
    assert binding["metadata"]["namespace"] == "models"
    assert binding["subjects"][0]["namespace"] == "kubeflow"


def test_delete_waits_until_it_is_gone(cluster: KubernetesDouble, models: ModelStore) -> None:
    """What is deployed before that goes with it."""
    serve(cluster, models)
    cluster.behave("*", Behaviour(kept=0.3))
    assert endpoints("delete", "wings", "--yes").output == "wings is deleted\n"
    assert cluster.objects("inferenceservices") == []
    serve(cluster, models)
    cluster.behave("*", Behaviour(kept=3600))
    late = endpoints("delete", "wings", "--yes", "--timeout", "1")
    assert "is being deleted" in str(late.exception)
    assert "kept by inferenceservice.finalizers" in str(late.exception)
