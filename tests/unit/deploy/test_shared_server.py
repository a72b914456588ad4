"""A shared server whose agent cannot read the store: TrainedModels are ready, and none answers."""

from __future__ import annotations

from typing import Any

import pytest

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.canary import Mode
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import artifact_version, server_image
from kfp_suite.kserve.model_agent import PATH_STYLE, REGION, missing_annotations
from kfp_suite.kserve.multi_model import (
    shared_runtime,
    shared_service,
    trained_model,
    wait_until_loaded,
)
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble
from tests.unit.deploy.conftest import on

NOWHERE = "http://127.0.0.1:9"
SEAWEEDFS = {"AWS_ENDPOINT_URL": "http://seaweedfs.kubeflow:9000"}
WHOLE = {**SEAWEEDFS, "AWS_DEFAULT_REGION": "us-east-1", "S3_USER_VIRTUAL_BUCKET": "false"}


@pytest.fixture(autouse=True)
def in_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE_VARIABLE, "s3://bucket/store")


def loading(
    double: KubernetesDouble, models: ModelStore, mode: Mode, variables: dict[str, str]
) -> tuple[Deployable, dict[str, Any]]:
    """A shared server, with the agent as KServe's webhook makes it, and a model that is to be
    loaded."""
    agent = {
        "name": "agent",
        "image": "kserve/agent",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
    }
    settings = parse_settings(
        {"shared": "zoo", "overlay": {"spec": {"predictor": {"containers": [agent]}}}}
    )
    deployable, cluster = Deployable.find(models, "wings", 1), on(double)
    image = server_image(deployable.served, settings)
    cluster.apply(shared_runtime(image, "models"))
    cluster.apply(shared_service(deployable.served, "models", settings, mode))
    return deployable, cluster.apply(trained_model(deployable.served, "models", settings))


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({}, [REGION]),  # Amazon's, by the identity of the pod
        (SEAWEEDFS, [REGION, PATH_STYLE]),
        ({**WHOLE, "S3_USER_VIRTUAL_BUCKET": "true"}, [PATH_STYLE]),
        (WHOLE, []),
    ],
)
def test_what_the_secret_lacks_is_read_from_the_agent(
    double: KubernetesDouble,
    models: ModelStore,
    mode: Mode,
    variables: dict[str, str],
    missing: list[str],
) -> None:
    _, model = loading(double, models, mode, variables)
    uri = model["spec"]["model"]["storageUri"]
    assert missing_annotations(on(double), "zoo", "models", uri) == missing
    assert missing_annotations(on(double), "zoo", "models", "gs://bucket/store") == []


def test_a_secret_without_a_region_is_said_at_once(
    double: KubernetesDouble, models: ModelStore, mode: Mode
) -> None:
    deployable, model = loading(double, models, mode, SEAWEEDFS)
    with pytest.raises(EndpointError) as failed:
        wait(double, deployable, model, 3600)
    assert f"KServe's agent reads S3 without {REGION}, {PATH_STYLE}" in failed.value.what
    assert failed.value.fix == (
        "annotate the Secret of its service account, and delete the pods of zoo"
    )


def test_an_agent_that_has_all_is_not_blamed(
    double: KubernetesDouble, models: ModelStore, mode: Mode
) -> None:
    deployable, model = loading(double, models, mode, WHOLE)
    with pytest.raises(EndpointError) as failed:
        wait(double, deployable, model, 0)
    assert "agent" not in str(failed.value)
    assert "kubectl describe trainedmodel wings" in str(failed.value.fix)


def wait(
    double: KubernetesDouble, deployable: Deployable, model: dict[str, Any], seconds: float
) -> None:
    sample, question = deployable.question({"spec": {}})
    wait_until_loaded(
        on(double),
        model,
        question,
        sample,
        version=artifact_version(deployable.served.digest),
        ingress=NOWHERE,
        timeout_seconds=seconds,
    )
