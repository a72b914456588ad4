"""Where a candidate is loaded: a process, a container, or a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.contracts.model import Model
from kfp_suite.runtimes.http_client import Answer
from kfp_suite.runtimes.launching import Loaded, start
from kfp_suite.runtimes.local import LocalServer
from kfp_suite.runtimes.protocol import Question

_CRASH_SECONDS = 2.0


@dataclass(frozen=True)
class Candidate:
    """A candidate on this machine, and where a cluster may find it.

    `layout` is what its server loads, `uri` where the Model artifact is; `name` is what
    requests call it, `service` the InferenceService that it is on a cluster.
    """

    name: str
    service: str
    artifact: Model
    folder: Path
    layout: Path
    uri: str


class Place(Protocol):
    """A server that was started; each method raises EndpointError where it fails."""

    has_transformer: bool

    def wait(self, timeout: float) -> float:
        """Wait until it answers; the seconds from its start."""

    def ask(self, question: Question, timeout: float) -> Answer:
        """One request."""

    def memory(self) -> int | None:
        """Bytes that it held at most, None if that cannot be told."""


@contextmanager
def open_place(parameters: Any, candidate: Candidate) -> Iterator[Place]:
    """Start the server; it is gone when the block ends.

    Args:
        parameters: `InfraParameters`, with a place that was chosen.
        candidate: What it loads.

    Raises:
        ParameterError: the server cannot be started there.
        StoreError: the cluster or the store refused.
    """
    if parameters.place == "cluster":
        from kfp_suite.components.infra_validate.on_cluster import on_cluster

        with on_cluster(parameters, candidate) as service:
            yield service
        return
    if parameters.place == "process":
        server = start(parameters.runtime, Loaded(candidate.name, 1, candidate.layout))
    else:
        from kfp_suite.components.infra_validate.containers import start_container

        server = start_container(parameters, candidate.artifact, candidate.layout)
    with server:
        yield _Process(server)


class _Process:
    has_transformer = False

    def __init__(self, server: LocalServer) -> None:
        self._server = server

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
        return self._server.peak_memory() or None
