"""Where a candidate is loaded: a process, a container, or a cluster."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from kfp_suite.components.contracts.errors import EndpointError, ParameterError
from kfp_suite.components.contracts.model import Model
from kfp_suite.components.kserve.images import default_image
from kfp_suite.components.kserve.manifests import (
    Served,
    inference_service,
    server_image,
    serving_runtime,
)
from kfp_suite.components.kserve.settings import parse_settings
from kfp_suite.components.runtimes.asking import Answer, ask
from kfp_suite.components.runtimes.exchange import Question
from kfp_suite.components.runtimes.launching import Loaded, start
from kfp_suite.components.runtimes.local import LOOPBACK, Launch, LocalServer, free_port
from kfp_suite.components.runtimes.runtime import SUITE

_MOUNT = "/mnt/models"
_CRASH_SECONDS = 2.0


class Place(Protocol):
    """A server that was started; each method raises EndpointError where it fails."""

    has_transformer: bool

    def wait(self, timeout: float) -> float:
        """Wait until it answers; the seconds from its start."""

    def ask(self, question: Question, timeout: float) -> Answer:
        """One request."""

    def memory(self) -> int | None:
        """Bytes that it held at most, None where that cannot be told."""


@contextmanager
def open_place(parameters: Any, artifact: Model, layout: Path, model_uri: str) -> Iterator[Place]:
    """Start the server; it is gone when the block ends.

    Args:
        parameters: `InfraParameters`.
        artifact: The candidate.
        layout: The candidate as the server loads it.
        model_uri: Where a cluster reads it.

    Raises:
        ParameterError: the server cannot be started there.
        EndpointError: its program, or Docker, is not there.
    """
    if parameters.place == "cluster":
        yield from _on_cluster(parameters, artifact, model_uri)
        return
    if parameters.place == "process":
        server = start(parameters.runtime, Loaded(parameters.name, 1, layout))
    else:
        server = _container(parameters, artifact, layout)
    with server:
        yield _Process(server, measured=parameters.place == "process")


class _Process:
    has_transformer = False

    def __init__(self, server: LocalServer, *, measured: bool) -> None:
        self._server, self._measured = server, measured

    def wait(self, timeout: float) -> float:
        return self._server.wait(timeout)

    def ask(self, question: Question, timeout: float) -> Answer:
        try:
            return self._server.ask(question, timeout)
        except EndpointError as error:
            if not self._ended():
                raise
            raise EndpointError(
                "the model server crashed", where=question.path, got=self._server.last_words()
            ) from error

    def _ended(self) -> bool:
        """A server that crashes closes its connections a moment before it is gone."""
        deadline = time.monotonic() + _CRASH_SECONDS
        while self._server.running():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def memory(self) -> int | None:
        return (self._server.peak_memory() or None) if self._measured else None


def _container(parameters: Any, artifact: Model, layout: Path) -> LocalServer:
    """Our server in its image, without privileges, as on a cluster."""
    if parameters.runtime != SUITE:
        raise ParameterError(
            f"runtime '{parameters.runtime}' has no container here",
            where="place",
            fix="use place 'process' or 'cluster'",
        )
    if shutil.which("docker") is None:
        raise EndpointError("Docker is not installed", where="place", fix="use place 'process'")
    image = parameters.image or default_image(artifact.manifest.framework)
    port = free_port()
    arguments = (
        *("docker", "run", "--rm", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp"),  # noqa: S108
        *("--security-opt", "no-new-privileges", "--user", "65532:65532"),
        *("--publish", f"{LOOPBACK}:{port}:8080", "--volume", f"{layout}:{_MOUNT}:ro"),
        *("--entrypoint", "python", image, "-m", "kfp_suite.components.server"),
        f"--model_name={parameters.name}",
        f"--model_dir={_MOUNT}",
        "--model_version=1",
    )
    for path in (layout, *layout.rglob("*")):  # the container's user is nobody of ours
        path.chmod(0o755 if path.is_dir() else 0o644)
    return LocalServer(Launch(arguments, f"/v2/models/{parameters.name}/ready"), port)


class _Service:
    """An InferenceService without traffic of its own."""

    def __init__(self, cluster: Any, parameters: Any, manifest: dict[str, Any]) -> None:
        self._cluster, self._parameters, self._manifest = cluster, parameters, manifest
        self._base: tuple[str, dict[str, str]] = ("", {})
        self.has_transformer = "transformer" in manifest["spec"]

    def wait(self, timeout: float) -> float:
        from kfp_suite.components.kserve.smoke import address_of
        from kfp_suite.components.kserve.waiting import wait_until_serving

        started = time.monotonic()
        applied = self._cluster.apply(self._manifest)
        service = wait_until_serving(self._cluster, applied, timeout)
        self._base = address_of(service, self._parameters.ingress)
        return time.monotonic() - started

    def ask(self, question: Question, timeout: float) -> Answer:
        base, headers = self._base
        name = self._manifest["metadata"]["name"]
        path = question.path.replace(f"/models/{self._parameters.name}", f"/models/{name}")
        return ask(base, Question(path, question.body), headers=headers, timeout=timeout)

    def memory(self) -> int | None:
        return None


def _on_cluster(parameters: Any, artifact: Model, model_uri: str) -> Iterator[Place]:
    from kfp_suite.components.kserve.cluster import Cluster

    if parameters.runtime != SUITE:
        raise ParameterError(
            f"runtime '{parameters.runtime}' loads another layout than the artifact's",
            where="place",
            fix="use place 'process'",
        )
    settings = parse_settings(parameters.settings)
    digest = artifact.manifest.digest.rpartition(":")[2]
    served = Served(
        name=f"{parameters.name[:50].rstrip('-')}-{digest[:8]}",
        model=parameters.name,
        version=1,
        digest=artifact.manifest.digest,
        manifest_digest="",
        store="",
        model_uri=model_uri,
        framework=artifact.manifest.framework,
    )
    cluster = Cluster()
    manifest = inference_service(
        served,
        namespace=parameters.namespace,
        settings=settings,
        mode=cluster.mode(None, parameters.namespace),
    )
    cluster.apply(serving_runtime(server_image(served, settings), parameters.namespace))
    try:
        yield _Service(cluster, parameters, manifest)
    finally:
        cluster.delete(served.name, parameters.namespace)
