"""KServe's controller, played: revisions, status, pods and events, for better and for worse."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from kfp_suite.testing.cluster.objects import Object

Outcome = Literal[
    "ready",
    "image_pull",
    "crash_loop",
    "storage_failed",
    "unschedulable",
    "oom",
    "never_ready",
    "silent",
]
STORAGE_LOG = """Copying contents of gs://bucket/models to local
Traceback (most recent call last):
  File "/storage-initializer/scripts/initializer-entrypoint", line 24, in <module>
RuntimeError: Failed to fetch model. No model found in gs://bucket/models.
"""
CRASH_LOG = "error: /mnt/models/model.json: no such file or folder; check the path\n"


@dataclass(frozen=True)
class Behaviour:
    """What becomes of the next generations of an InferenceService.

    Attributes:
        outcome: `ready`, or one of the ways to fail; `silent`: no controller looks at it.
        after: Seconds until it is so.
        stale_ready: Until then, Ready says True for the revision before (kserve#1739).
        gives_up: A failure is said in `modelStatus`, at once.
    """

    outcome: Outcome = "ready"
    after: float = 0.0
    stale_ready: bool = True
    gives_up: bool = True


@dataclass
class Service:
    """What the controller remembers of an InferenceService."""

    generation: int = 0
    since: float = 0.0
    revisions: int = 0
    rolled_out: str = ""
    previous: str = ""
    ready: str = ""
    predictor: Object | None = None
    pods: dict[str, Object] = field(default_factory=dict)


def step(service: Service, found: Object, behaviour: Behaviour, mode: str, url: str) -> None:
    """Look at an InferenceService, and set its status and pods as KServe would by now.

    Args:
        service: What is remembered of it.
        found: The object; its status is changed.
        behaviour: What is to become of it.
        mode: `Knative` or `Standard`.
        url: Where the endpoint answers; empty: nowhere.
    """
    if behaviour.outcome == "silent":
        return
    metadata, spec = found["metadata"], found["spec"]
    name = metadata["name"]
    if service.generation != metadata["generation"]:
        service.generation, service.since = metadata["generation"], time.monotonic()
        shape = {k: v for k, v in spec["predictor"].items() if k != "canaryTrafficPercent"}
        if shape != service.predictor:
            service.predictor = copy.deepcopy(shape)
            service.revisions += 1
    newest = f"{name}-predictor-{service.revisions:05}"
    settled = time.monotonic() - service.since >= behaviour.after
    works = settled and behaviour.outcome == "ready"
    fails = settled and behaviour.outcome not in ("ready", "never_ready")
    if works:
        service.ready = newest
        _roll_out(service, newest, spec["predictor"].get("canaryTrafficPercent"))
    _set_pods(service, found, newest, behaviour.outcome if settled else "never_ready", mode)
    seen = settled or not behaviour.stale_ready
    ready = works or bool(service.ready and (behaviour.stale_ready or works))
    status: Object = found.setdefault("status", {})
    status.update(
        {
            "deploymentMode": mode,
            "url": url or f"http://{name}.{metadata['namespace']}.example.com",
            "address": {"url": url or f"http://{name}.{metadata['namespace']}.svc.cluster.local"},
            "conditions": _conditions(ready, works, behaviour),
            "modelStatus": _model_status(works, fails and behaviour.gives_up, behaviour),
        }
    )
    if seen:
        status["observedGeneration"] = metadata["generation"]
    status.setdefault("observedGeneration", metadata["generation"] - 1)
    if mode == "Knative":
        status["components"] = {"predictor": _component(service, newest, spec["predictor"])}
    else:
        status["canaryStatuses"] = [
            {
                "name": side["predictor"]["name"],
                "ready": works,
                "trafficPercent": side.get("trafficPercent", 0) if works else 0,
            }
            for side in spec.get("canary", ())
        ]


def _roll_out(service: Service, newest: str, percent: int | None) -> None:
    if service.rolled_out in ("", newest) or percent is None:
        if service.rolled_out not in ("", newest):
            service.previous = service.rolled_out
        service.rolled_out = newest


def _component(service: Service, newest: str, predictor: Object) -> Object:
    percent = predictor.get("canaryTrafficPercent")
    share = 100 if percent is None or service.rolled_out == service.ready else percent
    traffic = [{"revisionName": service.ready, "percent": share, "latestRevision": True}]
    if share < 100:
        traffic.append({"revisionName": service.rolled_out, "percent": 100 - share, "tag": "prev"})
    return {
        "latestCreatedRevision": newest,
        "latestReadyRevision": service.ready,
        "latestRolledoutRevision": service.rolled_out,
        "previousRolledoutRevision": service.previous,
        "traffic": traffic if service.ready else [],
    }


def _conditions(ready: bool, works: bool, behaviour: Behaviour) -> list[Object]:
    said = {
        "image_pull": ("ImagePullBackOff", "Unable to fetch image"),
        "crash_loop": ("CrashLoopBackOff", "Container failed with: exit code 1"),
        "storage_failed": ("ModelLoadFailed", "The storage initializer failed"),
        "unschedulable": ("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu"),
        "oom": ("OOMKilled", "Container failed with: exit code 137"),
    }.get(behaviour.outcome, ("Progressing", "Deployment does not have minimum availability"))
    found = []
    for kind, holds in (("PredictorReady", works), ("Ready", ready)):
        condition: Object = {"type": kind, "status": "True" if holds else "False"}
        if not holds:
            condition |= {"reason": said[0], "message": said[1]}
        found.append(condition)
    return found


def _model_status(works: bool, failed: bool, behaviour: Behaviour) -> Object:
    if works:
        states = {"activeModelState": "Loaded", "targetModelState": "Loaded"}
        return {"transitionStatus": "UpToDate", "states": states}
    states = {"activeModelState": "", "targetModelState": "FailedToLoad" if failed else "Loading"}
    found: Object = {
        "transitionStatus": "BlockedByFailedLoad" if failed else "InProgress",
        "states": states,
    }
    if failed:
        found["lastFailureInfo"] = {
            "reason": "ModelLoadFailed",
            "message": f"{behaviour.outcome}: the model did not load",
            "exitCode": 137 if behaviour.outcome == "oom" else 1,
        }
    return found


def _set_pods(service: Service, found: Object, newest: str, outcome: str, mode: str) -> None:
    name, namespace = found["metadata"]["name"], found["metadata"]["namespace"]
    wanted = {newest: (found["spec"]["predictor"], outcome)}
    if mode == "Knative" and service.rolled_out and service.rolled_out != newest:
        wanted[service.rolled_out] = ({}, "ready")
    for side in found["spec"].get("canary", ()) if mode == "Standard" else ():
        wanted[f"{name}-{side['predictor']['name']}"] = (side["predictor"], outcome)
    service.pods = {
        pod: service.pods[pod] for pod in service.pods if pod.removesuffix("-pod") in wanted
    }
    for revision, (predictor, becomes) in wanted.items():
        key = f"{revision}-pod"
        annotations = predictor.get("annotations") or (
            service.pods.get(key, {}).get("metadata", {}).get("annotations", {})
        )
        labels = {
            "serving.kserve.io/inferenceservice": name,
            "component": "predictor",
            **({"serving.knative.dev/revision": revision} if mode == "Knative" else {}),
        }
        service.pods[key] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": key,
                "namespace": namespace,
                "uid": f"uid-{key}",
                "labels": labels,
                "annotations": annotations,
            },
            "spec": {"containers": [{"name": "kserve-container"}]},
            "status": _pod_status(becomes),
        }


def _pod_status(outcome: str) -> Object:
    main: Any = {"name": "kserve-container", "ready": False, "restartCount": 0, "image": "server"}
    main |= {"imageID": "", "state": {"waiting": {"reason": "PodInitializing"}}}
    init = {
        "name": "storage-initializer",
        "ready": True,
        "restartCount": 0,
        "image": "storage",
        "imageID": "",
        "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
    }
    phase = "Pending"
    ended: Object = {}
    if outcome == "ready":
        phase, main["ready"] = "Running", True
        main["state"] = {"running": {"startedAt": "2024-01-01T00:00:00Z"}}
    elif outcome == "image_pull":
        message = 'Back-off pulling image "registry.example/server:1"'
        main["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    elif outcome in ("crash_loop", "oom"):
        code, why = (137, "OOMKilled") if outcome == "oom" else (1, "Error")
        ended = {"terminated": {"exitCode": code, "reason": why}}
        message = "back-off 40s restarting failed container"
        main["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        main |= {"lastState": ended, "restartCount": 4}
    elif outcome == "storage_failed":
        init |= {"ready": False, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    return {
        "phase": phase,
        "initContainerStatuses": [init],
        "containerStatuses": [main] if outcome != "unschedulable" else [],
    }


def events_of(pod: Object, outcome: str) -> list[Object]:
    """The warnings that Kubernetes gives about a pod."""
    said = {
        "image_pull": ("Failed", 'Failed to pull image "registry.example/server:1": not found'),
        "crash_loop": ("BackOff", "Back-off restarting failed container kserve-container"),
        "oom": ("BackOff", "Back-off restarting failed container kserve-container"),
        "storage_failed": ("BackOff", "Back-off restarting failed container storage-initializer"),
        "unschedulable": ("FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu."),
    }.get(outcome)
    if said is None:
        return []
    metadata = pod["metadata"]
    return [
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.1", "namespace": metadata["namespace"]},
            "involvedObject": {
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
            },
            "type": "Warning",
            "reason": said[0],
            "message": said[1],
        }
    ]
