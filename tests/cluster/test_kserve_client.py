"""Our endpoints through KServe's own client: what a team's scripts already do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kserve import (
    KServeClient,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
)
from kubernetes import client

from kfp_suite.contracts.errors import AlreadyExistsError
from kfp_suite.kserve.canary import split_of
from kfp_suite.kserve.cluster import Cluster
from tests.cluster.conftest import NAMESPACE
from tests.cluster.removal import wait_until_gone
from tests.cluster.test_api_server import manifest

pytestmark = pytest.mark.entry("the suite's endpoints through KServe's own client")


@pytest.fixture
def kserve(kubeconfig: Path) -> Iterator[KServeClient]:
    """KServe's client; it changes the default of the Kubernetes client."""
    yield KServeClient(config_file=str(kubeconfig))
    client.Configuration.set_default(None)


def somebodys(uri: str) -> V1beta1InferenceService:
    """An endpoint as KServe's documentation makes one."""
    return V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(name="late", namespace=NAMESPACE),
        spec=V1beta1InferenceServiceSpec(
            predictor=V1beta1PredictorSpec(
                model=V1beta1ModelSpec(
                    model_format=V1beta1ModelFormat(name="sklearn"), storage_uri=uri
                )
            )
        ),
    )


def test_it_reads_and_deletes_what_we_applied(cluster: Cluster, kserve: KServeClient) -> None:
    cluster.apply(manifest())
    found = kserve.get("late", NAMESPACE)
    assert split_of(found).stable.version == 3
    names = [one["metadata"]["name"] for one in kserve.get(namespace=NAMESPACE)["items"]]
    assert "late" in names
    kserve.delete("late", NAMESPACE)
    wait_until_gone(cluster, "late", NAMESPACE)


def test_what_it_made_is_not_taken_over_unasked(cluster: Cluster, kserve: KServeClient) -> None:
    kserve.create(somebodys("gs://bucket/by-hand"))
    with pytest.raises(AlreadyExistsError, match=r"\.spec\.predictor\.model\.storageUri"):
        cluster.apply(manifest())
    assert uri_of(kserve) == "gs://bucket/by-hand"
    cluster.apply(manifest(), force=True)
    assert uri_of(kserve) == "gs://bucket/models/late/3/model-12345678"


def test_its_patch_of_what_we_do_not_say_survives(cluster: Cluster, kserve: KServeClient) -> None:
    cluster.apply(manifest())
    patch = V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(
            name="late", namespace=NAMESPACE, annotations={"example.com/pager": "birds"}
        ),
    )
    kserve.patch("late", patch, NAMESPACE)
    after = cluster.apply(manifest(4))
    assert after["metadata"]["annotations"]["example.com/pager"] == "birds"
    assert split_of(after).stable.version == 4


def test_an_old_resource_version_is_a_conflict(cluster: Cluster, kserve: KServeClient) -> None:
    made = kserve.create(somebodys("gs://bucket/by-hand"))
    stale = somebodys("gs://bucket/another")
    stale.metadata.resource_version = made["metadata"]["resourceVersion"]
    cluster.apply(manifest(), force=True)
    with pytest.raises(RuntimeError, match="409"):
        kserve.replace("late", stale, NAMESPACE)
    assert uri_of(kserve) == "gs://bucket/models/late/3/model-12345678"


def uri_of(kserve: KServeClient) -> Any:
    return kserve.get("late", NAMESPACE)["spec"]["predictor"]["model"]["storageUri"]
