"""What a cluster has for a run is looked at before the run is submitted, and by doctor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kfp import compiler

from kfp_suite.cli.main import cli
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kubeflow.cluster_checks import Request, Wanted, check_cluster, requests_of
from kfp_suite.kubeflow.connection import Connection
from kfp_suite.kubeflow.package import open_package
from kfp_suite.kubeflow.placing import placed
from kfp_suite.testing.kfp_backend.backend import KfpDouble
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS
from tests.unit.kubeflow.conftest import KUBECONFIG, Command
from tests.unit.kubeflow.user_pipelines import sized, stranger

GIVEN = ("--param", "model_name=late", "--param", "store=gs://b/models")
ACCOUNT = "system:serviceaccount:kubeflow:pipeline-runner"
Make = Callable[..., KubernetesDouble]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A cluster with a Kubeflow, to which the kubeconfig's only context leads."""
    opened = []

    def made(*, controller: str = "v0.20.0", nodes: int = 1, **given: Any) -> KubernetesDouble:
        spaces = given.pop("namespaces", ("kubeflow", "kserve", "default", "models"))
        double = KubernetesDouble(crds=CRDS, namespaces=spaces, **given)
        context = running(double)
        context.__enter__()
        opened.append(context)
        if "kubeflow" in spaces:
            double.add(
                {
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": "pipeline-runner", "namespace": "kubeflow"},
                }
            )
        if controller:
            double.add(deployment(controller))
        for number in range(nodes):
            double.add(node(f"node-{number}"))
        config = double.kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setattr(KUBECONFIG, str(config))
        return double

    yield made
    for one in opened:
        one.__exit__(None, None, None)


def deployment(version: str, ready: int = 1) -> dict[str, Any]:
    """KServe's controller."""
    container = {"name": "manager", "image": f"kserve/kserve-controller:{version}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "kserve-controller-manager", "namespace": "kserve"},
        "spec": {
            "selector": {"matchLabels": {"app": "kserve"}},
            "template": {
                "metadata": {"labels": {"app": "kserve"}},
                "spec": {"containers": [container]},
            },
        },
        "status": {"readyReplicas": ready} if ready else {},
    }


def node(name: str, cpu: str = "3920m", memory: str = "15Gi", **more: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"pool": "ml"}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110", **more}},
    }


def found(double: KubernetesDouble, **wanted: Any) -> dict[str, tuple[str, str]]:
    """Level and words of each finding."""
    usual: dict[str, Any] = {"namespace": "models", "runs_in": "kubeflow"}
    cluster = Cluster(double.client(), sleep=lambda _: None)
    findings = check_cluster(cluster, Wanted(**usual | wanted))
    return {one.what: (one.level, f"{one.found}; {one.remedy}") for one in findings}


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_a_cluster_that_has_everything(make: Make, mode: Any) -> None:
    double = make(mode=mode)
    looked = found(double)
    assert {level for level, _ in looked.values()} == {"ok"}, looked
    assert f"version v0.20.0, mode {mode}" in looked["KServe"][1]
    assert set(looked) == {
        "Kubernetes",
        "namespace kubeflow",
        "service account kubeflow/pipeline-runner",
        "namespace models",
        "KServe",
        "rollouts",
        "rights of pipeline-runner in models",
        "nodes",
    }
    changing = [one for one in double.requests if one.method in ("PUT", "DELETE")]
    assert not changing
    assert all("dryRun=All" in one.path for one in double.requests if one.method == "PATCH")


def test_a_cluster_without_kserve(make: Make) -> None:
    level, told = found(make(kserve=False, knative=False, controller=""))["KServe"]
    assert (level, "target=local" in told) == ("error", True)


def test_a_controller_that_does_not_run(make: Make) -> None:
    double = make(controller="")
    assert found(double)["KServe"][0] == "warning"
    double.add(deployment("v0.20.0", ready=0))
    assert found(double)["KServe"][0] == "error"


def test_what_is_not_there_is_said(make: Make) -> None:
    looked = found(make(), namespace="birds", account="mine")
    level, told = looked["namespace birds"]
    assert (level, "kubectl create namespace birds" in told) == ("error", True)
    level, told = looked["service account kubeflow/mine"]
    assert level == "error"
    assert (
        "kfp-suite endpoints access -n birds --service-account mine --runs-in kubeflow | kubectl"
        in told
    )


def test_rights_are_those_of_the_account_that_runs(make: Make) -> None:
    double = make()
    objects = access("models", "pipeline-runner")
    role = next(one for one in objects if one["kind"] == "Role")
    double.allow_only("runner", role["rules"], "models", ACCOUNT)
    what = "rights of pipeline-runner in models"
    assert found(double)[what][0] == "ok"
    fewer = [rule for rule in role["rules"] if "pods" not in rule["resources"]]
    double.allow_only("runner", fewer, "models", ACCOUNT)
    level, told = found(double)[what]
    assert (level, "may not list pods; list events" in told) == ("error", True)
    assert "--service-account pipeline-runner --runs-in kubeflow" in told


def test_ones_own_rights_where_nothing_runs(make: Make) -> None:
    double = make()
    double.deny("patch", "inferenceservices", "models")
    level, told = found(double, runs_in="")["rights of your own in models"]
    assert (level, "may not patch inferenceservices.serving.kserve.io" in told) == ("error", True)


def test_what_one_may_not_see_is_no_error(make: Make) -> None:
    double = make()
    for verb, resource in (
        ("get", "namespaces"),
        ("get", "serviceaccounts"),
        ("get", "deployments"),
        ("list", "nodes"),
        ("create", "subjectaccessreviews"),
    ):
        double.deny(verb, resource)
    looked = found(double)
    assert {level for level, _ in looked.values()} <= {"ok", "unknown"}
    unseen = {what for what, (level, _) in looked.items() if level == "unknown"}
    assert "nodes" in unseen
    assert "version not to be seen" in looked["KServe"][1]


@pytest.mark.parametrize(
    ("request_", "fits"),
    [
        (Request("train", 3.0, 8 * 2**30, {}, {}), True),
        (Request("train", 4.0, 8 * 2**30, {}, {}), False),
        (Request("train", 1.0, 16 * 2**30, {}, {}), False),
        (Request("train", 1.0, 2**30, {"nvidia.com/gpu": 1.0}, {}), True),
        (Request("train", 1.0, 2**30, {"nvidia.com/gpu": 2.0}, {}), False),
        (Request("train", 1.0, 2**30, {}, {"pool": "ml"}), True),
        (Request("train", 1.0, 2**30, {}, {"pool": "web"}), False),
    ],
)
def test_the_largest_request_needs_a_node(make: Make, request_: Request, fits: bool) -> None:
    double = make(nodes=1)
    double.add(node("gpu", cpu="2", memory="4Gi", **{"nvidia.com/gpu": "1"}))
    double.add({**node("closed", cpu="64", memory="512Gi"), "spec": {"unschedulable": True}})
    looked = found(double, requests=(request_,))
    if fits:
        assert looked["nodes"][0] == "ok"
    else:
        level, told = looked["nodes for train"]
        assert (level, "none has" in told) == ("warning", True)


def test_a_cluster_without_nodes(make: Make) -> None:
    assert found(make(nodes=0))["nodes"][0] == "error"


def test_requests_are_those_of_the_resources_file(tmp_path: Path, rollouts: str) -> None:
    file = tmp_path / "resources.yaml"
    train = {
        "cpu": "8",
        "memory": "32Gi",
        "accelerator": "nvidia.com/gpu",
        "accelerators": 2,
        "node_selector": {"pool": "ml"},
    }
    file.write_text(yaml.safe_dump({"tasks": {"rollout": train}}))
    requests = {one.task: one for one in requests_of(open_package(rollouts, placed(file)))}
    assert requests["rollout"] == Request(
        "rollout", 8.0, 32 * 2**30, {"nvidia.com/gpu": 2.0}, {"pool": "ml"}
    )


def test_a_run_is_refused_by_its_cluster(
    command: Command, rollouts: str, kfp: KfpDouble, make: Make
) -> None:
    make(kserve=False, knative=False, controller="")
    refused = command("submit", rollouts, *GIVEN, "--kube-context", "double").exception
    assert isinstance(refused, ParameterError)
    assert "KServe: is not installed" in str(refused)
    assert not kfp.state.versions
    assert (
        command("submit", rollouts, *GIVEN, "--kube-context", "double", "--no-check").exit_code == 0
    )


def test_requests_may_be_parameters(
    command: Command, kfp: KfpDouble, make: Make, tmp_path: Path
) -> None:
    make()
    file = tmp_path / "sized.yaml"
    compiler.Compiler().compile(sized, str(file))
    first, second = requests_of(open_package(str(file)))
    assert (first.cpu, first.memory, first.devices) == (0.0, 0.0, {"nvidia.com/gpu": 0.0})
    assert second.devices == {}
    done = command("submit", str(file), "--kube-context", "double")
    assert done.exit_code == 0, done.exception
    assert "watch it:" in done.output


def test_a_pipeline_of_somebody_else_s_deploys_nothing(
    command: Command, kfp: KfpDouble, make: Make, tmp_path: Path
) -> None:
    make(kserve=False, knative=False, controller="")
    file = tmp_path / "stranger.yaml"
    compiler.Compiler().compile(stranger, str(file))
    own = ("--param", "target=cluster", "--kube-context", "double")
    done = command("submit", str(file), *own)
    assert done.exit_code == 0, done.exception
    assert "KServe" not in done.output


def test_a_context_that_is_not_in_the_kubeconfig_is_refused(
    command: Command, rollouts: str, kfp: KfpDouble, make: Make
) -> None:
    """Without its cluster nothing would be checked, and nothing said."""
    make()
    refused = command("submit", rollouts, *GIVEN, "--kube-context", "dubble").exception
    assert isinstance(refused, ParameterError)
    assert "context 'dubble' cannot be used" in str(refused)
    assert not kfp.state.versions
    assert "context 'dubble' cannot be used" in command("doctor", "--kube-context", "dubble").output


def test_the_kubeconfig_may_be_of_another_cluster(
    command: Command, rollouts: str, kfp: KfpDouble, make: Make
) -> None:
    """Then it is a warning, unless its context is named with the address."""
    make(kserve=False, knative=False, controller="")
    done = command("submit", rollouts, *GIVEN)
    assert done.exit_code == 0, done.exception
    assert "warning: KServe: is not installed" in done.output


def test_doctor_says_what_the_cluster_has(command: Command, make: Make, lock: Path) -> None:
    make(mode="Standard")
    told = command("doctor", "-n", "models").output
    assert "cluster: deploy to a cluster (target: cluster): yes" in told
    assert "KServe: is there, version v0.20.0, mode Standard" in told
    assert "rollouts: split by KServe's HTTPRoute, or by one of ours" in told
    assert "rights of pipeline-runner in models: all that deploy needs" in told
    assert f"images: {lock}: of this code" in told


def test_doctor_says_no_where_runs_may_not_deploy(command: Command, make: Make) -> None:
    make().allow_only("runner", [], "models", ACCOUNT)
    told = command("doctor", "-n", "models").output
    assert "cluster: deploy to a cluster (target: cluster): no" in told
    assert "✗ rights of pipeline-runner in models: may not get, create, patch" in told


def test_doctor_looks_at_the_account_that_runs_will_have(command: Command, make: Make) -> None:
    cluster = make()
    cluster.allow_only("runner", [], "models", ACCOUNT)
    options = ("-n", "models", "--service-account", "deployer")
    told = command("doctor", *options).output
    assert "✗ service account kubeflow/deployer: is not there" in told
    assert "-n models --service-account deployer --runs-in kubeflow | kubectl apply" in told
    metadata = {"name": "deployer", "namespace": "kubeflow"}
    cluster.add({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    told = command("doctor", *options).output
    assert "rights of deployer in models: all that deploy needs" in told
    assert "cluster: deploy to a cluster (target: cluster): yes" in told


def test_doctor_does_not_take_a_kubeconfig_for_a_cluster(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(kserve=False, knative=False, controller="")
    found = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).output)
    assert found["able"]["cluster"] is False
    monkeypatch.setattr(KUBECONFIG, "/nowhere/kubeconfig")
    found = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).output)
    assert found["able"]["cluster"] is False
    (only,) = [one for one in found["findings"] if one["area"] == "cluster"]
    assert only["found"] == "no kubeconfig, and no pod"


def test_an_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Connection().address == ""
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://one")
    assert (Connection().address, Connection("http://two").address) == ("http://one", "http://two")
