"""The server processes behind the gateway: one a version, and one more for its transformer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.errors import IntegrityError
from kfp_suite.kserve.manifests import Served
from kfp_suite.runtimes.launching import Loaded, start
from kfp_suite.runtimes.local import LocalServer
from kfp_suite.runtimes.runtime import SUITE, TORCHSERVE
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

START_SECONDS = 180.0
PATIENCE_SECONDS = 65.0
"""Longer than our server gives a prediction: it says itself that it was late."""
_MORE_SECONDS = 5.0


@dataclass(frozen=True)
class Side:
    """A version to be served, and how many seconds a request may take; 0: the server's own."""

    served: Served
    seconds: int = 0

    @property
    def patience(self) -> float:
        """How many seconds its answer is waited for."""
        return self.seconds + _MORE_SECONDS if self.seconds else PATIENCE_SECONDS


@dataclass
class Backend:
    """A side that answers at `base`. `in_flight`: requests it is working on."""

    side: Side
    servers: list[LocalServer]
    in_flight: int = 0

    @property
    def served(self) -> Served:
        """The version."""
        return self.side.served

    @property
    def base(self) -> str:
        """Base URL of the entry point: the transformer if there is one, else the predictor."""
        return self.servers[-1].base

    @property
    def needs_headers(self) -> bool:
        """Whether requests need more headers than the client's: a token."""
        return self.served.runtime == TORCHSERVE

    def headers(self) -> Mapping[str, str]:
        """These headers."""
        return self.servers[-1].headers()

    def running(self) -> bool:
        """Whether all its processes are there."""
        return all(server.running() for server in self.servers)

    def stop(self) -> None:
        """End its processes, the one that clients see first."""
        for server in reversed(self.servers):
            server.stop()


class Start:
    """A version on its way: fetched, verified, its server started and waited for."""

    def __init__(self, side: Side, transformer: Mapping[str, Any] | None, scratch: Path) -> None:
        """A backend that is not started yet.

        Args:
            side: The version and its server.
            transformer: The manifest's transformer, None if it has none.
            scratch: The folder that versions are copied to.
        """
        self._side, self._transformer, self._scratch = side, transformer, scratch
        self._servers: list[LocalServer] = []
        self._given_up = False

    def run(self) -> Backend:
        """Wait until it answers.

        Raises:
            IntegrityError: it is not the version that the manifest was made for, or its bytes
                are not those that were published.
            EndpointError: the server does not answer; with its last words.
            MissingError, StoreError: as the store.
        """
        served, transformer = self._side.served, self._transformer
        artifact, layout = self._fetched()
        try:
            first = self._answering(start(served.runtime, self._loaded(layout)))
            if transformer is not None:
                predictor = first.base.removeprefix("http://") + _outputs(transformer)
                self._answering(start(SUITE, self._loaded(artifact), predictor=predictor))
        except BaseException:
            for server in self._servers:
                server.stop()
            raise
        return Backend(self._side, self._servers)

    def give_up(self) -> None:
        """End it, from another thread: `run` raises soon."""
        self._given_up = True
        for server in self._servers:
            server.kill()

    def _loaded(self, folder: Path) -> Loaded:
        served = self._side.served
        return Loaded(served.name, served.version, folder, self._side.seconds)

    def _answering(self, server: LocalServer) -> LocalServer:
        self._servers.append(server)
        if self._given_up:
            server.kill()
        server.wait(START_SECONDS)
        return server

    def _fetched(self) -> tuple[Path, Path]:
        """The artifact, and the layout that the server loads."""
        served = self._side.served
        models = ModelStore(open_store(served.store))
        found = models.manifest_digest(served.model, served.version)
        if served.manifest_digest and found != served.manifest_digest:
            raise IntegrityError(
                "the published version is not the one the manifest names",
                where=models.uri(served.model, served.version),
                got=found,
                expected=served.manifest_digest,
                fix="deploy the version again",
            )
        place = self._scratch / served.name / str(served.version)
        shutil.rmtree(place, ignore_errors=True)
        artifact = place / "artifact"
        if served.runtime == SUITE or self._transformer is not None:
            models.fetch(served.model, served.version, artifact)
        if served.runtime == SUITE:
            return artifact, artifact
        layout = place / "layout"
        models.fetch_layout(served.model, served.storage_uri, layout)
        return artifact, layout


def _outputs(transformer: Mapping[str, Any]) -> str:
    arguments = transformer["containers"][0].get("args", ())
    wanted = [a.partition("=")[2] for a in arguments if a.startswith("--predictor_outputs=")]
    return f"/{wanted[0]}" if wanted else ""
