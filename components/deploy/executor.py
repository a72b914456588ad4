"""An endpoint for a published version: its manifest, or the live InferenceService."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import read_json, write_file, write_json
from kfp_suite.components.contracts.errors import ContractError, ParameterError
from kfp_suite.components.contracts.run_record import ENDPOINT, PUSHED
from kfp_suite.components.kserve.manifests import (
    SERVER_IMAGE,
    Served,
    inference_service,
    to_yaml,
)

MANIFEST = "inferenceservice.yaml"
TARGETS = ("local", "cluster")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class DeployParameters:
    """Where the endpoint is, and how long the cluster may take to serve the version."""

    target: str = "local"
    namespace: str = "default"
    image: str = SERVER_IMAGE
    dry_run: bool = False
    timeout_seconds: int = 600

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ParameterError(
                "not allowed", where="target", got=self.target, expected=" or ".join(TARGETS)
            )
        if self.timeout_seconds < 1:
            raise ParameterError(
                "out of range",
                where="timeout_seconds",
                got=self.timeout_seconds,
                expected="at least 1",
            )


def deploy(parameters: DeployParameters, version: Path, output: Path) -> dict[str, Any]:
    """Write the manifest of a pushed version and, on a cluster, make it serve.

    Args:
        parameters: Where to.
        version: The artifact of push: a folder with `pushed.json`.
        output: A folder with `inferenceservice.yaml` and `endpoint.json`.

    Raises:
        ContractError: `version` is not what push writes.
        EndpointError: the cluster does not serve this version in time; with its conditions.
    """
    served = _served(version / PUSHED)
    manifest = inference_service(served, namespace=parameters.namespace, image=parameters.image)
    applied = parameters.target == "cluster" and not parameters.dry_run
    url = ""
    if applied:
        from kfp_suite.components.kserve.cluster import serve_version

        url = serve_version(manifest, parameters.timeout_seconds)
        _make_champion(served)
    endpoint = {
        "format_version": FORMAT_VERSION,
        "target": parameters.target,
        "dry_run": parameters.dry_run,
        "namespace": parameters.namespace,
        "manifest": str(output / MANIFEST),
        "url": url,
        **asdict(served),
    }
    with whole_folder(output) as folder:
        write_file(folder / MANIFEST, to_yaml(manifest).encode())
        write_json(folder / ENDPOINT, endpoint)
    return endpoint


def _served(pushed_file: Path) -> Served:
    pushed = read_json(pushed_file)
    try:
        return Served(
            name=pushed["model"],
            model=pushed["model"],
            version=pushed["version"],
            digest=pushed["digest"],
            manifest_digest=pushed["manifest_digest"],
            store=pushed["store"],
            model_uri=pushed["model_uri"],
        )
    except (KeyError, TypeError) as error:
        raise ContractError(
            "not what push writes", where=pushed_file, got=f"{type(error).__name__}: {error}"
        ) from error


def _make_champion(served: Served) -> None:
    """Only an endpoint that serves the version makes it champion."""
    from kfp_suite.components.stores.store import open_store
    from kfp_suite.components.stores.versions import CHAMPION, ModelStore

    ModelStore(open_store(served.store)).set_alias(
        served.model, CHAMPION, served.version, "served by the cluster"
    )
