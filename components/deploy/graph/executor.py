"""A graph of endpoints: its manifest, or the live InferenceGraph."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.deploy.place import check_place
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.errors import ContractError, MissingError, ParameterError
from kfp_suite.contracts.parameters import whole_numbers
from kfp_suite.kserve.canary import split_of
from kfp_suite.kserve.deletion import is_dying
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.graphs import inference_graph, services_of
from kfp_suite.kserve.manifests import to_yaml
from kfp_suite.kserve.target import LOCAL
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore, check_model_name

MANIFEST = "inferencegraph.yaml"
GRAPH = "graph.json"
FORMAT_VERSION = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphParameters:
    """The graph, and where it is.

    Attributes:
        name: Of the graph.
        nodes: As KServe writes them.
        target: `local` writes the manifest; `cluster` applies it and waits.
        namespace: The Kubernetes namespace.
        request: What it is asked; empty: the sample of the first endpoint's model.
        overlay: Merged over the manifest.
        dry_run: Change nothing; show what would change.
        force: Take fields that others have set.
        ingress: Address of the ingress, for who is outside the cluster.
        timeout_seconds: How long the cluster may take.
    """

    name: str
    nodes: Mapping[str, Any]
    target: str = LOCAL
    namespace: str = "default"
    request: Mapping[str, Any] = field(default_factory=dict)
    overlay: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    force: bool = False
    ingress: str = ""
    timeout_seconds: float = 600

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_place(self.target, self.timeout_seconds)
        self.manifest()

    def manifest(self) -> dict[str, Any]:
        """The InferenceGraph. Raises ParameterError."""
        return inference_graph(self.name, self.namespace, self.nodes, self.overlay)


def deploy_graph(
    parameters: GraphParameters, output: Path, *, cluster: Any = None
) -> dict[str, Any]:
    """Write the manifest of a graph and, on a cluster, make it answer.

    Args:
        parameters: Which, where to and how.
        output: A folder with `inferencegraph.yaml` and `graph.json`.
        cluster: A `kserve.cluster.Cluster`; None: the one that credentials lead to.

    Raises:
        MissingError: an endpoint that it asks is not on the cluster.
        ParameterError: nobody knows what to ask it, or it could not be asked from here.
        EndpointError: it is not ready, or does not answer, in time; with the reasons.
        AlreadyExistsError: somebody else set fields that this would change.
        StoreError: the cluster refused.
    """
    manifest = parameters.manifest()
    url = planned = ""
    if parameters.target == "cluster":
        from kfp_suite.kserve.cluster import Cluster
        from kfp_suite.kserve.planning import changes

        cluster = cluster or Cluster()
        if parameters.dry_run:
            planned = changes(cluster, manifest, force=parameters.force)
            log.info("%s", planned or "nothing would change")
        else:
            url = _apply(cluster, parameters, manifest)
    graph = {
        "format_version": FORMAT_VERSION,
        "name": parameters.name,
        "target": parameters.target,
        "dry_run": parameters.dry_run,
        "namespace": parameters.namespace,
        "manifest": str(output / MANIFEST),
        "services": services_of(manifest),
        "url": url,
        "changes": planned,
    }
    with whole_folder(output) as folder:
        write_file(folder / MANIFEST, to_yaml(manifest).encode())
        write_json(folder / GRAPH, graph)
    return graph


def _apply(cluster: Any, parameters: GraphParameters, manifest: dict[str, Any]) -> str:
    """Apply, wait, ask; the graph's URL."""
    from kfp_suite.kserve.patience import patiently
    from kfp_suite.kserve.routing import wait_until_routing
    from kfp_suite.kserve.smoke import check_askable

    check_askable(cluster, None, parameters.ingress)
    request = _request(cluster, parameters, manifest)
    applied = patiently(  # a graph of the name may be being deleted
        cluster,
        lambda: cluster.apply(manifest, force=parameters.force),
        parameters.timeout_seconds,
        time.monotonic,
    )
    live = wait_until_routing(
        cluster,
        applied,
        request,
        ingress=parameters.ingress,
        timeout_seconds=parameters.timeout_seconds,
    )
    return str(live["status"]["url"])


def _request(cluster: Any, parameters: GraphParameters, manifest: dict[str, Any]) -> Any:
    """What the graph is asked: every endpoint that it asks is there."""
    services = {name: cluster.find(name, parameters.namespace) for name in services_of(manifest)}
    missing = [name for name, found in services.items() if found is None or is_dying(found)]
    if missing:
        raise MissingError(
            "no such endpoint",
            where=f"InferenceGraph {parameters.namespace}/{parameters.name}",
            got=", ".join(missing),
            fix="deploy it first, or mend serviceName",
        )
    if parameters.request:
        return whole_numbers(parameters.request)
    try:
        first = next(iter(services.values()))
        served = split_of(first).stable
        models = ModelStore(open_store(served.store))
        found = Deployable.find(models, served.model, served.version, name=served.name)
    except (StopIteration, ContractError) as error:
        raise ParameterError(
            "nobody knows what to ask the graph",
            where="request",
            got="a first endpoint that the suite did not deploy",
            fix="set request",
        ) from error
    return found.question(first)[1].body
