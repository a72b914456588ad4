"""`docs/deploying.md`: every setting of an endpoint with its default, and objects that fit."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.kserve.canary import Mode
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.manifests import Served, inference_service, serving_runtime
from kfp_suite.kserve.settings import EndpointSettings, parse_settings
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "deploying.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| `([^`]*)` \|", re.MULTILINE)


def test_every_setting_is_documented_with_its_default() -> None:
    documented = [(name, json.loads(default)) for name, default in ROW.findall(TEXT)]
    assert documented == list(json.loads(json.dumps(asdict(EndpointSettings()))).items())


def test_every_variable_is_named() -> None:
    for name in (*IMAGE_VARIABLES.values(), STORE_VARIABLE):
        assert f"`{name}" in TEXT


def yaml_after(text: str, end: str) -> Any:
    """The YAML between a text of the page and the first `end` after it."""
    return yaml.safe_load(TEXT.partition(text)[2].partition(end)[0])


def test_the_storage_initializer_is_patched_for_restricted_namespaces() -> None:
    """What Kubernetes' Pod Security Standard asks of a container, and nothing else is changed."""
    patch = yaml_after("clusterstoragecontainer default --type merge --patch '", "'")
    assert patch == {
        "spec": {
            "container": {
                "securityContext": {
                    "runAsNonRoot": True,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                }
            }
        }
    }


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_the_disruption_budget_is_of_the_pods_that_are_made(mode: Mode) -> None:
    budget = yaml_after("one at a time:\n\n```yaml\n", "```")
    assert budget["spec"]["maxUnavailable"] == 1
    name, namespace = (budget["metadata"][key] for key in ("name", "namespace"))
    settings = parse_settings({"image": "r/server:1", "min_replicas": 2})
    served = Served(name, name, 1, "sha256:1", "sha256:2", "gs://b/s", "gs://b/s/flights/1/model")
    with running(KubernetesDouble(mode=mode)) as double:
        cluster = Cluster(double.client())
        cluster.apply(serving_runtime("r/server:1", namespace))
        cluster.apply(inference_service(served, namespace=namespace, settings=settings, mode=mode))
        pods = double.objects("pods", namespace)
    assert pods
    wanted = budget["spec"]["selector"]["matchLabels"].items()
    assert all(wanted <= pod["metadata"]["labels"].items() for pod in pods)
