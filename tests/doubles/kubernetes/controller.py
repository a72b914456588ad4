"""The controller that plays KServe: from InferenceServices to workloads, pods and a status."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from kfp_suite.testing.kubernetes.conditions import Conditions
from kfp_suite.testing.kubernetes.deploying import DOMAIN, Logs, Workloads
from kfp_suite.testing.kubernetes.graphs import Graphs
from kfp_suite.testing.kubernetes.kinds import (
    CLUSTER_SERVING_RUNTIME,
    DEPLOYMENT,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    KNATIVE_SERVICE,
    SERVING,
    SERVING_RUNTIME,
    TRAINED_MODEL,
    Json,
    clone,
)
from kfp_suite.testing.kubernetes.objects import Store, Stored
from kfp_suite.testing.kubernetes.patches import merge_patch
from kfp_suite.testing.kubernetes.rollouts import Mode, Rollout, Workload
from kfp_suite.testing.kubernetes.schemas import Schemas
from kfp_suite.testing.kubernetes.webhook import MODE, mode_named
from kfp_suite.testing.kubernetes.workloads import Behaviour, failure_message, pod_spec
from kfp_suite.testing.kubernetes.writing import Writer

_LABEL = f"{SERVING}/inferenceservice"
_TAGS = f"{SERVING}/enable-tag-routing"
_FINALIZER = "inferenceservice.finalizers"
_MODEL_FINALIZER = "trainedmodel.finalizer"
_COMPONENTS = ("predictor", "transformer", "explainer")
# What of a component does not reach its pods.
_BESIDE = ("canaryTrafficPercent", "name", "annotations", "labels", "batcher", "logger")
_SCALE = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")
_PRIVATE = ("kubectl.kubernetes.io/last-applied-configuration",)


@dataclass
class _Service:
    """What the controller remembers of an InferenceService."""

    workloads: dict[str, Workload] = field(default_factory=dict)
    seen: str = ""
    due: float = math.inf
    waits: tuple[int, float] = (0, 0.0)
    deleted: float = math.inf


class Controller:
    """KServe's controller and those below it. Hold the store's lock while calling it.

    Args:
        store: What it reads and writes.
        schemas: Of the objects.
        logs: What containers wrote, to be filled in.
        mode: Of services that do not say theirs.
    """

    def __init__(self, store: Store, schemas: Schemas, logs: Logs, mode: Mode) -> None:
        self._store, self.mode = store, mode
        self._writer = Writer(store, schemas)
        self._workloads = Workloads(store, self._writer, logs)
        self._graphs = Graphs(
            store,
            self._writer,
            self._workloads,
            mode,
            lambda stored: self._behaviour(stored, stored.key[1]),
            self._said_of,
        )
        self.endpoint: str | Callable[[str, str], str] = ""
        self.splits = True
        self._behaviours: dict[str, Behaviour] = {}
        self._services: dict[str, _Service] = {}
        self._version = -1
        self._due = math.inf

    def behave(self, key: str, behaviour: Behaviour, *, started: bool = True) -> None:
        """What becomes of the next rollouts, and of those that are not ready."""
        self._behaviours[key] = behaviour
        for stored in self._store.all(INFERENCE_SERVICE) if started else ():
            service = self._services.get(stored.content["metadata"]["uid"])
            for workload in service.workloads.values() if service else ():
                workload.behave(self._behaviour(stored, workload.name), self._store.now())
        self._graphs.behave()
        self._version = -1
        self.tick()

    def due_in(self) -> float | None:
        """Seconds until something changes by itself; None: nothing will."""
        return None if math.isinf(self._due) else max(0.0, self._due - self._store.now())

    def tick(self) -> None:
        """Do what is due."""
        now = self._store.now()
        if self._version == self._store.version and now < self._due:
            return
        stored_services = self._store.all(INFERENCE_SERVICE)
        alive = {stored.content["metadata"]["uid"] for stored in stored_services}
        self._services = {uid: one for uid, one in self._services.items() if uid in alive}
        due = math.inf
        for stored in stored_services:
            service = self._services.setdefault(stored.content["metadata"]["uid"], _Service())
            if self._behaviour(stored, "").outcome != "silent":
                # What it writes of a service, its finalizer and its status, is an event of it.
                seen: Stored | None = stored
                for _ in range(3):
                    if seen is None:
                        break
                    self._reconcile(seen, service, now)
                    before, seen = seen, self._store.get(INFERENCE_SERVICE, *stored.key)
                    if seen is before:
                        break
            due = min(due, service.due)
        due = min(due, self._graphs.tick(now))
        for stored in self._store.all(TRAINED_MODEL):
            self._trained_model(stored)
        self._version, self._due = self._store.version, due

    def _behaviour(self, stored: Stored, workload: str) -> Behaviour:
        namespace, name = stored.key
        keys = [f"{namespace}/{name}", "*"]
        middle = workload.removeprefix(f"{name}-").removesuffix("-predictor")
        if middle != workload and middle not in ("predictor", ""):
            keys.insert(0, f"{namespace}/{name}/{middle}")
        return next((self._behaviours[key] for key in keys if key in self._behaviours), Behaviour())

    def _reconcile(self, stored: Stored, service: _Service, now: float) -> None:
        content = stored.content
        metadata, before = content["metadata"], content.get("status", {})
        service.due = math.inf
        if "deletionTimestamp" in metadata and math.isinf(service.deleted):
            service.deleted = now + self._behaviour(stored, "").kept
        if self._finalized(stored, _FINALIZER, service.deleted, now):
            service.due = service.deleted
            return
        if self._looks_away(service, stored, now):
            return
        said = before.get("deploymentMode") or metadata.get("annotations", {}).get(MODE, "")
        mode: Mode = "Knative" if mode_named(said or self.mode) == "Knative" else "Standard"
        status: Json = clone(before)
        status["deploymentMode"] = mode
        if self._behaviour(stored, "").outcome == "refused":
            self._refuse(stored, service, status)
            return
        wanted = self._wanted(stored, mode)
        for name in [name for name in service.workloads if name not in wanted]:
            self._workloads.drop(service.workloads.pop(name), metadata["namespace"])
        for name, (component, spec) in wanted.items():
            workload = service.workloads.setdefault(name, Workload(name, component))
            self._roll(stored, workload, spec, mode, now)
        conditions = Conditions(before.get("conditions", ()), self._store.stamp())
        components: Json = {}
        for component in _COMPONENTS:
            name = self._name(stored, component)
            if name not in service.workloads:
                continue
            workload = service.workloads[name]
            was = before.get("components", {}).get(component, {})
            write = self._knative if mode == "Knative" else self._standard
            components[component] = write(stored, workload, was, conditions, now)
            kind = KNATIVE_SERVICE if mode == "Knative" else DEPLOYMENT
            made = self._store.get(kind, metadata["namespace"], name)
            if made is not None:
                # KServe copies the workload's, not that of its own object.
                status["observedGeneration"] = made.content["metadata"]["generation"]
        status["components"] = components
        if mode == "Standard":
            self._canaries(stored, service, status, conditions, now)
        self._aggregate(stored, status, conditions, mode)
        self._model(stored, service, status, conditions, mode, now)
        for workload in service.workloads.values():
            traffic = components.get(workload.component, {}).get("traffic", ())
            self._workloads.pods(metadata["namespace"], workload, traffic, mode, now)
            service.due = min(service.due, *workload.due(now), math.inf)
        status["conditions"] = conditions.listed()
        service.seen = str(metadata["generation"])
        self._writer.status(stored, status)

    def _finalized(self, stored: Stored, name: str, until: float, now: float) -> bool:
        """Whether an object is being deleted, or has just got KServe's finalizer: it is looked at
        again with it. From `until` on the finalizer lets it go."""
        metadata = stored.content["metadata"]
        finalizers = list(metadata.get("finalizers", ()))
        if "deletionTimestamp" in metadata:
            if name in finalizers and now >= until:
                self._writer.finalizers(stored, [one for one in finalizers if one != name])
            return True
        if name in finalizers:
            return False
        self._writer.finalizers(stored, [*finalizers, name])
        return True

    def _refuse(self, stored: Stored, service: _Service, status: Json) -> None:
        """What KServe leaves of a service whose workloads it cannot make."""
        metadata = stored.content["metadata"]
        conditions = Conditions(status.get("conditions", ()), self._store.stamp())
        for sort in ("PredictorReady", "IngressReady", "Ready"):
            if conditions.status_of(sort) == "Unknown":
                conditions.set(sort, "Unknown")
        if service.seen != str(metadata["generation"]):
            said = (
                "fails to reconcile predictor: fails to create "
                f"{metadata['name']}-predictor: exceeded quota: compute-resources"
            )
            self._writer.event(stored, "v1beta1Controllers", "InternalError", said)
        service.seen = str(metadata["generation"])
        self._writer.status(stored, {**status, "conditions": conditions.listed()})

    def _said_of(self, namespace: str, name: str) -> str:
        """Where an object is told to say that it answers; empty: where KServe makes it."""
        return self.endpoint(namespace, name) if callable(self.endpoint) else self.endpoint

    def _looks_away(self, service: _Service, stored: Stored, now: float) -> bool:
        """Whether a new generation has not been seen yet (kserve#1739)."""
        generation = stored.content["metadata"]["generation"]
        behaviour = self._behaviour(stored, "")
        if not service.seen or service.seen == str(generation) or not behaviour.stale_ready:
            return False
        if service.waits[0] != generation:
            service.waits = (generation, now + behaviour.after / 2)
        service.due = service.waits[1]
        return now < service.waits[1]

    def _name(self, stored: Stored, component: str) -> str:
        name = stored.content["metadata"]["name"]
        own = stored.content["spec"].get(component, {}).get("name", "")
        return f"{name}-{own}-{component}" if own else f"{name}-{component}"

    def _wanted(self, stored: Stored, mode: Mode) -> dict[str, tuple[str, Json]]:
        """The workloads that there should be: of which component, and with which spec."""
        spec, name = stored.content["spec"], stored.content["metadata"]["name"]
        found = {
            self._name(stored, component): (component, spec[component])
            for component in _COMPONENTS
            if component in spec
        }
        for canary in spec.get("canary", ()) if mode == "Standard" else ():
            side = merge_patch(spec["predictor"], canary["predictor"])
            side = {key: value for key, value in side.items() if key not in _SCALE}
            stable = spec["predictor"].get("minReplicas", 1)
            share = math.ceil(stable * canary["trafficPercent"] / 100)
            side["minReplicas"] = canary["predictor"].get("minReplicas", share)
            found[f"{name}-{canary['predictor']['name']}-predictor"] = ("predictor", side)
        return found

    def _roll(self, stored: Stored, workload: Workload, spec: Json, mode: Mode, now: float) -> None:
        """Make the pod template of a component, and roll it out."""
        metadata = stored.content["metadata"]
        beside = _BESIDE if mode == "Knative" else (*_BESIDE, *_SCALE)
        own = {key: value for key, value in spec.items() if key not in beside}
        annotations = {
            **metadata.get("annotations", {}),
            **spec.get("annotations", {}),
        }
        template = {
            "metadata": {
                "labels": {
                    **metadata.get("labels", {}),
                    **spec.get("labels", {}),
                    _LABEL: metadata["name"],
                    "component": workload.component,
                },
                "annotations": {k: v for k, v in annotations.items() if k not in _PRIVATE},
            },
            "spec": pod_spec(
                spec,
                self._runtime(stored, spec),
                name=metadata["name"],
                knative=mode == "Knative",
            ),
        }
        for extra in ("batcher", "logger"):
            if extra in spec:
                text = json.dumps(spec[extra], sort_keys=True)
                template["metadata"]["annotations"][f"internal.{SERVING}/{extra}"] = text
        if mode == "Knative":
            for key in _SCALE:
                if key in own:
                    text = json.dumps(own[key])
                    template["metadata"]["annotations"][f"autoscaling.knative.dev/{key}"] = text
        behaviour = Behaviour()
        if workload.component == "predictor":
            behaviour = self._behaviour(stored, workload.name)
        workload.roll(template, spec.get("minReplicas", 1), behaviour, mode, now)

    def _runtime(self, stored: Stored, component: Json) -> Json:
        """The spec of the ServingRuntime that a component names; empty: there is none."""
        named = component.get("model", {}).get("runtime", "")
        found = self._store.get(SERVING_RUNTIME, stored.key[0], named) or self._store.get(
            CLUSTER_SERVING_RUNTIME, "", named
        )
        return dict(found.content.get("spec", {})) if found else {}

    def _standard(
        self, stored: Stored, workload: Workload, was: Json, conditions: Conditions, now: float
    ) -> Json:
        """A component in Standard mode: a Deployment and its ReplicaSets."""
        available = self._workloads.deployment(stored, workload, now)
        serving, newest = workload.serving(now), workload.newest
        kind = f"{workload.component.capitalize()}Ready"
        found: Json = {key: value for key, value in was.items() if key == "url"}
        if serving is newest:
            said = f'ReplicaSet "{newest.name}" has successfully progressed.'
            conditions.set(kind, "True", "NewReplicaSetAvailable", said)
        elif available:
            said = "Deployment has minimum availability."
            conditions.set(kind, "True", "MinimumReplicasAvailable", said)
        elif serving is not None:
            said = f'ReplicaSet "{newest.name}" is progressing.'
            conditions.set(kind, "Unknown", "ReplicaSetUpdated", said)
        else:
            said = "Deployment does not have minimum availability."
            conditions.set(kind, "False", "MinimumReplicasUnavailable", said)
        if conditions.is_true(kind):
            name, namespace = workload.name, stored.key[0]
            found["url"] = f"http://{name}-{namespace}.{DOMAIN}"
        return found

    def _knative(
        self, stored: Stored, workload: Workload, was: Json, conditions: Conditions, now: float
    ) -> Json:
        """A component in Knative mode: a Knative Service and its Revisions."""
        namespace, component = stored.key[0], workload.component
        serving, newest = workload.serving(now), workload.newest
        host = f"{workload.name}.{namespace}.{DOMAIN}"
        percent = stored.content["spec"].get(component, {}).get("canaryTrafficPercent")
        found: Json = clone(was)
        found["latestCreatedRevision"] = newest.name
        if serving is not None:
            found["latestReadyRevision"] = serving.name
        tagged = stored.content["metadata"].get("annotations", {}).get(_TAGS) == "true"
        traffic = self._traffic(found, percent, serving, workload.name, namespace, tagged=tagged)
        if traffic:
            found["traffic"] = traffic
        self._rolled_out(found)
        own = self._workloads.knative(stored, workload, traffic, now)
        title = component.capitalize()
        names = {"RoutesReady": f"{title}RouteReady", "ConfigurationsReady": ""}
        for sort, status, reason, message in own.each():
            if sort == "Ready":
                conditions.set(f"{title}Ready", status, reason, message)
            else:
                kind = names[sort] or f"{title}ConfigurationReady"
                conditions.set(kind, status, reason, message, info=True)
        if own.is_true("Ready"):
            inside = f"http://{workload.name}.{namespace}.svc.cluster.local"
            found["url"], found["address"] = f"http://{host}", {"url": inside}
        return found

    def _traffic(
        self,
        component: Json,
        percent: int | None,
        serving: Rollout | None,
        name: str,
        namespace: str,
        *,
        tagged: bool,
    ) -> list[Json]:
        """How a Knative Service splits its requests."""
        if serving is None:
            return []
        latest: Json = {"latestRevision": True, "percent": 100, "revisionName": serving.name}
        if tagged:
            latest["tag"] = "latest"
        rolled_out = component.get("latestRolledoutRevision", "")
        if percent is None or not rolled_out:
            return [latest]
        latest["percent"] = percent
        if percent >= 100:
            return [latest]
        url = f"http://prev-{name}.{namespace}.{DOMAIN}"
        before: Json = {"latestRevision": False, "percent": 100 - percent, "tag": "prev"}
        return [latest, {**before, "revisionName": rolled_out, "url": url}]

    def _rolled_out(self, component: Json) -> None:
        """Remember the last revision that got every request, as KServe does."""
        ready = component.get("latestReadyRevision")
        traffic = component.get("traffic", [])
        for target in traffic:
            if target["revisionName"] != ready or not target["latestRevision"]:
                continue
            rolled_out = component.get("latestRolledoutRevision")
            if rolled_out != ready:
                if target["percent"] == 100:
                    if rolled_out:
                        component["previousRolledoutRevision"] = rolled_out
                    component["latestRolledoutRevision"] = ready
            elif ready == component["latestCreatedRevision"] and target["percent"] < 100:
                whole = sum(t["percent"] for t in traffic if t["revisionName"] == ready)
                if whole == 100 and component.get("previousRolledoutRevision"):
                    component["latestRolledoutRevision"] = component["previousRolledoutRevision"]

    def _canaries(
        self, stored: Stored, service: _Service, status: Json, conditions: Conditions, now: float
    ) -> None:
        """The canaries of Standard mode."""
        canaries = stored.content["spec"].get("canary", ())
        found = []
        for canary in canaries:
            side = canary["predictor"]["name"]
            workload = service.workloads[f"{stored.key[1]}-{side}-predictor"]
            self._workloads.deployment(stored, workload, now)
            found.append(
                {
                    "name": side,
                    "ready": workload.serving(now) is not None,
                    "trafficPercent": canary["trafficPercent"],
                    # KServe does not fill it in.
                    "modelStatus": {"transitionStatus": ""},
                }
            )
        if not found:
            status.pop("canaryStatuses", None)
            conditions.clear("CanaryPredictorReady")
            return
        status["canaryStatuses"] = found
        ready = all(one["ready"] for one in found)
        reason = "AllCanariesReady" if ready else "CanariesNotReady"
        conditions.set("CanaryPredictorReady", str(ready), reason, info=True)

    def _aggregate(self, stored: Stored, status: Json, conditions: Conditions, mode: Mode) -> None:
        """IngressReady, Ready, and what follows from them."""
        namespace, name = stored.key
        titles = [component.capitalize() for component in status["components"]]
        missing = [title for title in titles if not conditions.is_true(f"{title}Ready")]
        if missing:
            unknown = conditions.status_of(f"{missing[0]}Ready") == "Unknown"
            said = "Unknown" if unknown and mode == "Knative" else "False"
            conditions.set("IngressReady", said, f"{missing[0]} ingress not created")
        else:
            conditions.set("IngressReady", "True")
        if mode == "Knative":
            for sort, suffix in (
                ("RoutesReady", "RouteReady"),
                ("LatestDeploymentReady", "ConfigurationReady"),
            ):
                bad = [t for t in titles if not conditions.is_true(f"{t}{suffix}")]
                state = conditions.status_of(f"{bad[-1]}{suffix}") if bad else "True"
                reason = f"{bad[-1]}{suffix} not ready" if bad else ""
                conditions.set(sort, state, reason, info=True)
        conditions.sum_up("Ready", ("PredictorReady", "IngressReady"))
        conditions.set("Stopped", "False", info=True)
        if not missing:
            if mode == "Standard":
                self._route(stored, status)
            outside = f"{name}.{namespace}" if mode == "Knative" else f"{name}-{namespace}"
            status["url"] = f"http://{outside}.{DOMAIN}"
            inside = (
                name
                if mode == "Knative"
                else self._name(
                    stored, "transformer" if "transformer" in status["components"] else "predictor"
                )
            )
            status["address"] = {"url": f"http://{inside}.{namespace}.svc.cluster.local"}
            if own := self._said_of(namespace, name):
                status["url"], status["address"] = own, {"url": own}

    def _route(self, stored: Stored, status: Json) -> None:
        """The route of the Gateway API to every side that is ready, by its share."""
        (namespace, name), spec = stored.key, stored.content["spec"]
        ready = {one["name"] for one in status.get("canaryStatuses", ()) if one["ready"]}
        shares = {
            f"{name}-{canary['predictor']['name']}-predictor": canary["trafficPercent"]
            for canary in spec.get("canary", ())
            if canary["predictor"]["name"] in ready and self.splits
        }
        front = "transformer" if "transformer" in spec else "predictor"
        backends = {self._name(stored, front): 100 - sum(shares.values()), **shares}
        refs = [
            {"kind": "Service", "name": to, "namespace": namespace, "port": 80, "weight": weight}
            for to, weight in backends.items()
        ]
        path = {"type": "RegularExpression", "value": "^/.*$"}
        content = self._writer.object(HTTP_ROUTE, namespace, name, stored, {})
        content["spec"] = {
            "parentRefs": [{"kind": "Gateway", "namespace": "kserve", "name": "ingress"}],
            "hostnames": [f"{name}-{namespace}.{DOMAIN}"],
            "rules": [{"matches": [{"path": path}], "backendRefs": refs}],
        }
        self._writer.put(HTTP_ROUTE, content)

    def _model(
        self,
        stored: Stored,
        service: _Service,
        status: Json,
        conditions: Conditions,
        mode: Mode,
        now: float,
    ) -> None:
        """The state of the model, as KServe reads it from the pods of the predictor."""
        workload = service.workloads[self._name(stored, "predictor")]
        newest, phase = workload.newest, workload.newest.phase(now)
        outcome = newest.behaviour.outcome
        model: Json = status.setdefault("modelStatus", {"transitionStatus": ""})
        states: Json = model.get("states") or {"activeModelState": ""}
        serving = workload.serving(now)
        model["copies"] = {"failedCopies": 0, "totalCopies": len(serving.pods) if serving else 0}
        component = status["components"]["predictor"]
        latest = component.get("latestCreatedRevision") == component.get("latestReadyRevision")
        spec = newest.template["spec"]
        broken = phase == "failed" and outcome in ("storage_failed", "crash_loop", "oom")
        # KServe looks at the first pod only; where an older one is ready, that may be it.
        if broken and (mode == "Knative" or serving is None):
            target, transition = "FailedToLoad", "BlockedByFailedLoad"
            message = "" if outcome == "oom" else failure_message(spec, outcome)
            model["lastFailureInfo"] = {
                "reason": "ModelLoadFailed",
                **({"message": message} if message else {}),
                "exitCode": 137 if outcome == "oom" else 1,
            }
        elif conditions.is_true("Ready") and (mode == "Standard" or latest):
            target, transition = "Loaded", "UpToDate"
            states["activeModelState"] = "Loaded"
        elif phase == "starting" and outcome != "never_ready" and "initContainers" in spec:
            target, transition = "Loading", "InProgress"
        elif phase == "failed" and outcome == "unschedulable":
            return
        else:
            target, transition = "Pending", "InProgress"
        model["states"] = {**states, "targetModelState": target}
        model["transitionStatus"] = transition

    def _trained_model(self, stored: Stored) -> None:
        """Whether the server that a model belongs to is there, and takes models."""
        if self._finalized(stored, _MODEL_FINALIZER, 0.0, 0.0):
            written = self._store.get(TRAINED_MODEL, *stored.key)
            if written is None or "deletionTimestamp" in written.content["metadata"]:
                return
            stored = written
        namespace, spec = stored.key[0], stored.content["spec"]
        parent = self._store.get(INFERENCE_SERVICE, namespace, spec["inferenceService"])
        content = parent.content if parent is not None else {}
        model = content.get("spec", {}).get("predictor", {}).get("model", {})
        states = {
            one["type"]: one["status"] for one in content.get("status", {}).get("conditions", ())
        }
        before = stored.content.get("status", {})
        conditions = Conditions(before.get("conditions", ()), self._store.stamp())
        ready = states.get("Ready") == "True"
        shared = parent is not None and "storageUri" not in model
        conditions.set(
            "InferenceServiceReady", str(ready), "" if ready else "InferenceServiceNotReady"
        )
        conditions.set("IsMMSPredictor", str(shared), "" if shared else "IsNotMMSPredictor")
        conditions.set("MemoryResourceAvailable", "True")
        conditions.sum_up("Ready", ("InferenceServiceReady", "IsMMSPredictor"))
        self._writer.status(stored, {**before, "conditions": conditions.listed()})
