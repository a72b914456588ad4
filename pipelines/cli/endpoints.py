"""kfp-suite endpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import yaml

from kfp_suite.components.contracts.errors import KfpSuiteError

if TYPE_CHECKING:
    from kfp_suite.components.kserve.cluster import Cluster

_NAMESPACE = click.option("--namespace", "-n", default="default", show_default=True)


def _cluster() -> Cluster:
    from kfp_suite.components.kserve.cluster import Cluster

    return Cluster()


@click.group("endpoints")
def endpoints() -> None:
    """Endpoints on a cluster: list, status, logs, rollback, delete, access."""


@endpoints.command("list")
@_NAMESPACE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(namespace: str, as_json: bool) -> None:
    """The endpoints that the suite deployed, and what each serves."""
    from kfp_suite.components.kserve.manifests import OWNER

    selector = ",".join(f"{key}={value}" for key, value in OWNER.items())
    found = [_told(service) for service in _cluster().services(namespace, selector)]
    if as_json:
        click.echo(json.dumps(found))
        return
    for one in found:
        share = f", version {one['candidate']} gets {one['percent']} %" if one["candidate"] else ""
        ready = "ready" if one["ready"] else "not ready"
        click.echo(f"{one['name']}: version {one['version']}{share}, {ready}, {one['url']}")
    if not found:
        click.echo(f"no endpoints in {namespace}")


@endpoints.command("status")
@click.argument("name")
@_NAMESPACE
def status(name: str, namespace: str) -> None:
    """What an endpoint serves and, where it does not, why."""
    from kfp_suite.components.kserve.diagnosis import reasons

    cluster = _cluster()
    service = cluster.get(name, namespace)
    told = _told(service)
    for key, value in told.items():
        click.echo(f"{key}: {value}")
    if not told["ready"]:
        for reason in reasons(cluster, service):
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
    from kfp_suite.components.kserve.canary import split_of
    from kfp_suite.components.kserve.manifests import own_part
    from kfp_suite.components.kserve.waiting import roll_back

    cluster = _cluster()
    service = cluster.get(name, namespace)
    live, mode = own_part(service), cluster.mode(service)
    split = split_of(live)
    if split.candidate is None:
        click.echo(f"{name}: version {split.stable.version} serves; there is no candidate")
        return
    roll_back(cluster, live, mode, timeout)
    click.echo(f"{name}: version {split.stable.version} serves; {split.candidate.version} is gone")


@endpoints.command("delete")
@click.argument("name")
@_NAMESPACE
@click.confirmation_option(prompt="Delete the endpoint?")
def delete(name: str, namespace: str) -> None:
    """Delete an endpoint; its versions stay in the store."""
    _cluster().delete(name, namespace)
    click.echo(f"{name} is deleted")


@endpoints.command("access")
@_NAMESPACE
@click.option("--service-account", default="kfp-suite-deployer", show_default=True)
@click.option("--metrics", is_flag=True, help="Rollouts read the servers' own metrics.")
@click.option("--by-header", is_flag=True, help="Rollouts let requests choose a version.")
@click.option("--delete", "may_delete", is_flag=True, help="Endpoints may be deleted.")
def access_(
    namespace: str, service_account: str, metrics: bool, by_header: bool, may_delete: bool
) -> None:
    """Print the ServiceAccount, Role and RoleBinding that deploy and rollout need."""
    from kfp_suite.components.kserve.access import access

    objects = access(
        namespace, service_account, metrics=metrics, by_header=by_header, delete=may_delete
    )
    click.echo(yaml.safe_dump_all(objects, sort_keys=False), nl=False)


def _told(service: dict[str, Any]) -> dict[str, Any]:
    from kfp_suite.components.kserve.canary import split_of

    conditions = service.get("status", {}).get("conditions", ())
    split = split_of(service)
    return {
        "name": service["metadata"]["name"],
        "model": split.stable.model,
        "version": split.stable.version,
        "candidate": split.candidate.version if split.candidate else None,
        "percent": split.percent,
        "runtime": split.stable.runtime,
        "ready": any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        "url": service.get("status", {}).get("url", ""),
    }
