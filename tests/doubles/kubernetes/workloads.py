"""The pods of a model server in each state that KServe can leave them in, and what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kfp_suite.testing.kubernetes.kinds import Json

Outcome = Literal[
    "ready",
    "image_pull",
    "crash_loop",
    "storage_failed",
    "unschedulable",
    "config_error",
    "quota",
    "no_volume",
    "never_ready",
    "oom",
    "refused",
    "silent",
]
Phase = Literal["starting", "ready", "failed"]

CONTAINER = "kserve-container"
INITIALIZER = "storage-initializer"
QUEUE_PROXY = {"name": "queue-proxy", "image": "knative.dev/queue:v1.21"}
_COPIED = "Successfully copied\n"
_NO_SECRET = 'secret "store" not found'
_CRASHED = "back-off 5m0s restarting failed container"
_NO_NODE = (
    "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: "
    "3 No preemption victims found for incoming pod."
)


@dataclass(frozen=True)
class Behaviour:
    """What becomes of a rollout.

    Attributes:
        outcome: `ready`, or how it fails: `image_pull` (ImagePullBackOff), `crash_loop` (the
            server ends with exit code 1), `storage_failed` (so does the storage initializer),
            `unschedulable`, `config_error` (CreateContainerConfigError: a Secret is not there),
            `quota` (no pod can be made), `no_volume` (FailedMount, of which only events
            tell), `never_ready` (it runs, and no probe succeeds), `oom` (the server
            is killed with exit code 137), `refused` (KServe cannot make its workloads, and says so
            in an event), `silent` (no controller: no status, no pods).
        after: Seconds until it is ready, or until the failure shows.
        stale_ready: Whether Ready stays True, from what served before, until the new
            generation is ready; None: as KServe does, which it does in Standard mode
            (kserve#4626) and not in Knative mode. True, moreover, makes the controller look at
            the new generation only after half of `after` (kserve#1739).
        ending: Seconds for which the pods before go on answering while they end: they have a
            deletionTimestamp, count in no status, and are still ready.
        kept: Seconds for which KServe's finalizer keeps the service after it was deleted.
    """

    outcome: Outcome = "ready"
    after: float = 0.0
    stale_ready: bool | None = None
    ending: float = 0.0
    kept: float = 0.0


def template_hash(template: Json) -> str:
    """The hash that names a ReplicaSet."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
    return digest[:10]


def pod_spec(component: Json, runtime: Json, *, name: str = "", knative: bool) -> Json:
    """The spec of the pods of a component.

    Args:
        component: Of an InferenceService: its predictor, or its transformer.
        runtime: The spec of its ServingRuntime; empty: it has none.
        name: Of the InferenceService, which KServe writes into a runtime's arguments.
        knative: Whether Knative runs the pods.
    """
    model = next(
        (
            value
            for key, value in component.items()
            if isinstance(value, dict) and ("storageUri" in value or "modelFormat" in value)
        ),
        None,
    )
    containers = [dict(one) for one in component.get("containers", ())]
    if model is not None:
        server = _merged(next(iter(runtime.get("containers", ())), {}), model, name)
        server["image"] = server.get("image") or _image(model)
        containers = [server, *(one for one in containers if one.get("name") != CONTAINER)]
    for container in containers[:1]:
        container["name"] = container.get("name") or CONTAINER
    if knative:
        containers.append(dict(QUEUE_PROXY))
    spec: Json = {"containers": containers}
    if model is not None and model.get("storageUri"):
        spec["initContainers"] = [
            {
                "name": INITIALIZER,
                "image": "kserve/storage-initializer:v0.20.0",
                "args": [model["storageUri"], "/mnt/models"],
            }
        ]
    for key in (
        "serviceAccountName",
        "nodeSelector",
        "tolerations",
        "terminationGracePeriodSeconds",
    ):
        if key in component:
            spec[key] = component[key]
    mounted = [*runtime.get("volumes", ()), *component.get("volumes", ())]
    if mounted:
        spec["volumes"] = mounted
    return spec


# What says which model it is; the rest of it is its container's.
_OF_THE_MODEL = ("modelFormat", "protocolVersion", "runtime", "storage", "storageUri")


def _merged(runtime: Json, model: Json, name: str) -> Json:
    """A runtime's container with what a model changes in it, as KServe merges them: arguments
    one after the other, variables by name, the rest as the model has it."""
    found = {**runtime, **{k: v for k, v in model.items() if k not in _OF_THE_MODEL}}
    found["name"] = CONTAINER
    arguments = [one.replace("{{.Name}}", name) for one in runtime.get("args", ())]
    if arguments or "args" in model:
        found["args"] = [*arguments, *model.get("args", ())]
    if "env" in runtime or "env" in model:
        named = {one["name"]: one for one in (*runtime.get("env", ()), *model.get("env", ()))}
        found["env"] = list(named.values())
    return found


def pod_status(spec: Json, outcome: Outcome, phase: Phase, now: str) -> Json:
    """The status of a pod."""
    if phase == "ready":
        return _running(spec, now, ready=True)
    if outcome == "never_ready" or phase == "starting":
        return _running(spec, now, ready=False) if outcome == "never_ready" else _starting(spec)
    if outcome == "unschedulable":
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": _NO_NODE,
            "lastTransitionTime": now,
        }
        return {"phase": "Pending", "conditions": [condition]}
    if outcome == "no_volume":
        return _starting(spec, mounted=False)
    found = _running(spec, now, ready=False)
    if outcome == "storage_failed" and "initContainers" in spec:
        found = _starting(spec)
        found["initContainerStatuses"] = [
            _crashed(spec["initContainers"][0], "Error", 1, failure_message(spec, outcome), now)
        ]
        return found
    server = spec["containers"][0]
    if outcome == "image_pull":
        found["phase"] = "Pending"
        message = f'Back-off pulling image "{server["image"]}"'
        status = {**_of(server), "state": _waiting("ImagePullBackOff", message)}
    elif outcome == "config_error":
        found["phase"] = "Pending"
        status = {**_of(server), "state": _waiting("CreateContainerConfigError", _NO_SECRET)}
    elif outcome == "oom":
        status = _crashed(server, "OOMKilled", 137, "", now)
    else:
        status = _crashed(server, "Error", 1, failure_message(spec, outcome), now)
    found["containerStatuses"][0] = status
    return found


def failure_message(spec: Json, outcome: Outcome) -> str:
    """What KServe and Knative make of a failure."""
    server = spec["containers"][0]
    if outcome == "image_pull":
        return f'Back-off pulling image "{server["image"]}"'
    if outcome == "unschedulable":
        return _NO_NODE
    if outcome == "oom":
        return "Container failed with OOMKilled"
    if outcome == "config_error":
        return _NO_SECRET
    if outcome == "quota":
        return exceeded("server")
    if outcome == "storage_failed":
        # Its container falls back to its log for a message.
        return log_of(spec, outcome)[-2048:]
    return log_of(spec, outcome).splitlines()[-1]


def exceeded(pod: str) -> str:
    """What a quota says of a pod that is over it."""
    return (
        f'pods "{pod}" is forbidden: exceeded quota: compute-resources, requested: '
        "requests.cpu=1, used: requests.cpu=8, limited: requests.cpu=8"
    )


def log_of(spec: Json, outcome: Outcome) -> str:
    """What the container that fails wrote, or the server that runs."""
    if outcome == "storage_failed":
        uri = _loaded(spec)
        return _copying(spec) + (
            "Traceback (most recent call last):\n"
            '  File "/storage-initializer/scripts/initializer-entrypoint", line 24, in <module>\n'
            "    Storage.download_files(src_uris, dest_paths)\n"
            '  File "/prod_venv/lib/python3.11/site-packages/kserve_storage/kserve_storage.py", '
            "line 330, in _download_gcs\n"
            f'    raise RuntimeError("Failed to fetch model. No model found in %s." % uri)\n'
            f"RuntimeError: Failed to fetch model. No model found in {uri}.\n"
        )
    if outcome == "crash_loop":
        return (
            "Traceback (most recent call last):\n"
            '  File "/app/server.py", line 12, in <module>\n'
            "    model.load()\n"
            "ModuleNotFoundError: No module named 'sklearn'\n"
        )
    if outcome == "oom":
        return "INFO loading the model\n"
    return "INFO Uvicorn running on http://0.0.0.0:8080 (Press CTRL+C to quit)\n"


def logs_of(spec: Json, outcome: Outcome, phase: Phase) -> dict[str, str]:
    """What each container of a pod has written by now."""
    server, first = str(spec["containers"][0]["name"]), "initContainers" in spec
    if phase == "ready":
        return {server: log_of(spec, "ready"), **({INITIALIZER: _COPIED} if first else {})}
    if outcome == "never_ready":
        return {server: "INFO waiting for a lock on the model\n"}
    if phase == "starting":
        return {INITIALIZER: _copying(spec)} if first else {}
    if outcome in ("crash_loop", "oom", "storage_failed"):
        return {failing_container(spec, outcome): log_of(spec, outcome)}
    return {}


def failing_container(spec: Json, outcome: Outcome) -> str:
    """The container that a failure is about."""
    if outcome == "storage_failed" and "initContainers" in spec:
        return INITIALIZER
    return str(spec["containers"][0]["name"])


def warnings(spec: Json, outcome: Outcome, pod: str) -> list[tuple[str, str, str]]:
    """The events of a pod that fails: the component, the reason and the message of each."""
    image = spec["containers"][0]["image"]
    if outcome == "unschedulable":
        return [("default-scheduler", "FailedScheduling", _NO_NODE)]
    if outcome == "image_pull":
        return [
            (
                "kubelet",
                "Failed",
                f'Failed to pull image "{image}": rpc error: code = NotFound desc = failed to '
                f'pull and unpack image "{image}": not found',
            ),
            ("kubelet", "Failed", "Error: ErrImagePull"),
            ("kubelet", "BackOff", f'Back-off pulling image "{image}"'),
        ]
    if outcome == "config_error":
        return [("kubelet", "Failed", f"Error: {_NO_SECRET}")]
    if outcome == "no_volume":
        said = f'MountVolume.SetUp failed for volume "tls" : {_NO_SECRET}'
        return [("kubelet", "FailedMount", said)]
    if outcome in ("crash_loop", "oom", "storage_failed"):
        container = failing_container(spec, outcome)
        message = f"Back-off restarting failed container {container} in pod {pod}"
        return [("kubelet", "BackOff", message)]
    if outcome == "never_ready":
        message = (
            'Readiness probe failed: Get "http://10.0.0.1:8080/v2/health/ready": dial tcp '
            "10.0.0.1:8080: connect: connection refused"
        )
        return [("kubelet", "Unhealthy", message)]
    return []


def _loaded(spec: Json) -> str:
    uri: str = spec.get("initContainers", [{}])[0].get("args", ["gs://bucket/model"])[0]
    return uri


def _copying(spec: Json) -> str:
    """What the storage initializer writes before it copies."""
    uri = _loaded(spec)
    return (
        "2026-01-05 10:00:00.001 1 kserve INFO [initializer-entrypoint:16] Initializing, "
        f"args: (src_uri, dest_path): [('{uri}', '/mnt/models')]\n"
        "2026-01-05 10:00:00.002 1 kserve INFO [kserve_storage.py:download():108] Copying "
        f"contents of {uri} to local\n"
    )


def _image(model: Mapping[str, object]) -> str:
    found = model.get("modelFormat")
    name = found.get("name", "model") if isinstance(found, Mapping) else "model"
    return f"kserve/{name}server:v0.20.0"


def _of(container: Json, *, ready: bool = False) -> Json:
    image = container.get("image", "")
    return {
        "name": container["name"],
        "image": image,
        "imageID": f"sha256:{hashlib.sha256(image.encode()).hexdigest()}" if ready else "",
        "ready": ready,
        "restartCount": 0,
        "started": ready,
        "lastState": {},
    }


def _waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _crashed(container: Json, reason: str, code: int, message: str, now: str) -> Json:
    ended: Json = {"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now}
    ended["containerID"] = f"containerd://{hashlib.sha256(now.encode()).hexdigest()}"
    if message:
        ended["message"] = message
    said = f"{_CRASHED} {container['name']}"
    return {
        **_of(container),
        "state": _waiting("CrashLoopBackOff", said),
        "lastState": {"terminated": ended},
        "restartCount": 5,
    }


def _starting(spec: Json, *, mounted: bool = True) -> Json:
    """A pod whose containers are being made; none is as long as its volumes are not mounted."""
    found: Json = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
    }
    if "initContainers" in spec:
        found["initContainerStatuses"] = [
            {**_of(one), "state": {"running": {}}, "started": True}
            if mounted
            else {**_of(one), "state": _waiting("PodInitializing")}
            for one in spec["initContainers"]
        ]
    waiting = _waiting("PodInitializing" if "initContainers" in spec else "ContainerCreating")
    found["containerStatuses"] = [{**_of(one), "state": waiting} for one in spec["containers"]]
    return found


def _asked_by_proxy(spec: Json, container: Json) -> bool:
    """In Knative mode the proxy has the server's probe: the server counts as ready at once."""
    names = [one["name"] for one in spec["containers"]]
    return QUEUE_PROXY["name"] in names and container["name"] != QUEUE_PROXY["name"]


def _running(spec: Json, now: str, *, ready: bool) -> Json:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": now}
    if not ready:
        condition["reason"] = "ContainersNotReady"
    found: Json = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "startTime": now,
        "conditions": [condition],
        "containerStatuses": [
            {
                **_of(one, ready=ready or _asked_by_proxy(spec, one)),
                "started": True,
                "state": {"running": {"startedAt": now}},
            }
            for one in spec["containers"]
        ],
    }
    if "initContainers" in spec:
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
        found["initContainerStatuses"] = [
            {**_of(one, ready=True), "started": False, "state": {"terminated": ended}}
            for one in spec["initContainers"]
        ]
    return found
