"""Deploy: the manifest KServe takes, and a wait that the old revision cannot end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kfp_suite.components.contracts.errors import (
    ContractError,
    EndpointError,
    ParameterError,
    StoreError,
)
from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.components.kserve.cluster import serve_version
from kfp_suite.components.kserve.manifests import Served, inference_service, read_served
from kfp_suite.testing.kubernetes import KubernetesDouble, running

SERVED = Served(
    name="late",
    model="late",
    version=3,
    digest="sha256:1",
    manifest_digest="sha256:2",
    store="gs://bucket/models",
    model_uri="gs://bucket/models/late/3/model-12345678",
)
CRDS = Path(__file__).resolve().parents[3].parent / "shared" / "kserve"


def manifest(version: int = 3) -> dict[str, Any]:
    served = Served(**{**vars(SERVED), "version": version})
    return inference_service(served, namespace="models")


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "version"
    folder.mkdir()
    pushed = {**vars(SERVED), "uri": "gs://bucket/models/late/3", "format_version": 1}
    (folder / "pushed.json").write_text(json.dumps(pushed))
    return folder


def test_a_local_deploy_writes_the_manifest(version: Path, tmp_path: Path) -> None:
    found = deploy(DeployParameters(), version, tmp_path / "endpoint")
    written = tmp_path / "endpoint" / "inferenceservice.yaml"
    assert read_served(written) == SERVED
    assert json.loads((tmp_path / "endpoint" / "endpoint.json").read_text()) == found
    container = yaml.safe_load(written.read_text())["spec"]["predictor"]["containers"][0]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_manifest_is_what_the_crd_takes() -> None:
    files = [p for p in CRDS.rglob("*.yaml") if "inferenceservices" in p.read_text()[:20_000]]
    schemas = [
        entry["schema"]["openAPIV3Schema"]
        for file in files
        for document in yaml.safe_load_all(file.read_text())
        if isinstance(document, dict)
        and document.get("kind") == "CustomResourceDefinition"
        and document["spec"]["names"]["kind"] == "InferenceService"
        for entry in document["spec"]["versions"]
        if entry["name"] == "v1beta1"
    ]
    if not schemas:
        pytest.skip("KServe's CRDs are not beside the checkout")
    jsonschema.validate(manifest(), schemas[0])


def test_a_cluster_serves_the_version_it_was_given() -> None:
    with running(KubernetesDouble(ready_after=2)) as cluster:
        url = serve_version(manifest(), 5, api=cluster.client(), sleep=lambda _: None)
    assert url == "http://late.models.example.com"
    assert cluster.applied[0]["content-type"] == "application/apply-patch+yaml"
    assert "fieldManager=kfp-suite" in cluster.applied[0]["path"]


def test_the_old_revisions_ready_does_not_count() -> None:
    with running(KubernetesDouble(ready_after=0)) as cluster:
        serve_version(manifest(2), 5, api=cluster.client(), sleep=lambda _: None)
        cluster.ready_after = None
        with pytest.raises(EndpointError, match="does not serve the version in time"):
            serve_version(manifest(3), 0.2, api=cluster.client(), sleep=lambda _: None)


def test_an_endpoint_that_is_not_ready_says_why() -> None:
    slow = KubernetesDouble(ready_after=None, message="no such image")
    with running(slow) as cluster, pytest.raises(EndpointError) as caught:
        serve_version(manifest(), 0.2, api=cluster.client(), sleep=lambda _: None)
    assert str(caught.value) == (
        "InferenceService models/late: does not serve the version in time; "
        "got Ready:  no such image; expected ready within 0.2 s; "
        "kubectl describe inferenceservice late -n models"
    )


def test_a_cluster_that_refuses_is_one_line() -> None:
    with running(KubernetesDouble(refuse=403)) as cluster, pytest.raises(StoreError) as caught:
        serve_version(manifest(), 1, api=cluster.client(), sleep=lambda _: None)
    assert str(caught.value).startswith(
        "InferenceService models/late: the Kubernetes API refused: 403 Forbidden; got "
    )


def test_a_bad_target_and_a_bad_artifact_are_refused(version: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="target: not allowed; got moon; expected local or"):
        DeployParameters(target="moon")
    (version / "pushed.json").write_text("{}")
    with pytest.raises(ContractError, match="not what push writes"):
        deploy(DeployParameters(), version, tmp_path / "endpoint")
    assert not (tmp_path / "endpoint").exists()


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("kind: Pod\n")
    with pytest.raises(ContractError, match="not an InferenceService of a published version"):
        read_served(file)
