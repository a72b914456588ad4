"""Apply an InferenceService and wait until it serves this version, not the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from kfp_suite.components.contracts.errors import EndpointError, StoreError
from kfp_suite.components.kserve.manifests import VERSION

GROUP, API_VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
FIELD_MANAGER = "kfp-suite"
_POLL_SECONDS = 2.0


def serve_version(
    manifest: Mapping[str, Any],
    timeout_seconds: float,
    *,
    api: Any = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Server-side apply the manifest and wait for its own generation to be ready.

    Args:
        manifest: An InferenceService.
        timeout_seconds: How long it may take.
        api: A Kubernetes `ApiClient`; None: in-cluster credentials, else the kubeconfig.
        sleep: What waits between looks.

    Returns:
        The endpoint's URL.

    Raises:
        StoreError: no credentials, or the API refused the manifest.
        EndpointError: not ready in time: with its conditions and its pods' last errors.
    """
    api = api or _client()
    custom = client.CustomObjectsApi(api)
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    where = f"InferenceService {namespace}/{name}"
    place = (GROUP, API_VERSION, namespace, PLURAL, name)
    try:
        generation = _apply(api, namespace, name, manifest)["metadata"]["generation"]
        deadline = time.monotonic() + timeout_seconds
        while True:
            found = custom.get_namespaced_custom_object(*place)
            status = found.get("status", {})
            if _serves(found, manifest, generation):
                return str(status.get("url", ""))
            if time.monotonic() >= deadline:
                break
            sleep(_POLL_SECONDS)
    except ApiException as error:
        raise StoreError(
            f"the Kubernetes API refused: {error.status} {error.reason}",
            where=where,
            got=error.body,
            fix="check the step's service account and that KServe is installed",
        ) from error
    raise EndpointError(
        "does not serve the version in time",
        where=where,
        got="; ".join([*_conditions(status), *_pod_errors(api, namespace, name)]) or "no status",
        expected=f"ready within {timeout_seconds:g} s",
        fix=f"kubectl describe inferenceservice {name} -n {namespace}",
    )


def _apply(api: Any, namespace: str, name: str, manifest: Mapping[str, Any]) -> Any:
    """Server-side apply; the client's own method for custom objects can only merge."""
    return api.call_api(
        f"/apis/{GROUP}/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{name}",
        "PATCH",
        query_params=[("fieldManager", FIELD_MANAGER), ("force", "true")],
        header_params={
            "Content-Type": "application/apply-patch+yaml",
            "Accept": "application/json",
        },
        body=dict(manifest),
        response_type="object",
        auth_settings=["BearerToken"],
        _return_http_data_only=True,
    )


def _serves(found: Mapping[str, Any], manifest: Mapping[str, Any], generation: int) -> bool:
    """Ready may belong to the revision before: the controller must have seen this one."""
    status = found.get("status", {})
    annotations = found["metadata"].get("annotations", {})
    ready = any(
        c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ())
    )
    return (
        ready
        and status.get("observedGeneration", 0) >= generation
        and annotations.get(VERSION) == manifest["metadata"]["annotations"][VERSION]
        and _latest_is_ready(status)
    )


def _latest_is_ready(status: Mapping[str, Any]) -> bool:
    """In Knative mode, the newest revision must be the ready one."""
    predictor = status.get("components", {}).get("predictor", {})
    created, ready = predictor.get("latestCreatedRevision"), predictor.get("latestReadyRevision")
    return created is None or created == ready


def _conditions(status: Mapping[str, Any]) -> list[str]:
    return [
        f"{c['type']}: {c.get('reason', '')} {c.get('message', '')}".strip()
        for c in status.get("conditions", ())
        if c["status"] != "True"
    ]


def _pod_errors(api: Any, namespace: str, name: str) -> list[str]:
    try:
        pods = client.CoreV1Api(api).list_namespaced_pod(
            namespace, label_selector=f"serving.kserve.io/inferenceservice={name}"
        )
    except ApiException:
        return []
    found = []
    for pod in pods.items:
        for container in (pod.status.container_statuses or []) if pod.status else []:
            state = container.state.waiting or container.state.terminated
            if state is not None:
                text = f"{state.reason or ''} {state.message or ''}".strip()
                found.append(f"pod {pod.metadata.name}: {text}")
    return found


def _client() -> Any:
    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except (config.ConfigException, OSError) as error:
            raise StoreError(
                "no Kubernetes credentials",
                where="deploy",
                got=str(error),
                fix="set target to local, or KUBECONFIG to a cluster's",
            ) from error
    return client.ApiClient()
