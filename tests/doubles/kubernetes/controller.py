"""The controller that plays KServe: from InferenceServices to workloads, pods and a status."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kfp_suite.testing.kubernetes.apply import Manager, written_object
from kfp_suite.testing.kubernetes.conditions import Conditions
from kfp_suite.testing.kubernetes.kinds import (
    CLUSTER_SERVING_RUNTIME,
    DEPLOYMENT,
    EVENT,
    HTTP_ROUTE,
    INFERENCE_GRAPH,
    INFERENCE_SERVICE,
    KNATIVE_SERVICE,
    POD,
    REPLICA_SET,
    REVISION,
    SERVING,
    SERVING_RUNTIME,
    TRAINED_MODEL,
    Json,
    Kind,
    clone,
)
from kfp_suite.testing.kubernetes.objects import Store, Stored, random_name
from kfp_suite.testing.kubernetes.patches import merge_patch
from kfp_suite.testing.kubernetes.schemas import Schemas
from kfp_suite.testing.kubernetes.webhook import MODE, mode_named
from kfp_suite.testing.kubernetes.workloads import (
    INITIALIZER,
    Behaviour,
    Phase,
    failing_container,
    failure_message,
    log_of,
    pod_spec,
    pod_status,
    template_hash,
    warnings,
)

Mode = Literal["Knative", "Standard"]
Logs = MutableMapping[tuple[str, str, str], str]

_LABEL = f"{SERVING}/inferenceservice"
_MANAGER = "manager"
_DOMAIN = "example.com"
_COMPONENTS = ("predictor", "transformer", "explainer")
# What of a component does not reach its pods.
_BESIDE = ("canaryTrafficPercent", "name", "annotations", "labels", "batcher", "logger")
_SCALE = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")
_PRIVATE = ("kubectl.kubernetes.io/last-applied-configuration",)


@dataclass
class _Rollout:
    """A revision of a workload: a pod template, and what becomes of it."""

    name: str
    template: Json
    behaviour: Behaviour
    started: float
    pods: list[str]
    settled: bool = False
    shown: dict[str, str] = field(default_factory=dict)

    def phase(self, now: float) -> Phase:
        """How far it is; what was ready stays it."""
        if self.settled:
            return "ready"
        if now < self.started + self.behaviour.after:
            return "starting"
        if self.behaviour.outcome == "ready":
            self.settled = True
            return "ready"
        return "starting" if self.behaviour.outcome == "never_ready" else "failed"


@dataclass
class _Workload:
    """A Deployment or Knative Service, and its rollouts, the newest last."""

    name: str
    component: str
    rollouts: list[_Rollout] = field(default_factory=list)
    replicas: int = 1

    @property
    def newest(self) -> _Rollout:
        return self.rollouts[-1]

    def serving(self, now: float) -> _Rollout | None:
        """The newest rollout that is ready."""
        ready = [one for one in self.rollouts if one.phase(now) == "ready"]
        return ready[-1] if ready else None


@dataclass
class _Service:
    """What the controller remembers of an InferenceService."""

    workloads: dict[str, _Workload] = field(default_factory=dict)
    seen: str = ""
    due: float = math.inf
    waits: tuple[int, float] = (0, 0.0)


class Controller:
    """KServe's controller and those below it. Hold the store's lock while calling it.

    Args:
        store: What it reads and writes.
        schemas: Of the objects.
        logs: What containers wrote, to be filled in.
        mode: Of services that do not say theirs.
    """

    def __init__(self, store: Store, schemas: Schemas, logs: Logs, mode: Mode) -> None:
        self._store, self._schemas, self._logs, self.mode = store, schemas, logs, mode
        self.endpoint: str | Callable[[str, str], str] = ""
        self._behaviours: dict[str, Behaviour] = {}
        self._services: dict[str, _Service] = {}
        self._version = -1
        self._due = math.inf

    def behave(self, key: str, behaviour: Behaviour) -> None:
        """What becomes of the next rollouts, and of those that are not ready."""
        self._behaviours[key] = behaviour
        for stored in self._store.all(INFERENCE_SERVICE):
            service = self._services.get(stored.content["metadata"]["uid"])
            for workload in service.workloads.values() if service else ():
                for rollout in workload.rollouts[-1:]:
                    wanted = self._behaviour(stored, workload.name)
                    if not rollout.settled and wanted is not rollout.behaviour:
                        rollout.behaviour, rollout.started = wanted, self._store.now()
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
                self._reconcile(stored, service, now)
                written = self._store.get(INFERENCE_SERVICE, *stored.key)
                if written is not None and written is not stored:
                    # What it writes of a service is an event of that service.
                    self._reconcile(written, service, now)
            due = min(due, service.due)
        for stored in self._store.all(INFERENCE_GRAPH):
            self._graph(stored)
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
        if self._looks_away(service, stored, now):
            return
        said = before.get("deploymentMode") or metadata.get("annotations", {}).get(MODE, "")
        mode: Mode = "Knative" if mode_named(said or self.mode) == "Knative" else "Standard"
        status: Json = clone(before)
        status["deploymentMode"] = mode
        wanted = self._wanted(stored, mode)
        for name in [name for name in service.workloads if name not in wanted]:
            self._drop_workload(service.workloads.pop(name), metadata["namespace"])
        for name, (component, spec) in wanted.items():
            workload = service.workloads.setdefault(name, _Workload(name, component))
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
            self._pods(stored, workload, status, mode, now)
            for rollout in workload.rollouts:
                moment = rollout.started + rollout.behaviour.after
                if moment > now:
                    service.due = min(service.due, moment)
        status["conditions"] = conditions.listed()
        service.seen = str(metadata["generation"])
        self._write_status(stored, status)

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

    def _roll(
        self, stored: Stored, workload: _Workload, spec: Json, mode: Mode, now: float
    ) -> None:
        """Start a rollout where the pod template has changed."""
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
            "spec": pod_spec(spec, self._runtime(stored, spec), knative=mode == "Knative"),
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
        workload.replicas = max(1, spec.get("minReplicas", 1))
        if workload.rollouts and workload.newest.template == template:
            self._resize(workload)
            return
        hashed = template_hash(template)
        number = len(workload.rollouts) + 1
        name = f"{workload.name}-{number:05d}" if mode == "Knative" else f"{workload.name}-{hashed}"
        behaviour = self._behaviour(stored, workload.name)
        if workload.component != "predictor":
            behaviour = Behaviour()
        serving = workload.serving(now)
        # A Deployment that goes back to a template takes up its ReplicaSet again.
        workload.rollouts = [one for one in workload.rollouts if one.name != name]
        if serving is None or serving.name != name:
            serving = _Rollout(name, template, behaviour, now, [])
        workload.rollouts.append(serving)
        self._resize(workload)

    def _runtime(self, stored: Stored, component: Json) -> Json:
        """The container of the ServingRuntime that a component names, empty where there is none."""
        named = component.get("model", {}).get("runtime", "")
        found = self._store.get(SERVING_RUNTIME, stored.key[0], named) or self._store.get(
            CLUSTER_SERVING_RUNTIME, "", named
        )
        containers = found.content.get("spec", {}).get("containers", ()) if found else ()
        return dict(containers[0]) if containers else {}

    def _resize(self, workload: _Workload) -> None:
        rollout = workload.newest
        middle = "-deployment" if rollout.name[-6:-5] == "-" and rollout.name[-5:].isdigit() else ""
        while len(rollout.pods) < workload.replicas:
            hashed = f"-{template_hash(rollout.template)}" if middle else ""
            rollout.pods.append(f"{rollout.name}{middle}{hashed}-{random_name()}")
        del rollout.pods[workload.replicas :]

    def _standard(
        self, stored: Stored, workload: _Workload, was: Json, conditions: Conditions, now: float
    ) -> Json:
        """A component in Standard mode: a Deployment and its ReplicaSets."""
        available = self._deployment(stored, workload, now)
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
            found["url"] = f"http://{name}-{namespace}.{_DOMAIN}"
        return found

    def _deployment(self, stored: Stored, workload: _Workload, now: float) -> bool:
        """Write the Deployment and ReplicaSets; whether it counts as available."""
        namespace = stored.key[0]
        serving, newest = workload.serving(now), workload.newest
        labels = {"app": f"isvc.{workload.name}"}
        template = merge_patch(newest.template, {"metadata": {"labels": labels}})
        spec = {"replicas": workload.replicas, "selector": {"matchLabels": labels}}
        desired_labels = newest.template["metadata"]["labels"]
        stale = newest.behaviour.stale_ready is not False
        available = serving is newest or (serving is not None and stale)
        count = workload.replicas
        ready = serving is newest
        content = self._object(DEPLOYMENT, namespace, workload.name, stored, desired_labels)
        content["spec"] = {**spec, "template": template}
        generation = self._put(DEPLOYMENT, content)
        conditions = Conditions((), self._store.stamp())
        conditions.set(
            "Available",
            str(available),
            "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable",
            f"Deployment {'has' if available else 'does not have'} minimum availability.",
        )
        conditions.set(
            "Progressing",
            "True",
            "NewReplicaSetAvailable" if ready else "ReplicaSetUpdated",
            f'ReplicaSet "{newest.name}" '
            f"{'has successfully progressed' if ready else 'is progressing'}.",
        )
        content["status"] = {
            "observedGeneration": generation,
            "replicas": count if ready or serving is None else count + 1,
            "updatedReplicas": count,
            **({"readyReplicas": count, "availableReplicas": count} if serving else {}),
            **({} if ready else {"unavailableReplicas": count}),
            "conditions": conditions.listed(),
        }
        self._put(DEPLOYMENT, content)
        made = self._store.get(DEPLOYMENT, namespace, workload.name)
        for rollout in workload.rollouts if made is not None else ():
            kept = rollout is newest or rollout is serving
            replicas = count if kept else 0
            one = self._object(REPLICA_SET, namespace, rollout.name, made, desired_labels)
            one["spec"] = {**spec, "replicas": replicas, "template": rollout.template}
            one["status"] = {
                "replicas": replicas,
                "readyReplicas": replicas if rollout is serving else 0,
            }
            self._put(REPLICA_SET, one)
        return available

    def _knative(
        self, stored: Stored, workload: _Workload, was: Json, conditions: Conditions, now: float
    ) -> Json:
        """A component in Knative mode: a Knative Service and its Revisions."""
        namespace, component = stored.key[0], workload.component
        serving, newest = workload.serving(now), workload.newest
        host = f"{workload.name}.{namespace}.{_DOMAIN}"
        percent = stored.content["spec"].get(component, {}).get("canaryTrafficPercent")
        found: Json = clone(was)
        found["latestCreatedRevision"] = newest.name
        if serving is not None:
            found["latestReadyRevision"] = serving.name
        traffic = self._traffic(found, percent, serving, workload.name, namespace)
        if traffic:
            found["traffic"] = traffic
        self._rolled_out(found)
        content = self._object(
            KNATIVE_SERVICE, namespace, workload.name, stored, newest.template["metadata"]["labels"]
        )
        targets = [
            {key: value for key, value in one.items() if key != "url"} for one in traffic
        ] or [{"latestRevision": True, "percent": 100}]
        for one in targets:
            if one["latestRevision"]:
                one.pop("revisionName", None)
        content["spec"] = {"template": newest.template, "traffic": targets}
        generation = self._put(KNATIVE_SERVICE, content)
        own = Conditions((), self._store.stamp())
        self._knative_conditions(workload, own, now)
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
        content["status"] = {
            "observedGeneration": generation,
            "latestCreatedRevisionName": newest.name,
            **({"latestReadyRevisionName": serving.name} if serving else {}),
            "traffic": traffic,
            "url": f"http://{host}",
            "conditions": own.listed(),
        }
        self._put(KNATIVE_SERVICE, content)
        made = self._store.get(KNATIVE_SERVICE, namespace, workload.name)
        for rollout in workload.rollouts if made is not None else ():
            one = self._object(
                REVISION, namespace, rollout.name, made, rollout.template["metadata"]["labels"]
            )
            one["metadata"]["annotations"] = dict(rollout.template["metadata"]["annotations"])
            one["spec"] = rollout.template["spec"]
            state = Conditions((), self._store.stamp())
            phase = rollout.phase(now)
            ready = {"ready": "True", "starting": "Unknown", "failed": "False"}[phase]
            reason = "" if ready == "True" else "Deploying"
            state.set("Ready", ready, reason if phase != "failed" else "ContainerMissing")
            one["status"] = {"observedGeneration": 1, "conditions": state.listed()}
            self._put(REVISION, one)
        return found

    def _knative_conditions(self, workload: _Workload, own: Conditions, now: float) -> None:
        """The conditions of a Knative Service."""
        serving, newest = workload.serving(now), workload.newest
        waits = f'Configuration "{workload.name}" is waiting for a Revision to become ready.'
        phase = newest.phase(now)
        if phase == "ready":
            for sort in ("ConfigurationsReady", "RoutesReady", "Ready"):
                own.set(sort, "True")
            return
        if phase == "failed" and newest.behaviour.outcome != "storage_failed":
            told = failure_message(newest.template["spec"], newest.behaviour.outcome)
            said = f'Revision "{newest.name}" failed with message: {told}.'
            configured = ("False", "RevisionFailed", said)
        elif serving is None:
            configured = ("Unknown", "RevisionMissing", waits)
        else:
            configured = ("Unknown", "", "")
        own.set("ConfigurationsReady", *configured)
        if serving is not None:
            own.set("RoutesReady", "True")
        elif configured[0] == "False":
            said = f'Configuration "{workload.name}" does not have any ready Revision.'
            own.set("RoutesReady", "False", "RevisionMissing", said)
        else:
            own.set("RoutesReady", "Unknown", "RevisionMissing", waits)
        if serving is not None and newest.behaviour.stale_ready:
            own.set("Ready", "True")
        else:
            own.set("Ready", *configured)

    def _traffic(
        self,
        component: Json,
        percent: int | None,
        serving: _Rollout | None,
        name: str,
        namespace: str,
    ) -> list[Json]:
        """How a Knative Service splits its requests."""
        if serving is None:
            return []
        latest: Json = {"latestRevision": True, "percent": 100, "revisionName": serving.name}
        rolled_out = component.get("latestRolledoutRevision", "")
        if percent is None or not rolled_out:
            return [latest]
        latest["percent"] = percent
        if percent >= 100:
            return [latest]
        url = f"http://prev-{name}.{namespace}.{_DOMAIN}"
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
            self._deployment(stored, workload, now)
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
            status["url"] = f"http://{outside}.{_DOMAIN}"
            inside = (
                name
                if mode == "Knative"
                else self._name(
                    stored, "transformer" if "transformer" in status["components"] else "predictor"
                )
            )
            status["address"] = {"url": f"http://{inside}.{namespace}.svc.cluster.local"}
            own = self.endpoint(namespace, name) if callable(self.endpoint) else self.endpoint
            if own:
                status["url"], status["address"] = own, {"url": own}

    def _route(self, stored: Stored, status: Json) -> None:
        """The route of the Gateway API to every side that is ready, by its share."""
        (namespace, name), spec = stored.key, stored.content["spec"]
        ready = {one["name"] for one in status.get("canaryStatuses", ()) if one["ready"]}
        shares = {
            f"{name}-{canary['predictor']['name']}-predictor": canary["trafficPercent"]
            for canary in spec.get("canary", ())
            if canary["predictor"]["name"] in ready
        }
        front = "transformer" if "transformer" in spec else "predictor"
        backends = {self._name(stored, front): 100 - sum(shares.values()), **shares}
        refs = [
            {"kind": "Service", "name": to, "namespace": namespace, "port": 80, "weight": weight}
            for to, weight in backends.items()
        ]
        path = {"type": "RegularExpression", "value": "^/.*$"}
        content = self._object(HTTP_ROUTE, namespace, name, stored, {})
        content["spec"] = {
            "parentRefs": [{"kind": "Gateway", "namespace": "kserve", "name": "ingress"}],
            "hostnames": [f"{name}-{namespace}.{_DOMAIN}"],
            "rules": [{"matches": [{"path": path}], "backendRefs": refs}],
        }
        self._put(HTTP_ROUTE, content)

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

    def _pods(
        self, stored: Stored, workload: _Workload, status: Json, mode: Mode, now: float
    ) -> None:
        """The pods of a workload, those of revisions that get requests among them."""
        namespace, service = stored.key
        serving, newest = workload.serving(now), workload.newest
        kept = {newest.name} | ({serving.name} if serving else set())
        traffic = status["components"].get(workload.component, {}).get("traffic", ())
        kept |= {target["revisionName"] for target in traffic if target["percent"]}
        if mode == "Knative":
            kept |= {target["revisionName"] for target in traffic}
        owner_kind = REVISION if mode == "Knative" else REPLICA_SET
        wanted = set()
        for rollout in workload.rollouts:
            if rollout.name not in kept:
                continue
            owner = self._store.get(owner_kind, namespace, rollout.name)
            for name in rollout.pods:
                wanted.add(name)
                self._pod(name, rollout, workload, owner, mode, now)
        for pod in self._store.all(POD, namespace):
            held = pod.content["metadata"].get("labels", {})
            name = pod.content["metadata"]["name"]
            mine = held.get(_LABEL) == service and self._workload_of(held) == workload.name
            if mine and name not in wanted:
                self._store.drop(pod)

    def _app(self, workload: _Workload, rollout: _Rollout, mode: Mode) -> str:
        return rollout.name if mode == "Knative" else f"isvc.{workload.name}"

    def _workload_of(self, labels: Json) -> str:
        knative = labels.get("serving.knative.dev/service", "")
        return str(knative or labels.get("app", "").removeprefix("isvc."))

    def _pod(
        self,
        name: str,
        rollout: _Rollout,
        workload: _Workload,
        owner: Stored | None,
        mode: Mode,
        now: float,
    ) -> None:
        if owner is None:
            return
        namespace = owner.key[0]
        metadata = rollout.template["metadata"]
        labels = {**metadata["labels"], "app": self._app(workload, rollout, mode)}
        if mode == "Knative":
            labels |= {
                "serving.knative.dev/configuration": workload.name,
                "serving.knative.dev/revision": rollout.name,
                "serving.knative.dev/service": workload.name,
            }
        labels["pod-template-hash"] = template_hash(rollout.template)
        content = self._object(POD, namespace, name, owner, labels)
        content["metadata"]["annotations"] = metadata["annotations"]
        content["spec"] = clone(rollout.template["spec"])
        phase, outcome = rollout.phase(now), rollout.behaviour.outcome
        moment = self._store.stamp()
        state = f"{phase}/{outcome}"
        if rollout.shown.get(name) == state and self._store.get(POD, namespace, name) is not None:
            return
        rollout.shown[name] = state
        content["status"] = pod_status(content["spec"], outcome, phase, moment)
        self._put(POD, content)
        if phase == "failed" or (outcome == "never_ready" and phase == "starting"):
            for source, reason, message in warnings(content["spec"], outcome, name):
                self._event(name, namespace, source, reason, message)
        if phase == "failed":
            container = failing_container(content["spec"], outcome)
            if outcome in ("crash_loop", "oom", "storage_failed"):
                text = log_of(content["spec"], outcome)
                self._logs.setdefault((namespace, name, container), text)
        elif phase == "ready":
            server = content["spec"]["containers"][0]["name"]
            self._logs.setdefault((namespace, name, server), log_of(content["spec"], "ready"))
            if "initContainers" in content["spec"]:
                self._logs.setdefault((namespace, name, INITIALIZER), "Successfully copied\n")

    def _event(self, pod: str, namespace: str, source: str, reason: str, message: str) -> None:
        found = self._store.get(POD, namespace, pod)
        moment = self._store.stamp()
        metadata = found.content["metadata"] if found is not None else {}
        content = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{pod}.{time.time_ns():016x}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": pod,
                "namespace": namespace,
                "uid": metadata.get("uid", ""),
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": source},
            "reportingComponent": source,
            "reportingInstance": "",
            "count": 1,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
        }
        self._put(EVENT, content)

    def _graph(self, stored: Stored) -> None:
        namespace, name = stored.key
        if self._behaviour(stored, "").outcome == "silent":
            return
        before = stored.content.get("status", {})
        conditions = Conditions(before.get("conditions", ()), self._store.stamp())
        missing = [one for one in self._asked(stored) if not self._serves(namespace, one)]
        said = f"InferenceService {missing[0]} is not ready" if missing else ""
        conditions.set(
            "Ready", str(not missing), "InferenceServiceNotReady" if missing else "", said
        )
        own = self.endpoint(namespace, name) if callable(self.endpoint) else self.endpoint
        status = {
            "observedGeneration": stored.content["metadata"]["generation"],
            "conditions": conditions.listed(),
            "deploymentMode": self.mode,
        }
        if not missing:
            status["url"] = own or f"http://{name}.{namespace}.{_DOMAIN}"
        self._write_status(stored, status)

    def _asked(self, graph: Stored) -> list[str]:
        """The InferenceServices that a graph asks."""
        nodes = graph.content["spec"].get("nodes", {}).values()
        steps = [step for node in nodes for step in node.get("steps", ())]
        return [step["serviceName"] for step in steps if step.get("serviceName")]

    def _serves(self, namespace: str, name: str) -> bool:
        found = self._store.get(INFERENCE_SERVICE, namespace, name)
        conditions = found.content.get("status", {}).get("conditions", ()) if found else ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _trained_model(self, stored: Stored) -> None:
        """Whether the server that a model belongs to is there, and takes models."""
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
        self._write_status(stored, {**before, "conditions": conditions.listed()})

    def _drop_workload(self, workload: _Workload, namespace: str) -> None:
        for kind in (DEPLOYMENT, KNATIVE_SERVICE):
            found = self._store.get(kind, namespace, workload.name)
            if found is not None:
                self._store.drop(found)

    def _object(
        self, kind: Kind, namespace: str, name: str, owner: Stored | None, labels: Json
    ) -> Json:
        """A new object that belongs to another."""
        metadata: Json = {"name": name, "namespace": namespace, "labels": dict(labels)}
        if owner is not None:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": owner.kind.api_version,
                    "kind": owner.kind.kind,
                    "name": owner.key[1],
                    "uid": owner.content["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ]
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}

    def _put(self, kind: Kind, content: Json) -> int:
        """Store an object if it differs from what is there; its generation."""
        metadata = content["metadata"]
        before = self._store.get(kind, metadata["namespace"], metadata["name"])
        found = Stored(kind, clone(content))
        if before is not None:
            kept = {
                key: before.content["metadata"][key]
                for key in ("uid", "creationTimestamp", "resourceVersion", "generation")
                if key in before.content["metadata"]
            }
            found.content["metadata"].update(kept)
            if "status" not in content and "status" in before.content:
                found.content["status"] = before.content["status"]
            if _but_times(found.content) == _but_times(before.content):
                return int(kept.get("generation", 1))
        self._store.put(found)
        return int(found.content["metadata"].get("generation", 1))

    def _write_status(self, stored: Stored, status: Json) -> None:
        if status == stored.content.get("status"):
            return
        content = {**clone(stored.content), "status": status}
        manager = Manager(_MANAGER, "Update", "status", stored.kind.api_version)
        owners = written_object(
            stored.content,
            content,
            stored.owners,
            manager,
            schema=self._schemas.of(stored.kind),
            now=self._store.stamp(),
        )
        self._store.put(Stored(stored.kind, content, owners))


def _but_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _but_times(v) for k, v in value.items() if k != "lastTransitionTime"}
    return [_but_times(one) for one in value] if isinstance(value, list) else value
