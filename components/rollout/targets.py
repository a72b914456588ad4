"""The endpoint that is rolled out: on a cluster, or behind `kfp-suite serve`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.digests import digest_bytes
from kfp_suite.components.contracts.errors import EndpointError, KfpSuiteError, ParameterError
from kfp_suite.components.kserve.canary import Mode, with_mode, without_candidate
from kfp_suite.components.kserve.cluster import Cluster
from kfp_suite.components.kserve.manifests import own_part, read_manifest, to_yaml
from kfp_suite.components.kserve.smoke import address_of
from kfp_suite.components.kserve.version_choice import end_choice, offer_choice, side_service
from kfp_suite.components.kserve.waiting import roll_back, wait_until_serving
from kfp_suite.components.rollout.measuring import (
    Series,
    parse_metrics,
    scrape_prometheus,
    scrape_url,
)

_POLL_SECONDS = 0.1
_METRICS_PORT = 8080


class Target(Protocol):
    """An endpoint. Every method raises EndpointError or StoreError where it fails."""

    mode: Mode

    def live(self) -> dict[str, Any] | None:
        """Its InferenceService as it is, None where there is none."""

    def apply(self, manifest: dict[str, Any]) -> None:
        """Make it so, and wait until it serves."""

    def roll_back(self, live: dict[str, Any]) -> None:
        """Take the candidate of what is live away, and wait until that is so."""

    def prepare(self, manifests: list[dict[str, Any]]) -> None:
        """What has to be there before it: ServingRuntimes."""

    def scrape(self) -> dict[Series, float]:
        """Its counters."""

    def address(self) -> tuple[str, dict[str, str]]:
        """Where it is asked, and the headers that takes."""

    def sides(self) -> list[tuple[str, dict[str, str]]]:
        """Where to ask in turn, so that both versions answer some of it."""


class LocalTarget:
    """A manifest that `kfp-suite serve` follows."""

    mode: Mode = "Standard"

    def __init__(
        self, manifest: Path, name: str, timeout: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Of the file `manifest`, for the endpoint `name`; `timeout`: of a change, seconds."""
        self._path, self._name, self._timeout, self._sleep = manifest, name, timeout, sleep

    def live(self) -> dict[str, Any] | None:
        """What the file says, None where it is not there."""
        return read_manifest(self._path) if self._path.exists() else None

    def apply(self, manifest: dict[str, Any]) -> None:
        """Replace the file and wait until the gateway says that it serves it."""
        content = to_yaml(manifest).encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self._path, content)
        wanted, deadline = digest_bytes(content), time.monotonic() + self._timeout
        while True:
            status = self._status()
            if status.get("observed") == wanted:
                break
            if time.monotonic() >= deadline:
                raise EndpointError(
                    "nobody serves the manifest",
                    where=self._path,
                    got=status or "no status beside it",
                    expected=f"served within {self._timeout:g} s",
                    fix=f"kfp-suite serve {self._path}",
                )
            self._sleep(_POLL_SECONDS)
        if not status["ready"]:
            raise EndpointError("the version does not serve", where=self._path, got=status["error"])

    def roll_back(self, live: dict[str, Any]) -> None:
        """The stable version alone: the gateway ends no server before its last answer."""
        self.apply(without_candidate(live, self.mode))

    def prepare(self, manifests: list[dict[str, Any]]) -> None:
        """Nothing: the gateway knows its servers."""

    def scrape(self) -> dict[Series, float]:
        """What the gateway counts: what clients saw."""
        return scrape_url(f"{self.address()[0]}/metrics", self._name)

    def address(self) -> tuple[str, dict[str, str]]:
        """The gateway's."""
        return str(self._status().get("url", "")), {}

    def sides(self) -> list[tuple[str, dict[str, str]]]:
        """The gateway, which splits."""
        return [self.address()]

    def _status(self) -> dict[str, Any]:
        path = self._path.with_name(f"{self._path.name}.status.json")
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return {}
        return found


class ClusterTarget:
    """An InferenceService on a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        namespace: str,
        *,
        timeout: float,
        force: bool = False,
        prometheus: str = "",
        ingress: str = "",
        by_header: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The endpoint `name`; without a `prometheus` its pods are asked for their metrics."""
        self._cluster, self._name, self._namespace = cluster, name, namespace
        self._timeout, self._force = timeout, force
        self._prometheus, self._ingress = prometheus, ingress
        self._by_header, self._clock = by_header, clock
        self.mode = cluster.mode(cluster.find(name, namespace), namespace)
        if by_header and self.mode != "Standard":
            raise ParameterError(
                "requests choose a version by header in Standard mode only",
                where="by_header",
                got=self.mode,
                fix="Knative has tags: set the annotation serving.kserve.io/enable-tag-routing",
            )

    def live(self) -> dict[str, Any] | None:
        """The object without what the cluster keeps of it."""
        found = self._cluster.find(self._name, self._namespace)
        return None if found is None else own_part(found)

    def apply(self, manifest: dict[str, Any]) -> None:
        """Server-side apply, and wait for its own generation."""
        if self._by_header and "canary" not in manifest["spec"]:
            end_choice(self._cluster, self._name, self._namespace)
        applied = self._cluster.apply(with_mode(manifest, self.mode), force=self._force)
        service = wait_until_serving(self._cluster, applied, self._timeout, self._clock)
        if self._by_header and "canary" in manifest["spec"]:
            offer_choice(self._cluster, service, self._timeout, self._clock)

    def roll_back(self, live: dict[str, Any]) -> None:
        """No request to the candidate, and then no candidate."""
        if self._by_header:
            end_choice(self._cluster, self._name, self._namespace)
        roll_back(
            self._cluster, live, self.mode, self._timeout, force=self._force, clock=self._clock
        )

    def prepare(self, manifests: list[dict[str, Any]]) -> None:
        """Apply ServingRuntimes."""
        for manifest in manifests:
            self._cluster.apply(manifest, force=self._force)

    def scrape(self) -> dict[Series, float]:
        """By Prometheus, or from each pod through the API server."""
        if self._prometheus:
            return scrape_prometheus(self._prometheus, self._name, self._namespace)
        found: dict[Series, float] = {}
        for pod in self._cluster.pods(self._name, self._namespace):
            try:
                text = self._cluster.proxied(
                    pod.metadata.name, self._namespace, _METRICS_PORT, "metrics"
                )
            except KfpSuiteError:
                continue  # it starts, or it has just gone: what it counted is not lost elsewhere
            found |= parse_metrics(text, self._name, pod.metadata.uid)
        return found

    def address(self) -> tuple[str, dict[str, str]]:
        """Inside the cluster, or through the ingress."""
        return address_of(self._cluster.get(self._name, self._namespace), self._ingress)

    def sides(self) -> list[tuple[str, dict[str, str]]]:
        """The ingress splits; inside the cluster, in Standard mode, nobody does: each side's
        own Service is asked."""
        service = self._cluster.get(self._name, self._namespace)
        base, headers = address_of(service, self._ingress)
        found = [(base, headers)]
        if self.mode == "Standard" and not self._ingress:
            stable = side_service(self._name, service["spec"]["predictor"])
            for canary in service["spec"].get("canary", ()):
                other = side_service(self._name, canary["predictor"])
                found.append((base.replace(f"//{stable}.", f"//{other}."), headers))
        return found
