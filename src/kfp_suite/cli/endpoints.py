"""kfp-suite endpoints."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click
import yaml

from kfp_suite.cli.endpoint_listing import (
    KINDS,
    explained,
    in_words,
    kind_of,
    listed,
)
from kfp_suite.contracts.errors import KfpSuiteError

if TYPE_CHECKING:
    from kfp_suite.kserve.cluster import Cluster

_NAMESPACE = click.option("--namespace", "-n", default="default", show_default=True)
_KIND = click.option(
    "--kind", type=click.Choice(sorted(KINDS)), help="Which, where several have the name."
)


def _cluster() -> Cluster:
    from kfp_suite.kserve.cluster import Cluster

    return Cluster()


@click.group("endpoints")
def endpoints() -> None:
    """Endpoints on a cluster: list, status, logs, rollback, delete, access."""


@endpoints.command("list")
@_NAMESPACE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(namespace: str, as_json: bool) -> None:
    """The endpoints that the suite deployed, which versions answer, and which are wanted.

    KServe calls an endpoint ready as long as anything of it answers, so its pods are looked at:
    while another version than the wanted one answers, the list says why. In JSON `version` is
    the one that is wanted, and `answers` are those that answer (null: they cannot be seen).

    Also servers that several models share, with their models; graphs; and trials of
    infra_validate, which a run that was killed may have left.
    """
    found = listed(_cluster(), namespace)
    if as_json:
        click.echo(json.dumps(found))
        return
    for one in found:
        click.echo(in_words(one))
    if not found:
        click.echo(f"no endpoints in {namespace}")


@endpoints.command("status")
@click.argument("name")
@_NAMESPACE
@_KIND
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(name: str, namespace: str, kind: str | None, as_json: bool) -> None:
    """What an endpoint, a model of a shared server or a graph serves and, if it does not, why.

    Of an endpoint: `version` is the one that is wanted, `answers` are those that answer; if none
    does, `answered_last` is the one that did last, by the records in the store.
    """
    cluster = _cluster()
    told, reasons = explained(cluster, name, namespace, kind or kind_of(cluster, name, namespace))
    if as_json:
        click.echo(json.dumps(told | {"why": reasons}))
        return
    for key, value in told.items():
        click.echo(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for reason in reasons:
        click.echo(f"why: {reason}")


@endpoints.command("logs")
@click.argument("name")
@_NAMESPACE
@click.option("--lines", type=click.IntRange(1), default=50, show_default=True)
def logs(name: str, namespace: str, lines: int) -> None:
    """The last lines of an endpoint's servers."""
    cluster = _cluster()
    cluster.get(name, namespace)
    for pod in cluster.pods(name, namespace):
        for container in pod.spec.containers:
            click.echo(f"== {pod.metadata.name}, {container.name}")
            try:
                text = cluster.log(pod.metadata.name, namespace, container.name, lines)
                click.echo(text, nl=False)
            except KfpSuiteError as error:
                click.echo(f"no log: {error}")


@endpoints.command("rollback")
@click.argument("name")
@_NAMESPACE
@click.option(
    "--timeout", type=click.FloatRange(1), default=600, show_default=True, help="Seconds."
)
def rollback(name: str, namespace: str, timeout: float) -> None:
    """Take a candidate away: the stable version serves every request again."""
    from kfp_suite.kserve.canary import settled, split_of
    from kfp_suite.kserve.ownership import applied_part
    from kfp_suite.kserve.waiting import roll_back

    cluster = _cluster()
    service = cluster.get(name, namespace)
    live, mode = applied_part(service), cluster.mode(service)
    split = split_of(live)
    if settled(live):
        click.echo(f"{name}: version {split.stable.version} serves; there is no candidate")
        return
    roll_back(cluster, live, mode, timeout)
    gone = f"; {split.candidate.version} is gone" if split.candidate else ", and it alone"
    click.echo(f"{name}: version {split.stable.version} serves{gone}")


@endpoints.command("delete")
@click.argument("name")
@_NAMESPACE
@_KIND
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=120,
    show_default=True,
    help="Seconds to wait until it is gone.",
)
@click.confirmation_option(prompt="Delete the endpoint?")
def delete(name: str, namespace: str, kind: str | None, timeout: float) -> None:
    """Delete an endpoint, a model of a shared server, or a graph; versions stay in the store.

    Ends when it is gone: KServe keeps it for a while, and what is deployed onto it meanwhile
    would go with it.
    """
    from kfp_suite.kserve.deletion import check_living
    from kfp_suite.kserve.patience import patiently

    cluster = _cluster()
    path = KINDS[kind or kind_of(cluster, name, namespace)]
    uid = cluster.get(name, namespace, path)["metadata"]["uid"]
    cluster.delete(name, namespace, path)

    def gone() -> bool:
        found = cluster.find(name, namespace, path)
        if found is not None and found["metadata"]["uid"] == uid:
            check_living(found)
        return True

    patiently(cluster, gone, timeout, time.monotonic)
    click.echo(f"{name} is deleted")


@endpoints.command("access")
@_NAMESPACE
@click.option("--service-account", default="kfp-suite-deployer", show_default=True)
@click.option(
    "--runs-in",
    default="kubeflow",
    show_default=True,
    help="The namespace that pipelines run in: KFP's own, or a profile's.",
)
@click.option("--metrics", is_flag=True, help="Rollouts read the servers' own metrics.")
@click.option("--by-header", is_flag=True, help="Rollouts let requests choose a version.")
@click.option("--graphs", is_flag=True, help="Rollouts let graphs know of promoted versions.")
@click.option("--delete", "may_delete", is_flag=True, help="Endpoints may be deleted.")
@click.option("--list", "may_list", is_flag=True, help="Endpoints may be listed.")
def access_(
    namespace: str,
    service_account: str,
    runs_in: str,
    metrics: bool,
    by_header: bool,
    graphs: bool,
    may_delete: bool,
    may_list: bool,
) -> None:
    """Print the ServiceAccount, Role and RoleBindings that deploy and rollout need.

    The account is where pipelines run, and its rights on endpoints are where they are. It is
    bound to KFP's own role too, without which a run ends at its first driver: the Role
    pipeline-runner in kubeflow, the ClusterRole kubeflow-edit in a profile's namespace.
    `--service-account pipeline-runner` (of a profile: default-editor) gives the rights to the
    account that runs anyway.
    """
    from kfp_suite.kserve.access import access

    objects = access(
        namespace,
        service_account,
        metrics=metrics,
        by_header=by_header,
        graphs=graphs,
        delete=may_delete,
        listing=may_list,
        runs_in=runs_in,
    )
    click.echo(yaml.safe_dump_all(objects, sort_keys=False), nl=False)
