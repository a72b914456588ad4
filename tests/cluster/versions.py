"""The versions of what the exam ran on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.kubeflow.connection import Backend
from tests.cluster.installation import Installation

UNKNOWN = "unknown"
_ARGO = "workflow-controller"
_KFP = "ml-pipeline"
_KSERVE = "kserve-controller-manager"
_KSERVE_CONFIG = "inferenceservice-config"


def read_versions(installation: Installation) -> dict[str, str]:
    """The version of each part; what this account may not see is unknown.

    Args:
        installation: With a kubeconfig, a host, or both.
    """
    found = {"kfp-suite": suite_version()}
    if installation.host:
        found["Kubeflow Pipelines"] = _attempt(lambda: _kfp(installation)) or UNKNOWN
    if not installation.kubeconfig:
        return found
    with config.new_client_from_config(installation.kubeconfig) as api:
        deployments = _attempt(lambda: _deployments(api)) or {}
        found["Kubernetes"] = _attempt(lambda: str(_server(api))) or UNKNOWN
        if found.get("Kubeflow Pipelines") == UNKNOWN:
            found["Kubeflow Pipelines"] = image_tag(deployments.get(_KFP))
        found["Argo Workflows"] = image_tag(deployments.get(_ARGO))
        kserve = deployments.get(_KSERVE)
        mode = kserve and _attempt(lambda: _mode(api, kserve.metadata.namespace))
        found["KServe"] = f"{image_tag(kserve)} ({mode or 'mode unknown'})"
    return found


def suite_version() -> str:
    """The suite's version, and the commit of the checkout."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    commit = done.stdout.strip()
    return version("kfp-suite") + (f" at {commit}" if commit else "")


def image_tag(deployment: Any) -> str:
    """The version of a Deployment: its label, or the tag of its first image.

    Args:
        deployment: None if there is none.
    """
    if deployment is None:
        return UNKNOWN
    labelled = (deployment.metadata.labels or {}).get("app.kubernetes.io/version")
    image = deployment.spec.template.spec.containers[0].image.partition("@")[0]
    name = image.rpartition("/")[2]
    return str(labelled or name.partition(":")[2] or UNKNOWN)


def _deployments(api: Any) -> dict[str, Any]:
    found = client.AppsV1Api(api).list_deployment_for_all_namespaces(_request_timeout=30)
    return {one.metadata.name: one for one in found.items}


def _server(api: Any) -> str:
    return str(client.VersionApi(api).get_code(_request_timeout=30).git_version)


def _kfp(installation: Installation) -> str:
    return Backend(installation.connection).health().version


def _mode(api: Any, namespace: str) -> str:
    settings = client.CoreV1Api(api).read_namespaced_config_map(
        _KSERVE_CONFIG, namespace, _request_timeout=30
    )
    return str(json.loads(settings.data["deploy"])["defaultDeploymentMode"])


def _attempt(read: Callable[[], Any]) -> Any:
    """What it reads, None if the cluster does not let it."""
    try:
        return read()
    except (ApiException, KfpSuiteError, KeyError, ValueError, TypeError):
        return None
