"""The controllers below KServe's: Deployments, Knative Services, and their pods."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from kfp_suite.testing.kubernetes.conditions import Conditions
from kfp_suite.testing.kubernetes.kinds import (
    DEPLOYMENT,
    KNATIVE_SERVICE,
    POD,
    REPLICA_SET,
    REVISION,
    Json,
    clone,
)
from kfp_suite.testing.kubernetes.objects import Store, Stored, random_name
from kfp_suite.testing.kubernetes.patches import merge_patch
from kfp_suite.testing.kubernetes.rollouts import Mode, Rollout, Workload
from kfp_suite.testing.kubernetes.workloads import (
    exceeded,
    failure_message,
    logs_of,
    pod_status,
    template_hash,
    warnings,
)
from kfp_suite.testing.kubernetes.writing import Writer

DOMAIN = "example.com"
Logs = MutableMapping[tuple[str, str, str], str]


class Workloads:
    """Writes what workloads have come to.

    Args:
        store: What it reads.
        writer: What it writes with.
        logs: What containers wrote, to be filled in.
    """

    def __init__(self, store: Store, writer: Writer, logs: Logs) -> None:
        self._store, self._writer, self._logs = store, writer, logs
        self._written: dict[tuple[str, str, str], str] = {}

    def deployment(self, owner: Stored, workload: Workload, now: float) -> bool:
        """Write the Deployment and ReplicaSets; whether it counts as available."""
        namespace = owner.key[0]
        serving, newest = workload.serving(now), workload.newest
        labels = {"app": f"isvc.{workload.name}"}
        template = merge_patch(newest.template, {"metadata": {"labels": labels}})
        spec = {"replicas": workload.replicas, "selector": {"matchLabels": labels}}
        desired_labels = newest.template["metadata"]["labels"]
        stale = newest.behaviour.stale_ready is not False
        available = serving is newest or (serving is not None and stale)
        count = workload.replicas
        ready = serving is newest
        content = self._writer.object(DEPLOYMENT, namespace, workload.name, owner, desired_labels)
        content["spec"] = {**spec, "template": template}
        generation = self._writer.put(DEPLOYMENT, content)
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
        if forbidden := _forbidden(newest, now):
            conditions.set(
                "ReplicaFailure", "True", "FailedCreate", exceeded(f"{newest.name}-{random_name()}")
            )
        content["status"] = {
            "observedGeneration": generation,
            "replicas": count if ready or serving is None else count + 1,
            "updatedReplicas": 0 if forbidden else count,
            **({"readyReplicas": count, "availableReplicas": count} if serving else {}),
            **({} if ready else {"unavailableReplicas": count}),
            "conditions": conditions.listed(),
        }
        self._writer.put(DEPLOYMENT, content)
        made = self._store.get(DEPLOYMENT, namespace, workload.name)
        for rollout in workload.rollouts if made is not None else ():
            kept = rollout is newest or rollout is serving
            replicas = count if kept else 0
            one = self._writer.object(REPLICA_SET, namespace, rollout.name, made, desired_labels)
            one["spec"] = {**spec, "replicas": replicas, "template": rollout.template}
            one["status"] = {
                "replicas": replicas,
                "readyReplicas": replicas if rollout is serving else 0,
            }
            self._writer.put(REPLICA_SET, one)
        return available

    def knative(
        self, owner: Stored, workload: Workload, traffic: Sequence[Json], now: float
    ) -> Conditions:
        """Write the Knative Service and its Revisions; the conditions of the former."""
        namespace = owner.key[0]
        serving, newest = workload.serving(now), workload.newest
        content = self._writer.object(
            KNATIVE_SERVICE, namespace, workload.name, owner, newest.template["metadata"]["labels"]
        )
        targets = [
            {key: value for key, value in one.items() if key != "url"} for one in traffic
        ] or [{"latestRevision": True, "percent": 100}]
        for one in targets:
            if one["latestRevision"]:
                one.pop("revisionName", None)
        content["spec"] = {"template": newest.template, "traffic": targets}
        generation = self._writer.put(KNATIVE_SERVICE, content)
        own = Conditions((), self._store.stamp())
        self._knative_conditions(workload, own, now)
        content["status"] = {
            "observedGeneration": generation,
            "latestCreatedRevisionName": newest.name,
            **({"latestReadyRevisionName": serving.name} if serving else {}),
            "traffic": list(traffic),
            "url": f"http://{workload.name}.{namespace}.{DOMAIN}",
            "conditions": own.listed(),
        }
        self._writer.put(KNATIVE_SERVICE, content)
        made = self._store.get(KNATIVE_SERVICE, namespace, workload.name)
        for rollout in workload.rollouts if made is not None else ():
            one = self._writer.object(
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
            self._writer.put(REVISION, one)
        return own

    def _knative_conditions(self, workload: Workload, own: Conditions, now: float) -> None:
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

    def pods(
        self, namespace: str, workload: Workload, traffic: Sequence[Json], mode: Mode, now: float
    ) -> None:
        """Write the pods of a workload, those of revisions that get requests among them."""
        serving, newest = workload.serving(now), workload.newest
        kept = {newest.name} | ({serving.name} if serving else set())
        kept |= {target["revisionName"] for target in traffic}
        owner_kind = REVISION if mode == "Knative" else REPLICA_SET
        wanted = set()
        for rollout in workload.rollouts:
            if rollout.name not in kept:
                continue
            owner = self._store.get(owner_kind, namespace, rollout.name)
            for name in () if _forbidden(rollout, now) else rollout.pods:
                wanted.add(name)
                ends = self._store.get(POD, namespace, name)
                if workload.ending.pop(name, None) is not None and ends is not None:
                    # Its ReplicaSet is taken up again, and makes another.
                    self._store.drop(ends)
                    rollout.shown.pop(name, None)
                self._pod(name, rollout, workload, owner, mode, now)
        for pod in self._store.all(POD, namespace):
            held = pod.content["metadata"].get("labels", {})
            name = pod.content["metadata"]["name"]
            if self._workload_of(held) == workload.name and name not in wanted:
                self._end(pod, workload, newest.behaviour.ending, now)

    def _end(self, pod: Stored, workload: Workload, seconds: float, now: float) -> None:
        """Let a pod end; until it has, it answers whoever still asks it."""
        name = pod.content["metadata"]["name"]
        if now >= workload.ending.setdefault(name, now + seconds):
            del workload.ending[name]
            self._store.drop(pod)
        elif "deletionTimestamp" not in pod.content["metadata"]:
            content = clone(pod.content)
            content["metadata"] |= {
                "deletionTimestamp": self._store.stamp(),
                "deletionGracePeriodSeconds": 30,
            }
            self._store.put(Stored(POD, content, pod.owners))

    def _app(self, workload: Workload, rollout: Rollout, mode: Mode) -> str:
        return rollout.name if mode == "Knative" else f"isvc.{workload.name}"

    def _workload_of(self, labels: Json) -> str:
        knative = labels.get("serving.knative.dev/service", "")
        return str(knative or labels.get("app", "").removeprefix("isvc."))

    def _pod(
        self,
        name: str,
        rollout: Rollout,
        workload: Workload,
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
        content = self._writer.object(POD, namespace, name, owner, labels)
        content["metadata"]["annotations"] = metadata["annotations"]
        content["spec"] = clone(rollout.template["spec"])
        phase, outcome = rollout.phase(now), rollout.behaviour.outcome
        moment = self._store.stamp()
        state = f"{phase}/{outcome}"
        if rollout.shown.get(name) == state and self._store.get(POD, namespace, name) is not None:
            return
        rollout.shown[name] = state
        content["status"] = pod_status(content["spec"], outcome, phase, moment)
        self._writer.put(POD, content)
        pod = self._store.get(POD, namespace, name)
        stuck = phase == "failed" or (outcome == "never_ready" and phase == "starting")
        for source, reason, message in warnings(content["spec"], outcome, name) if stuck else ():
            if pod is not None:
                self._writer.event(pod, source, reason, message)
        for container, text in logs_of(content["spec"], outcome, phase).items():
            key = namespace, name, container
            if self._logs.get(key) == self._written.get(key):
                self._logs[key] = self._written[key] = text

    def drop(self, workload: Workload, namespace: str) -> None:
        """Take a workload away."""
        for kind in (DEPLOYMENT, KNATIVE_SERVICE):
            found = self._store.get(kind, namespace, workload.name)
            if found is not None:
                self._store.drop(found)


def _forbidden(rollout: Rollout, now: float) -> bool:
    """Whether none of its pods can be made."""
    return rollout.behaviour.outcome == "quota" and rollout.phase(now) == "failed"
