"""An endpoint for a published version: its manifest, or the live InferenceService."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.deploy.place import check_place
from kfp_suite.components.deploy.pushed import Pushed, read_pushed
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.errors import AlreadyExistsError, ParameterError, SupersededError
from kfp_suite.contracts.run_record import ENDPOINT
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import (
    Served,
    inference_service,
    server_image,
    serving_runtime,
    to_yaml,
)
from kfp_suite.kserve.settings import EndpointSettings, parse_settings
from kfp_suite.kserve.storage import on_cluster
from kfp_suite.kserve.target import LOCAL
from kfp_suite.runtimes.layout import parse_options
from kfp_suite.runtimes.runtime import SUITE
from kfp_suite.stores.champions import parse_champion
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import CHAMPION, ModelStore

MANIFEST = "inferenceservice.yaml"
FILES = {
    "InferenceService": MANIFEST,
    "ServingRuntime": "servingruntime.yaml",
    "TrainedModel": "trainedmodel.yaml",
}
ROLLBACK, KEEP = "rollback", "keep"
ANY = "any"
Made = tuple[dict[str, Any], list[dict[str, Any]]]
FORMAT_VERSION = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeployParameters:
    """Where the endpoint is, what serves it, and how long the cluster may take.

    Attributes:
        target: `local` writes the manifest; `cluster` applies it and waits.
        unattended: Nobody serves what `local` writes, as on a cluster: the version is the
            champion by its verdicts.
        namespace: The Kubernetes namespace.
        runtime: The model server; see `runtimes`.
        runtime_options: The server's own.
        versions: Versions served beside the deployed one, by servers that serve several.
        expected_champion: `any`, or the champion as resolve pinned it.
        settings: `EndpointSettings` as a mapping.
        dry_run: Change nothing; show what would change.
        force: Take fields that others have set.
        ingress: Address of the ingress, for who is outside the cluster.
        timeout_seconds: How long the cluster may take, for a rollback once more.
        on_failure: `rollback`: where the version does not serve, or answers wrongly, what
            served before is put back; `keep`: it stays, for who looks.
    """

    target: str = LOCAL
    unattended: bool = False
    namespace: str = "default"
    runtime: str = SUITE
    runtime_options: Mapping[str, Any] = field(default_factory=dict)
    versions: tuple[int, ...] = ()
    expected_champion: str = ANY
    settings: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    force: bool = False
    ingress: str = ""
    timeout_seconds: float = 600
    on_failure: str = ROLLBACK

    def __post_init__(self) -> None:
        check_place(self.target, self.timeout_seconds)
        if self.on_failure not in (ROLLBACK, KEEP):
            raise ParameterError(
                "not allowed",
                where="on_failure",
                got=self.on_failure,
                expected=f"{ROLLBACK} or {KEEP}",
            )
        self._check_shared()
        parse_options(self.runtime, self.runtime_options)

    def _check_shared(self) -> None:
        if not parse_settings(self.settings).shared:
            return
        if self.target != "cluster" or self.runtime != SUITE:
            raise ParameterError(
                "only our server, on a cluster, is shared",
                where="settings.shared",
                got=f"target {self.target}, runtime {self.runtime}",
                fix="here, kfp-suite serve takes several manifests at once",
            )
        if self.runtime_options:
            raise ParameterError(
                "a shared server has no options",
                where="runtime_options",
                got=self.runtime_options,
                fix="leave them out",
            )


def deploy(
    parameters: DeployParameters, version: Path, output: Path, *, cluster: Any = None
) -> dict[str, Any]:
    """Write the manifest of a pushed version and, on a cluster, make it serve.

    Args:
        parameters: Where to and how.
        version: The artifact of push: a folder with `pushed.json`.
        output: A folder with `inferenceservice.yaml`, `servingruntime.yaml` where our server
            serves, and `endpoint.json`.
        cluster: A `kserve.cluster.Cluster`; None: the one that credentials lead to.

    A version that another one has overtaken is not deployed; `promoted` is False then, and
    `why` says by which.

    Raises:
        ContractError: `version` is not what push writes.
        ParameterError: the server cannot serve the model, or the cluster cannot run it: what it
            would pull, read or scale by.
        EndpointError: the cluster does not serve this version in time, with its reasons; or
            it answers the model's sample wrongly. What served before serves again then.
        AlreadyExistsError: somebody else set fields that this would change, or a rollout is
            under way.
        StoreError: the cluster or the store refused.
    """
    pushed = read_pushed(version)
    models = ModelStore(open_store(pushed.store))
    champion = models.alias(pushed.model, CHAMPION) or 0
    try:
        _check_champion(champion, pushed, parameters.expected_champion)
        made = _deploy(parameters, models, pushed, output, cluster)
        if parameters.target == LOCAL and parameters.unattended:
            _make_champion(models, pushed, champion)
            made[0]["unattended"] = True
    except SupersededError as error:
        log.warning("not deployed: %s", error)
        made = _not_deployed(parameters, pushed, str(error))
    endpoint, manifests = made
    endpoint["champion"] = champion
    with whole_folder(output) as folder:
        for one in manifests:
            write_file(folder / FILES[one["kind"]], to_yaml(one).encode())
        write_json(folder / ENDPOINT, endpoint)
    return endpoint


def _check_champion(champion: int, pushed: Pushed, expected: str) -> None:
    """Raise SupersededError where the champion is not the one that the model was compared
    with: the verdict says nothing about this one."""
    if expected == ANY:
        return
    compared = parse_champion(expected)
    if champion not in (pushed.version, compared.version if compared else 0):
        other = f"version {compared.version}" if compared else "none"
        raise SupersededError(
            f"version {champion} has become champion since version {pushed.version} was compared "
            f"with {other}",
            where=pushed.model,
            fix="the next run compares with it",
        )


def _make_champion(models: ModelStore, pushed: Pushed, champion: int) -> None:
    """Make a version champion that nobody will serve and ask: its own server has answered in
    infra_validate. Raises SupersededError if another version has become champion meanwhile."""
    log.warning(
        "target is local, on a cluster: nothing is served; %s version %d is the champion by its "
        "verdicts",
        pushed.model,
        pushed.version,
    )
    try:
        models.set_alias(
            pushed.model,
            CHAMPION,
            pushed.version,
            "published on a cluster with target local",
            expected=champion,
        )
    except AlreadyExistsError as error:
        raise SupersededError(error.what, where=pushed.model, got=error.got) from error


def _not_deployed(parameters: DeployParameters, pushed: Pushed, why: str) -> Made:
    endpoint = {
        "format_version": FORMAT_VERSION,
        "target": parameters.target,
        "namespace": parameters.namespace,
        "manifest": "",
        "url": "",
        "promoted": False,
        "why": why,
        **asdict(pushed),
    }
    return endpoint, []


def _deploy(
    parameters: DeployParameters, models: ModelStore, pushed: Pushed, output: Path, cluster: Any
) -> Made:
    """The content of `endpoint.json`, and the manifests."""
    settings = parse_settings(parameters.settings)
    if parameters.target == "cluster":
        on_cluster(pushed.store, pushed.store)
    deployable = Deployable.find(
        models,
        pushed.model,
        pushed.version,
        runtime=parameters.runtime,
        options=parameters.runtime_options,
        name=settings.name,
        beside=parameters.versions,
    )
    served = deployable.served

    def described(mode: str | None) -> list[dict[str, Any]]:
        service = inference_service(
            served,
            namespace=parameters.namespace,
            settings=settings,
            options=parameters.runtime_options,
            mode=mode,
        )
        return [*_runtimes(served, settings, parameters.namespace), service]

    url, changes = "", ""
    if parameters.target == "cluster":
        from kfp_suite.components.deploy.on_cluster import Deployment
        from kfp_suite.kserve.cluster import Cluster

        deployment = Deployment(cluster or Cluster(), parameters, deployable)
        if settings.shared:
            manifests = deployment.shared(settings)
        else:
            manifests = deployment.own(described, settings)
        if parameters.dry_run:
            changes = deployment.changes(manifests)
            log.info("%s", changes or "nothing would change")
        else:
            url = deployment.apply(manifests)
    else:
        manifests = described(None)
    endpoint = {
        "format_version": FORMAT_VERSION,
        "target": parameters.target,
        "dry_run": parameters.dry_run,
        "namespace": parameters.namespace,
        "manifest": str(output / FILES[manifests[-1]["kind"]]),
        "url": url,
        "changes": changes,
        **asdict(served),
    }
    return endpoint, manifests


def _runtimes(served: Served, settings: EndpointSettings, namespace: str) -> list[dict[str, Any]]:
    if served.runtime != SUITE:
        return []
    return [serving_runtime(server_image(served, settings), namespace)]
