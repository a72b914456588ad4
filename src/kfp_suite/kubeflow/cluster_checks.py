"""Checks that a cluster can run a pipeline and deploy its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kubernetes.utils.quantity import parse_quantity

from kfp_suite.contracts.errors import KfpSuiteError, StoreError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.survey import CONTROLLER, CONTROLLER_IN, Node, Survey
from kfp_suite.kserve.target import CLUSTER
from kfp_suite.kubeflow.connection import INSTALLED_IN, Backend, Connection
from kfp_suite.kubeflow.package import Package
from kfp_suite.local.findings import Finding, Level

AREA = "cluster"
_KSERVE = "serving.kserve.io"
_GATEWAY = "gateway.networking.k8s.io"
_PLACEHOLDER = "{{$"
"""The beginning of a value that KFP's driver fills in."""
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """The requests of one pod.

    Attributes:
        task: The task of the pod.
        cpu: CPUs.
        memory: Bytes.
        devices: Accelerators by resource name.
        labels: Those that its node must have.
    """

    task: str
    cpu: float
    memory: float
    devices: Mapping[str, float]
    labels: Mapping[str, str]

    def fits(self, node: Node) -> bool:
        """Whether an empty node has room for it."""
        return (
            self.cpu <= node.cpu
            and self.memory <= node.memory
            and all(node.devices.get(name, 0) >= count for name, count in self.devices.items())
            and self.labels.items() <= node.labels.items()
        )

    def __str__(self) -> str:
        devices = "".join(f", {count:g} {name}" for name, count in self.devices.items())
        labels = "".join(f", {key}={value}" for key, value in self.labels.items())
        return f"{self.cpu:g} CPUs, {self.memory / 2**30:.3g} GiB{devices}{labels}"


@dataclass(frozen=True)
class Wanted:
    """The requirements of a pipeline on a cluster.

    Attributes:
        namespace: The namespace of endpoints.
        runs_in: The namespace of runs; empty: nothing runs there.
        account: The service account of runs; empty: the installation's.
        deploys: Whether endpoints are created.
        rolls_out: Whether traffic is moved in steps.
        requests: The requests of pods.
    """

    namespace: str = "default"
    runs_in: str = ""
    account: str = ""
    deploys: bool = True
    rolls_out: bool = False
    requests: tuple[Request, ...] = ()

    @property
    def runs_as(self) -> str:
        """The service account of runs."""
        alone = self.runs_in == INSTALLED_IN
        return self.account or ("pipeline-runner" if alone else "default-editor")


def requests_of(package: Package) -> tuple[Request, ...]:
    """The requests of a pipeline's pods."""
    platform = package.platform.get("platforms", {}).get("kubernetes", {})
    of_pods = platform.get("deploymentSpec", {}).get("executors", {})
    found = []
    for label, executor in package.spec["deploymentSpec"]["executors"].items():
        given = executor.get("container", {}).get("resources", {})
        accelerator = given.get("accelerator", {})
        devices = {}
        kind = str(accelerator.get("resourceType", accelerator.get("type", "")))
        if kind and not kind.startswith(_PLACEHOLDER):
            count = accelerator.get("resourceCount", accelerator.get("count", 1))
            devices[kind] = _amount(str(count))
        found.append(
            Request(
                label.removeprefix("exec-"),
                _amount(given.get("resourceCpuRequest", "0")),
                _amount(given.get("resourceMemoryRequest", "0")),
                devices,
                of_pods.get(label, {}).get("nodeSelector", {}).get("labels", {}),
            )
        )
    return tuple(found)


def _amount(quantity: str) -> float:
    """A quantity as a number; 0 for one that a parameter or a task of the run decides."""
    return 0.0 if quantity.startswith(_PLACEHOLDER) else float(parse_quantity(quantity))


def wanted_by(
    package: Package, arguments: Mapping[str, Any], backend: Backend, account: str = ""
) -> Wanted:
    """The requirements of a run on its cluster.

    Args:
        package: The pipeline.
        arguments: As they are sent.
        backend: The Kubeflow that it will run on.
        account: The requested service account; empty: the installation's.
    """
    defaults = {name: one.default for name, one in package.parameters.items()}
    values = {**defaults, **arguments}
    return Wanted(
        namespace=str(values.get("namespace") or "default"),
        runs_in=runs_in(backend),
        account=account,
        deploys=package.has_our_steps and values.get("target") == CLUSTER,
        rolls_out="exec-rollout" in package.spec["deploymentSpec"]["executors"],
        requests=requests_of(package),
    )


def runs_in(backend: Backend) -> str:
    """The namespace of the pods of runs: a profile's, or that of Kubeflow Pipelines alone."""
    several = backend.health().multi_user
    return backend.namespace or "" if several else INSTALLED_IN


def look_at_cluster(connection: Connection, wanted: Wanted) -> list[Finding]:
    """The findings of the cluster that credentials lead to; none without credentials, except for
    a context that was named and cannot be used.

    Args:
        connection: The connection to Kubeflow Pipelines.
        wanted: The requirements.
    """
    try:
        cluster = Cluster(sleep=lambda _: None, context=connection.kube_context)
    except StoreError as error:
        if not connection.kube_context:
            return []
        why = f"context '{connection.kube_context}' cannot be used: {error.got}"
        return [Finding(AREA, "Kubernetes", "error", why, "see kubectl config get-contexts")]
    return check_cluster(cluster, wanted)


def look_at_cluster_of_run(connection: Connection, wanted: Wanted) -> list[Finding]:
    """The same before a run is submitted.

    The kubeconfig may be of another cluster than an address of Kubeflow: then nothing is an
    `error`, unless its context is named, too.
    """
    found = look_at_cluster(connection, wanted)
    if connection.kube_context or not connection.address:
        return found
    return [replace(one, level="warning") if one.level == "error" else one for one in found]


def check_cluster(cluster: Cluster, wanted: Wanted) -> list[Finding]:
    """The findings of a cluster; facts that the account may not read are `unknown`.

    Args:
        cluster: The cluster.
        wanted: The requirements.
    """
    look = _Look(cluster, wanted)
    look.at_everything()
    return look.findings


class _Look:
    """Runs one check after the other, and collects the findings."""

    def __init__(self, cluster: Cluster, wanted: Wanted) -> None:
        self.findings: list[Finding] = []
        self._cluster, self._wanted, self._survey = cluster, wanted, Survey(cluster)

    def at_everything(self) -> None:
        wanted = self._wanted
        try:
            version, groups = self._survey.version(), self._survey.groups()
        except KfpSuiteError as error:
            self._fails("Kubernetes", "error", error)
            return
        self._add("Kubernetes", f"answers, version {version}")
        if wanted.runs_in and self._namespace(wanted.runs_in):
            self._account()
        if wanted.deploys:
            own = wanted.namespace == wanted.runs_in
            self._kserve(groups, is_there=own or self._namespace(wanted.namespace))
        self._nodes()

    def _namespace(self, name: str) -> bool:
        """Returns whether it is there, or may be."""
        what = f"namespace {name}"
        found = self._seen(what, lambda: self._survey.has_namespace(name))
        self._judge(what, found, "is there", "is not there", f"kubectl create namespace {name}")
        return found is not False

    def _account(self) -> None:
        wanted = self._wanted
        what = f"service account {wanted.runs_in}/{wanted.runs_as}"
        self._judge(
            what,
            self._seen(what, lambda: self._survey.has_account(wanted.runs_in, wanted.runs_as)),
            "is there",
            "is not there",
            self._grant if wanted.account else "name the one of runs: --service-account",
        )

    def _kserve(self, groups: frozenset[str], *, is_there: bool) -> None:
        if _KSERVE not in groups:
            self._add(
                "KServe",
                "is not installed",
                "error",
                "install it (https://kserve.github.io); or publish without an endpoint: "
                "--param target=local",
            )
            return
        namespace = self._wanted.namespace
        mode = None
        if is_there:
            mode = self._seen("mode of KServe", lambda: self._cluster.mode(None, namespace))
        self._controller(mode)
        if mode is not None:
            self._rollouts(mode, groups)
        if is_there:
            self._rights(groups)

    def _controller(self, mode: str | None) -> None:
        told = f", mode {mode}" if mode else ""
        try:
            found = self._survey.controller()
        except KfpSuiteError:  # most who deploy may not read it
            self._add("KServe", f"is there, version not to be seen{told}")
            return
        if found is None:
            names = " or ".join(CONTROLLER_IN)
            self._add(
                "KServe",
                f"its resources are there{told}, and no {CONTROLLER} in {names}",
                "warning",
                "kubectl get deployments -A says where it is",
            )
        else:
            self._judge(
                "KServe",
                found.is_ready,
                f"is there, version {found.version or 'unknown'}{told}",
                f"version {found.version or 'unknown'}{told}: its controller does not run",
                "kubectl get pods -A says why",
            )

    def _rollouts(self, mode: str, groups: frozenset[str]) -> None:
        if mode == "Knative":
            self._add("rollouts", "Knative splits requests")
        elif _GATEWAY in groups:
            self._add("rollouts", "split by KServe's HTTPRoute, or by one of ours before it")
        else:
            self._add(
                "rollouts",
                "in Standard mode nothing splits requests without the Gateway API",
                "error" if self._wanted.rolls_out else "warning",
                "install KServe with the Gateway API, or in Knative mode",
            )

    def _rights(self, groups: frozenset[str]) -> None:
        wanted = self._wanted
        account = wanted.runs_as if wanted.runs_in else ""
        user = f"system:serviceaccount:{wanted.runs_in}:{account}" if account else ""
        objects = access(wanted.namespace, account or "me", metrics=wanted.rolls_out)
        role = next(one for one in objects if one["kind"] == "Role")
        rules = [rule for rule in role["rules"] if {"", "apps", *groups} & set(rule["apiGroups"])]
        what = f"rights of {account or 'your own'} in {wanted.namespace}"
        missing = self._seen(
            what, lambda: self._survey.missing_rights(wanted.namespace, rules, user)
        )
        lacking = "; ".join(f"{', '.join(verbs)} {name}" for name, verbs in (missing or {}).items())
        self._judge(
            what,
            None if missing is None else not missing,
            "all that deploy needs",
            f"may not {lacking}",
            self._grant,
        )

    def _nodes(self) -> None:
        nodes = self._seen("nodes", self._survey.nodes)
        if nodes is None:
            return
        if not nodes:
            self._add("nodes", "none takes pods", "error", "kubectl get nodes says why")
            return
        largest = max(nodes, key=lambda node: (node.memory, node.cpu))
        size = Request("", largest.cpu, largest.memory, largest.devices, {})
        told = f"{len(nodes)}, the largest with {size}"
        without = [one for one in self._wanted.requests if not any(map(one.fits, nodes))]
        if not without:
            self._add("nodes", told)
        for one in without:
            self._add(
                f"nodes for {one.task}",
                f"none has {one} ({told}): it waits until one is added",
                "warning",
                f"ask for less by --resources FILE, under tasks: {one.task}, or add a node",
            )

    @property
    def _grant(self) -> str:
        wanted = self._wanted
        words = ["kfp-suite endpoints access -n", wanted.namespace]
        if wanted.runs_in:
            words += ["--service-account", wanted.runs_as, "--runs-in", wanted.runs_in]
        return " ".join([*words, "| kubectl apply -f -"])

    def _seen(self, what: str, look: Callable[[], T]) -> T | None:
        """The result of a look; None, with a finding, if the account may not read it."""
        try:
            return look()
        except KfpSuiteError as error:
            self._fails(what, "unknown", error)
            return None

    def _judge(self, what: str, good: bool | None, yes: str, no: str, remedy: str) -> None:
        if good is not None:
            self._add(what, yes if good else no, "ok" if good else "error", remedy)

    def _add(self, what: str, found: str, level: Level = "ok", remedy: str = "") -> None:
        self.findings.append(Finding(AREA, what, level, found, remedy))

    def _fails(self, what: str, level: Level, error: KfpSuiteError) -> None:
        self._add(what, "; ".join(filter(None, (error.what, error.got))), level, error.fix or "")
