"""The servers of an endpoint on a cluster that is a double.

What they answer is the published versions' own samples; which of them answers is what the
cluster says: its pods, their annotations, and the split of the requests.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from kfp_suite.kserve.manifests import VERSION
from kfp_suite.server.metrics import EndpointMetrics
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble

_REQUESTS_A_SCRAPE = 400


@dataclass
class Conduct:
    """How a version answers: the share of errors, their code, and how long an answer takes."""

    errors: float = 0.0
    code: int = 500
    seconds: float = 0.004


@dataclass
class _Pod:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    metrics: EndpointMetrics = field(init=False)
    asked: int = 0

    def __post_init__(self) -> None:
        self.metrics = EndpointMetrics(self.registry)


class Fleet:
    """The servers of the endpoint `models/wings`.

    Attributes:
        answers: By version: what `sample_answer.json` says, and what is asked gets.
        says: By version: the version that an answer names, where that is another.
        conduct: By version.
        shares: Every split of the requests that was seen, the oldest first: percent by version.
        scrapes: How often metrics were read; after `silent_after` they are not answered.
    """

    def __init__(self, models: ModelStore, double: KubernetesDouble) -> None:
        self._double = double
        self.answers: dict[str, Any] = {}
        for number in models.versions("wings"):
            manifest = models.manifest("wings", number)
            path = f"wings/{number}/{manifest.path}/sample_answer.json"
            self.answers[str(number)] = json.loads(models.store.read(path))
        self.says: dict[str, str] = {}
        self.conduct: defaultdict[str, Conduct] = defaultdict(Conduct)
        self.shares: list[dict[str, int]] = []
        self.scrapes = 0
        self.silent_after = float("inf")
        self.url = ""
        self._pods: defaultdict[str, _Pod] = defaultdict(_Pod)
        self._lock = threading.Lock()
        self._asked = 0

    @property
    def asked(self) -> int:
        """How many predictions it was asked for."""
        return self._asked

    def split(self) -> dict[str, int]:
        """Percent of the requests by version, as the cluster's routes have it now."""
        service = self._double.get("inferenceservices", "models/wings")
        status = service.get("status", {})
        found: defaultdict[str, int] = defaultdict(int)
        if status.get("deploymentMode") == "Knative":
            for target in status["components"]["predictor"].get("traffic", ()):
                revision = self._double.get("revisions", f"models/{target['revisionName']}")
                found[revision["metadata"]["annotations"][VERSION]] += target["percent"]
        else:
            left = 100 if self._double.controller.splits else 100 - self._split_by_share(found)
            sides = {one["predictor"]["name"]: one for one in service["spec"].get("canary", ())}
            for side in status.get("canaryStatuses", ()):
                if side["ready"] and side["name"] in sides and self._double.controller.splits:
                    version = sides[side["name"]]["predictor"]["annotations"][VERSION]
                    found[version] += side["trafficPercent"]
                    left -= side["trafficPercent"]
            if left:
                found[self._oldest_ready(service)] += left
        return {version: percent for version, percent in found.items() if percent}

    def _split_by_share(self, found: defaultdict[str, int]) -> int:
        """Add the candidate's share by the route of ours; the share."""
        try:
            route = self._double.get("httproutes", "models/wings-by-share")
        except KeyError:
            return 0
        _, candidate = route["spec"]["rules"][0]["backendRefs"]
        (pod,) = (
            pod
            for pod in self._double.objects("pods", "models")
            if f"{pod['metadata']['labels']['app'].removeprefix('isvc.')}" == candidate["name"]
        )
        found[pod["metadata"]["annotations"][VERSION]] += candidate["weight"]
        return int(candidate["weight"])

    def _oldest_ready(self, service: dict[str, Any]) -> str:
        """While a rolling update runs, the servers before still answer."""
        name = service["spec"]["predictor"].get("name", "")
        app = "isvc.wings-" + (f"{name}-" if name else "") + "predictor"
        for pod in self._double.objects("pods", "models"):
            ready = pod["status"].get("conditions", [{}])[0].get("status") == "True"
            if ready and pod["metadata"]["labels"].get("app") == app:
                version: str = pod["metadata"]["annotations"][VERSION]
                return version
        return "nobody"

    def watch(self) -> None:
        """Note the split, where it has changed."""
        split = self.split()
        with self._lock:
            if split and (not self.shares or self.shares[-1] != split):
                self.shares.append(split)

    def metrics(self, pod: str) -> bytes | None:
        """A pod's `/metrics`, after some more requests; None where they are not answered."""
        with self._lock:
            self.scrapes += 1
            if self.scrapes > self.silent_after:
                return None
        found = self._double.get("pods", f"models/{pod}")
        version = found["metadata"]["annotations"][VERSION]
        share, conduct = self.split().get(version, 0), self.conduct[version]
        with self._lock:
            one = self._pods[found["metadata"]["uid"]]
            for _ in range(_REQUESTS_A_SCRAPE * share // 100):
                one.asked += 1
                # Spread evenly: the n-th is an error where the share's sum passes a whole.
                bad = int(one.asked * conduct.errors) > int((one.asked - 1) * conduct.errors)
                one.metrics.observe("wings", version, conduct.code if bad else 200, conduct.seconds)
            return generate_latest(one.registry)

    def targets(self) -> list[dict[str, Any]]:
        """The pods, as Prometheus's service discovery over HTTP lists them."""
        return [
            {
                "targets": [self.url.removeprefix("http://")],
                "labels": {
                    "__metrics_path__": f"/pods/{pod['metadata']['name']}/metrics",
                    "namespace": "models",
                    "pod": pod["metadata"]["name"],
                },
            }
            for pod in self._double.objects("pods", "models")
        ]

    def answer(self) -> tuple[str, bytes]:
        """A prediction, and the version that says it."""
        with self._lock:
            self._asked += 1
            turn = self._asked % 100
        for version, percent in self.split().items():
            turn -= percent
            if turn < 0:
                said = self.answers[version]
                body = {key: said[key] for key in ("predictions", "probabilities")}
                return self.says.get(version, version), json.dumps(body).encode()
        return "", b"{}"


@contextmanager
def fleet_of(models: ModelStore, double: KubernetesDouble) -> Iterator[Fleet]:
    """Serve a fleet, and let the double's endpoint and its pods be it."""
    fleet = Fleet(models, double)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            version, content = fleet.answer()
            self._send(200, content, {"x-model-version": version})

        def do_GET(self) -> None:
            if self.path == "/targets":
                content = json.dumps(fleet.targets()).encode()
                self._send(200, content, {"content-type": "application/json"})
                return
            try:
                found = fleet.metrics(self.path.split("/")[2])
            except KeyError:  # the pod has just gone
                found = None
            self._send(503 if found is None else 200, found or b"", {"content-type": "text/plain"})

        def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            try:
                fleet.watch()
            except KeyError:
                continue  # no endpoint yet, or a revision that has just gone

    threads.append(threading.Thread(target=watch))
    fleet.url = f"http://127.0.0.1:{server.server_port}"
    double.endpoint = fleet.url
    double.proxy = lambda pod, _: f"{fleet.url}/pods/{pod['metadata']['name']}"
    for thread in threads:
        thread.start()
    try:
        yield fleet
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()
