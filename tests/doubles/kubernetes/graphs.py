"""The controller that plays KServe for InferenceGraphs: a router each, and what it says of it.

It says less than it seems to. A graph of an endpoint that has no address is left as it is,
without a word. In Standard mode it is Ready as soon as its Deployment has a condition, and
`observedGeneration` is the Deployment's; in Knative mode its conditions are the Knative
Service's, and there is no `observedGeneration`. Its mode is in no status.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from kfp_suite.testing.kubernetes.conditions import Conditions
from kfp_suite.testing.kubernetes.deploying import DOMAIN, Workloads
from kfp_suite.testing.kubernetes.kinds import (
    DEPLOYMENT,
    INFERENCE_GRAPH,
    INFERENCE_SERVICE,
    SERVING,
    Json,
    clone,
)
from kfp_suite.testing.kubernetes.objects import Store, Stored
from kfp_suite.testing.kubernetes.rollouts import Mode, Workload
from kfp_suite.testing.kubernetes.webhook import MODE, mode_named
from kfp_suite.testing.kubernetes.workloads import QUEUE_PROXY, Behaviour
from kfp_suite.testing.kubernetes.writing import Writer

_ROUTER = "kserve/router:v0.20.0"


class Graphs:
    """InferenceGraphs and their routers.

    Args:
        store: What it reads.
        writer: What it writes statuses with.
        workloads: What it writes routers with.
        mode: Of graphs that do not say theirs.
        behaviour: What becomes of the rollouts of a graph.
        endpoint: Where a graph says that it answers; empty: a name that KServe makes.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        workloads: Workloads,
        mode: Mode,
        behaviour: Callable[[Stored], Behaviour],
        endpoint: Callable[[str, str], str],
    ) -> None:
        self._store, self._writer, self._workloads = store, writer, workloads
        self._mode, self._behaviour, self._endpoint = mode, behaviour, endpoint
        self._routers: dict[str, Workload] = {}

    def behave(self) -> None:
        """Look anew at what becomes of those that are not ready."""
        for stored in self._store.all(INFERENCE_GRAPH):
            router = self._routers.get(stored.content["metadata"]["uid"])
            if router is not None:
                router.behave(self._behaviour(stored), self._store.now())

    def tick(self, now: float) -> float:
        """Do what is due; when the next is."""
        graphs = self._store.all(INFERENCE_GRAPH)
        alive = {stored.content["metadata"]["uid"] for stored in graphs}
        self._routers = {uid: one for uid, one in self._routers.items() if uid in alive}
        for stored in graphs:
            if self._behaviour(stored).outcome != "silent":
                self._reconcile(stored, now)
        return min(
            (due for one in self._routers.values() for due in one.due(now)), default=math.inf
        )

    def _reconcile(self, stored: Stored, now: float) -> None:
        spec = self._resolved(stored)
        if spec is None:
            return
        metadata, before = stored.content["metadata"], stored.content.get("status", {})
        namespace, name = stored.key
        said = metadata.get("annotations", {}).get(MODE, "") or self._mode
        mode: Mode = "Knative" if mode_named(said) == "Knative" else "Standard"
        router = self._routers.setdefault(metadata["uid"], Workload(name, "router"))
        replicas = stored.content["spec"].get("minReplicas", 1)
        router.roll(
            self._template(stored, spec, mode), replicas, self._behaviour(stored), mode, now
        )
        conditions = Conditions(before.get("conditions", ()), self._store.stamp())
        status: Json = clone(before)
        own = self._endpoint(namespace, name)
        serving = router.serving(now)
        traffic: list[Json] = []
        if mode == "Standard":
            self._workloads.deployment(stored, router, now)
            made = self._store.get(DEPLOYMENT, namespace, name)
            conditions.set("Ready", "True")
            status["url"] = own or f"http://{name}-{namespace}.{DOMAIN}"
            if made is not None:
                status["observedGeneration"] = made.content["status"]["observedGeneration"]
        else:
            if serving is not None:
                target: Json = {"latestRevision": True, "percent": 100}
                traffic = [{**target, "revisionName": serving.name}]
            service = self._workloads.knative(stored, router, traffic, now)
            for sort, state, reason, message in service.each():
                conditions.set(sort, state, reason, message)
            status.pop("url", None)
            if service.is_true("Ready"):
                status["url"] = own or f"http://{name}.{namespace}.{DOMAIN}"
        conditions.set("Stopped", "False")
        self._workloads.pods(namespace, router, traffic, mode, now)
        self._writer.status(stored, {**status, "conditions": conditions.listed()})

    def _template(self, stored: Stored, spec: Json, mode: Mode) -> Json:
        """The pods of a router: what the graph itself is labelled and annotated with is theirs."""
        metadata = stored.content["metadata"]
        name = metadata["name"] if mode == "Standard" else "user-container"
        args = ["--graph-json", json.dumps(spec, sort_keys=True)]
        containers = [{"name": name, "image": _ROUTER, "args": args}]
        if mode == "Knative":
            containers.append(dict(QUEUE_PROXY))
        labels = {**metadata.get("labels", {}), f"{SERVING}/inferencegraph": metadata["name"]}
        annotations = dict(metadata.get("annotations", {}))
        return {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {"containers": containers},
        }

    def _resolved(self, stored: Stored) -> Json | None:
        """The spec with the addresses of its endpoints; None where one has none."""
        spec: Json = clone(stored.content["spec"])
        for node in spec.get("nodes", {}).values():
            for step in node.get("steps", ()):
                if step.get("serviceName") and not step.get("serviceUrl"):
                    found = self._store.get(INFERENCE_SERVICE, stored.key[0], step["serviceName"])
                    status = found.content.get("status", {}) if found is not None else {}
                    if not status.get("address", {}).get("url"):
                        return None
                    step["serviceUrl"] = status["address"]["url"]
        return spec
