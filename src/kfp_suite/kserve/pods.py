"""The pods of an endpoint: node selection, account, security context, and termination."""

from __future__ import annotations

import copy
from typing import Any

from kfp_suite.kserve.settings import EndpointSettings, SecretKey

# The requirements of Kubernetes' Pod Security Standard "restricted", and a read-only root with
# only the mounted folders writable. KServe gives its own containers beside ours the same.
_SECURE = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
SERVER_COMMAND = ("python", "-P", "-m", "kfp_suite.server")
"""How a container starts our server: the images have no entry point."""
_HTTP, _GRPC = 8080, 8081
_SCRATCH = "1Gi"
"""What a server may write at most before its pod is evicted, and not its neighbours."""
_START_SECONDS = 600
# A pod that ends is still sent requests until every proxy knows.
_UNLISTED_SECONDS = 5
# Our server's default limit of a prediction, and the time it needs to end after that.
_PREDICT_SECONDS = 60
_END_SECONDS = 5


def served_securely() -> dict[str, Any]:
    """Of a container with our server: its rights, its probes, and a place for its files."""
    return {
        "securityContext": dict(_SECURE),
        "startupProbe": _probe("live", periodSeconds=2, failureThreshold=_START_SECONDS // 2),
        "readinessProbe": _probe("ready", periodSeconds=5),
        "livenessProbe": _probe("live", periodSeconds=10, timeoutSeconds=5, failureThreshold=6),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def volumes() -> list[dict[str, Any]]:
    """The volumes that `served_securely` mounts."""
    return [{"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH}}]


def container_in(mode: str | None) -> dict[str, Any]:
    """The parts of a container with our server that depend on KServe's mode.

    Knative allows one port, which it routes HTTP to, and ends pods by itself; it takes no
    `lifecycle`. In Standard mode the first port is the endpoint's, the second beside it.

    Args:
        mode: None: not known yet.
    """
    if mode != "Standard":
        return {}
    # By our own interpreter: Kubernetes has a `sleep` of its own from 1.30 on.
    pause = ["python", "-c", f"import time; time.sleep({_UNLISTED_SECONDS})"]
    return {
        "ports": [
            port("http1", _HTTP),
            port("h2c", _GRPC),
        ],
        "lifecycle": {"preStop": {"exec": {"command": pause}}},
    }


def port(name: str, number: int) -> dict[str, Any]:
    """A container's port: KServe probes the first, and sends requests there."""
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def ending_in(mode: str | None, settings: EndpointSettings) -> dict[str, Any]:
    """The time for a pod of ours to finish its requests, in a mode of KServe."""
    if mode != "Standard":
        return {}
    answer = (settings.timeout or _PREDICT_SECONDS) + _END_SECONDS
    return {"terminationGracePeriodSeconds": _UNLISTED_SECONDS + answer}


def answering_in(settings: EndpointSettings) -> list[str]:
    """The arguments of our server for the limit of a prediction; none: its default."""
    return [f"--predict-timeout={settings.timeout}"] if settings.timeout else []


def resources(settings: EndpointSettings) -> dict[str, Any]:
    """The requests and limits of the server's container."""
    return {"requests": dict(settings.requests), "limits": dict(settings.limits)}


def environment(settings: EndpointSettings) -> list[dict[str, Any]]:
    """The server's environment, secrets by reference."""
    found: list[dict[str, Any]] = []
    for name, value in sorted(settings.env.items()):
        if isinstance(value, SecretKey):
            key = {"name": value.secret, "key": value.key}
            found.append({"name": name, "valueFrom": {"secretKeyRef": key}})
        else:
            found.append({"name": name, "value": value})
    return found


def placed(settings: EndpointSettings) -> dict[str, Any]:
    """The account and node selection; without a token of the Kubernetes API, which servers do not
    use."""
    found: dict[str, Any] = {"automountServiceAccountToken": False}
    if settings.service_account:
        found["serviceAccountName"] = settings.service_account
    if settings.node_selector:
        found["nodeSelector"] = dict(settings.node_selector)
    if settings.affinity:
        found["affinity"] = copy.deepcopy(settings.affinity)
    if settings.tolerations:
        found["tolerations"] = copy.deepcopy(list(settings.tolerations))
    if settings.priority_class:
        found["priorityClassName"] = settings.priority_class
    return found


def spread_in(
    mode: str | None, settings: EndpointSettings, name: str, component: str
) -> dict[str, Any]:
    """Several pods on several nodes if there is room, so that one node's end leaves some.

    Args:
        mode: Knative takes this only with a feature flag, and gets none.
        settings: Of the endpoint; one replica has nothing to spread.
        name: Of the InferenceService.
        component: Its `predictor` or `transformer`, as KServe labels the pods.
    """
    if mode != "Standard" or max(settings.min_replicas, settings.max_replicas) < 2:
        return {}
    labels = {"serving.kserve.io/inferenceservice": name, "component": component}
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    return {"topologySpreadConstraints": [constraint]}


def scaled(settings: EndpointSettings) -> dict[str, Any]:
    """How many, and how long each may take to answer."""
    found: dict[str, Any] = {"minReplicas": settings.min_replicas}
    if settings.max_replicas:
        found["maxReplicas"] = settings.max_replicas
    if settings.scale_metric:
        found["scaleMetric"] = settings.scale_metric
    if settings.scale_target:
        found["scaleTarget"] = settings.scale_target
    if settings.timeout:
        found["timeout"] = settings.timeout
    return found


def listened_to(settings: EndpointSettings) -> dict[str, Any]:
    """KServe's batcher and payload logger before them."""
    found: dict[str, Any] = {}
    if settings.batcher is not None:
        found["batcher"] = {
            "maxBatchSize": settings.batcher.max_batch_size,
            "maxLatency": settings.batcher.max_latency,
        }
    if settings.logger is not None:
        found["logger"] = {"mode": settings.logger.mode, "url": settings.logger.url}
    return found


def _probe(state: str, **more: int) -> dict[str, Any]:
    return {"httpGet": {"path": f"/v2/health/{state}", "port": _HTTP}, **more}
