"""The endpoint that is rolled out: on a cluster, or behind `kfp-suite serve`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kfp_suite.components.rollout.measuring import (
    Scrape,
    parse_metrics,
    scrape_prometheus,
    scrape_url,
)
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.digests import PREFIX, digest_bytes
from kfp_suite.contracts.errors import (
    MissingError,
    SupersededError,
    TransientError,
)
from kfp_suite.kserve.canary import Mode, candidate_side, with_mode, without_candidate
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.gateway_status import (
    read_status,
    wait_for_gateway,
    wait_until_observed,
)
from kfp_suite.kserve.graph_addresses import tell_graphs
from kfp_suite.kserve.health import Health
from kfp_suite.kserve.manifests import read_manifest, to_yaml
from kfp_suite.kserve.ownership import applied_part
from kfp_suite.kserve.patience import patiently
from kfp_suite.kserve.served import ServedRecords
from kfp_suite.kserve.smoke import address_of, check_askable
from kfp_suite.kserve.tag_routing import HEADER, check_tag_routing
from kfp_suite.kserve.traffic_split import split_requests
from kfp_suite.kserve.version_choice import end_choice, offer_choice, side_service
from kfp_suite.kserve.waiting import roll_back, wait_until_serving
from kfp_suite.kserve.workloads import pod_is_ready
from kfp_suite.stores.versions import ModelStore

_METRICS_PORT = 8080
# Between the end of one gateway and the next one's taking over.
_HANDOVER_SECONDS = 30.0
T = TypeVar("T")

log = logging.getLogger(__name__)


class Target(Protocol):
    """An endpoint. Every method raises EndpointError or StoreError where it fails."""

    mode: Mode

    def place(self) -> str:
        """What tells it from every other endpoint of the model, as a part of an object's name."""

    def served(self, models: ModelStore, model: str) -> None:
        """Write down that what is live has answered: a deployment that fails goes back to it."""

    def live(self) -> dict[str, Any] | None:
        """Its InferenceService as we applied it, None if there is none."""

    def apply(self, manifest: dict[str, Any]) -> None:
        """Make it so, and wait until it serves."""

    def wait(self) -> None:
        """Wait until what is live serves, and nothing else."""

    def roll_back(self, live: dict[str, Any]) -> None:
        """Take the candidate of what is live away, and wait until that is so."""

    def prepare(self, manifests: list[dict[str, Any]]) -> None:
        """What has to be there before it: ServingRuntimes."""

    def scrape(self) -> Scrape:
        """Its counters."""

    def ailing(self) -> str:
        """Why the candidate's servers cannot serve any more, empty if they can. Raises
        SupersededError if there is no candidate any more."""

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

    def served(self, models: ModelStore, model: str) -> None:
        """Nothing: the gateway keeps the versions that serve."""

    def place(self) -> str:
        """By the path of the file."""
        return digest_bytes(str(self._path.resolve()).encode()).removeprefix(PREFIX)[:16]

    def live(self) -> dict[str, Any] | None:
        """What the file says, None if it is not there."""
        return read_manifest(self._path) if self._path.exists() else None

    def apply(self, manifest: dict[str, Any]) -> None:
        """Replace the file and wait until the gateway says that it serves it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self._path, to_yaml(manifest).encode())
        self.wait()

    def wait(self) -> None:
        """Wait until the gateway says that it serves the file."""
        wait_until_observed(self._path, self._timeout, self._sleep)

    def roll_back(self, live: dict[str, Any]) -> None:
        """The stable version alone: the gateway ends no server before its last answer."""
        self.apply(without_candidate(live, self.mode))

    def prepare(self, manifests: list[dict[str, Any]]) -> None:
        """Nothing: the gateway knows its servers."""

    def scrape(self) -> Scrape:
        """What the gateway counts: what clients saw."""
        return scrape_url(f"{self.address()[0]}/metrics", self._name)

    def ailing(self) -> str:
        """What the gateway says of a version that it could not start again: it routes to the
        stable one alone."""
        _candidate(self.live(), self._path)
        status = read_status(self._path)
        fallen = status is not None and not status.ready and len(status.versions) < 2
        return status.error if status is not None and fallen else ""

    def address(self) -> tuple[str, dict[str, str]]:
        """The gateway's."""
        patience = min(self._timeout, _HANDOVER_SECONDS)
        return wait_for_gateway(self._path, patience, self._sleep).url, {}

    def sides(self) -> list[tuple[str, dict[str, str]]]:
        """The gateway, which splits."""
        return [self.address()]


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
        deployment_mode: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The endpoint `name`; without a `prometheus` its pods are asked for their metrics."""
        self._cluster, self._name, self._namespace = cluster, name, namespace
        self._timeout, self._force = timeout, force
        self._prometheus, self._ingress = prometheus, ingress
        self._by_header, self._clock = by_header, clock
        found = cluster.find(name, namespace)
        check_askable(cluster, found, ingress)
        self.mode = cluster.mode(found, namespace, deployment_mode)
        self._health = Health(cluster, self.mode)
        if by_header and self.mode == "Knative":
            check_tag_routing(cluster, found)

    def served(self, models: ModelStore, model: str) -> None:
        """In the store, by the object's own identifier."""
        found = self._patiently(lambda: self._cluster.get(self._name, self._namespace))
        ServedRecords(models, model, found).add(found)

    def place(self) -> str:
        """By the object's own identifier: its name may be another cluster's, too."""
        found = self._patiently(lambda: self._cluster.get(self._name, self._namespace))
        return str(found["metadata"]["uid"])

    def live(self) -> dict[str, Any] | None:
        """The fields of the object that are ours. One that is being deleted is waited for until
        it is gone."""
        found = self._patiently(lambda: self._cluster.living(self._name, self._namespace))
        return None if found is None else applied_part(found)

    def apply(self, manifest: dict[str, Any]) -> None:
        """Server-side apply, and wait for its own generation."""
        wanted = with_mode(manifest, self.mode)
        two = "canary" in wanted["spec"]
        if self.mode == "Standard" and not two:
            self._patiently(lambda: end_choice(self._cluster, self._name, self._namespace))
        applied = self._patiently(lambda: self._cluster.apply(wanted, force=self._force))
        if self.mode == "Standard" and not two:
            tell_graphs(self._cluster, applied, self._timeout, self._clock)
        service = wait_until_serving(self._cluster, applied, self._timeout, self._clock)
        if self.mode == "Standard" and two:
            self._split(service)
        if self._by_header and self.mode == "Knative" and candidate_side(wanted) is not None:
            log.info("%s: latest chooses the candidate, prev the stable version", HEADER)
        elif self._by_header and two:
            offer_choice(self._cluster, service, self._timeout, self._clock)

    def _split(self, service: dict[str, Any]) -> None:
        """Split requests by the candidate's share, if it has one and KServe does not."""
        (canary,) = service["spec"]["canary"]
        if canary["trafficPercent"]:
            predictors = (service["spec"]["predictor"], canary["predictor"])
            stable, candidate = (side_service(self._name, one) for one in predictors)
            split_requests(self._cluster, service, (stable, candidate), self._timeout, self._clock)

    def wait(self) -> None:
        """As after an apply."""
        found = self._patiently(lambda: self._cluster.get(self._name, self._namespace))
        if self.mode == "Standard" and "canary" not in found["spec"]:
            tell_graphs(self._cluster, found, self._timeout, self._clock)
        wait_until_serving(self._cluster, found, self._timeout, self._clock)

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(self._cluster, call, self._timeout, self._clock)

    def roll_back(self, live: dict[str, Any]) -> None:
        """No request to the candidate, and then no candidate."""
        roll_back(
            self._cluster, live, self.mode, self._timeout, force=self._force, clock=self._clock
        )

    def prepare(self, manifests: list[dict[str, Any]]) -> None:
        """Apply ServingRuntimes."""
        for manifest in manifests:
            self._cluster.apply(manifest, force=self._force)

    def scrape(self) -> Scrape:
        """By Prometheus, or from each pod that is ready, through the API server."""
        if self._prometheus:
            return scrape_prometheus(self._prometheus, self._name, self._namespace)
        found: Scrape = {}
        for pod in filter(pod_is_ready, self._cluster.pods(self._name, self._namespace)):
            name = pod.metadata.name
            try:
                text = self._cluster.proxied(name, self._namespace, _METRICS_PORT, "metrics")
            except (MissingError, TransientError):
                continue  # it has just gone, or does not answer for now
            found[pod.metadata.uid] = parse_metrics(text, self._name, f"pod {name}")
        return found

    def ailing(self) -> str:
        """What the candidate's pods say."""
        try:
            service = self._cluster.get(self._name, self._namespace)
            return self._health.look(service, _candidate(service, self._name))
        except TransientError:
            return ""  # the next look may be answered

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


def _candidate(manifest: Mapping[str, Any] | None, where: object) -> Mapping[str, Any]:
    side = candidate_side(manifest) if manifest is not None else None
    if side is None:
        raise SupersededError("somebody took the candidate away meanwhile", where=where)
    return side
