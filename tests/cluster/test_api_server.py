"""What an API server does with our manifests: nothing here needs KServe's controller."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client

from kfp_suite.contracts.errors import AlreadyExistsError, MissingError, StoreError
from kfp_suite.kserve.canary import (
    Mode,
    promoted,
    silenced,
    split_of,
    with_candidate,
    with_mode,
    without_candidate,
)
from kfp_suite.kserve.cluster import GRAPHS, RUNTIMES, SERVICES, Cluster
from kfp_suite.kserve.manifests import (
    Served,
    inference_service,
    serving_runtime,
)
from kfp_suite.kserve.multi_model import shared_service
from kfp_suite.kserve.pods import served_securely, volumes
from kfp_suite.kserve.settings import parse_settings
from tests.cluster.conftest import NAMESPACE

pytestmark = pytest.mark.entry("what the API server does with the suite's manifests")


def served(version: int = 3) -> Served:
    uri = f"gs://bucket/models/late/{version}/model-12345678"
    return Served(
        name="late",
        model="late",
        version=version,
        digest="sha256:1",
        manifest_digest="sha256:2",
        store="gs://bucket/models",
        model_uri=uri,
        storage_uri=uri,
    )


def manifest(version: int = 3, **settings: Any) -> dict[str, Any]:
    return inference_service(
        served(version), namespace=NAMESPACE, settings=parse_settings(settings)
    )


def edit(api: Any, patch: dict[str, Any]) -> None:
    """What a person does with kubectl edit."""
    group, version, plural = SERVICES
    client.CustomObjectsApi(api).patch_namespaced_custom_object(
        group, version, NAMESPACE, plural, "late", patch, field_manager="kubectl-edit"
    )


def test_apply_creates_and_applying_again_changes_nothing(cluster: Cluster) -> None:
    first = cluster.apply(manifest())
    again = cluster.apply(manifest())
    assert first["metadata"]["generation"] == again["metadata"]["generation"] == 1
    assert again["spec"] == first["spec"]
    changed = cluster.apply(manifest(4))
    assert changed["metadata"]["generation"] == 2
    assert "late" in [one["metadata"]["name"] for one in cluster.services(NAMESPACE)]


def test_a_persons_own_edits_survive(cluster: Cluster, api: Any) -> None:
    cluster.apply(manifest())
    patch = {
        "metadata": {"labels": {"team": "birds"}},
        "spec": {"predictor": {"containerConcurrency": 7}},
    }
    edit(api, patch)
    after = cluster.apply(manifest(4))
    assert after["metadata"]["labels"]["team"] == "birds"
    assert after["spec"]["predictor"]["containerConcurrency"] == 7
    assert split_of(after).stable.version == 4


def test_a_conflict_names_field_and_manager_and_force_takes_it(cluster: Cluster, api: Any) -> None:
    cluster.apply(manifest())
    edit(api, {"spec": {"predictor": {"minReplicas": 5}}})
    with pytest.raises(AlreadyExistsError) as caught:
        cluster.apply(manifest(4, min_replicas=2))
    assert 'conflict with "kubectl-edit"' in str(caught.value)
    assert ".spec.predictor.minReplicas" in str(caught.value)
    assert str(caught.value).endswith("of a pipeline that trains: deploy_force")
    after = cluster.apply(manifest(4, min_replicas=2), force=True)
    assert after["spec"]["predictor"]["minReplicas"] == 2


def test_what_we_no_longer_say_is_removed(cluster: Cluster) -> None:
    cluster.apply(manifest(3, timeout=30))
    after = cluster.apply(manifest(3))
    assert "timeout" not in after["spec"]["predictor"]


def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    planned = cluster.apply(manifest(), dry_run=True)
    assert planned["spec"]["predictor"]["model"]["storageUri"].endswith("late/3/model-12345678")
    assert cluster.find("late", NAMESPACE) is None


def test_a_manifest_that_the_crd_does_not_take_is_one_line(cluster: Cluster) -> None:
    bad = manifest(3, overlay={"spec": {"predictor": {"minReplicas": "many"}}})
    with pytest.raises(StoreError, match="does not take the manifest"):
        cluster.apply(bad)


SETTINGS: dict[str, Any] = {
    "service_account": "reader",
    "min_replicas": 1,
    "max_replicas": 4,
    "timeout": 20,
    "batcher": {"max_batch_size": 8},
    "logger": {"url": "http://logs"},
    "requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 1},
    "limits": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": 1},
    "node_selector": {"disk": "ssd"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                ]
            }
        }
    },
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "priority_class": "important",
    "env": {"REGION": "north", "API_KEY": {"secret": "keys", "key": "api"}},
    "labels": {"team": "birds"},
    "image": "registry.example.com/server:1",
    "transformer_image": "registry.example.com/transformer:1",
}
SCALING = {
    "Standard": {"scale_metric": "memory", "scale_target": 70},
    "Knative": {"scale_metric": "rps", "scale_target": 50, "min_replicas": 0},
}


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
@pytest.mark.parametrize("runtime", ["kfp-suite", "sklearn"])
def test_every_setting_is_what_the_crd_takes(cluster: Cluster, runtime: str, mode: str) -> None:
    settings = parse_settings({**SETTINGS, **SCALING[mode], "deployment_mode": mode})
    one = replace(served(), runtime=runtime)
    made = inference_service(one, namespace=NAMESPACE, settings=settings, mode=mode)
    found = cluster.apply(made)["spec"]
    assert set(found) == {"predictor", *(["transformer"] if runtime == "sklearn" else [])}
    for name, side in found.items():
        assert side == {**side, **_pruned(made["spec"][name])}, "the CRD knows every field"
        assert side["serviceAccountName"] == "reader"
        assert side["nodeSelector"] == {"disk": "ssd"}
        assert side["affinity"] == SETTINGS["affinity"]
        assert side["tolerations"] == SETTINGS["tolerations"]
        assert side["priorityClassName"] == "important"
        assert (side["maxReplicas"], side["timeout"]) == (4, 20)
        assert side["minReplicas"] == (0 if mode == "Knative" else 1)
        assert side["scaleMetric"] == SCALING[mode]["scale_metric"]
    predictor = found["predictor"]
    assert predictor["batcher"]["maxBatchSize"] == 8
    assert predictor["logger"]["url"] == "http://logs"
    model = predictor["model"]
    assert model["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert model["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "keys", "key": "api"}


def _pruned(side: dict[str, Any]) -> dict[str, Any]:
    """What the API server does not fill in."""
    return {key: value for key, value in side.items() if key not in ("model", "containers")}


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_the_server_many_models_share_is_what_the_crd_takes(cluster: Cluster, mode: Mode) -> None:
    settings = parse_settings({**SETTINGS, **SCALING[mode], "shared": "late"})
    found = cluster.apply(with_mode(shared_service(served(), NAMESPACE, settings, mode), mode))
    side = found["spec"]["predictor"]
    assert side["serviceAccountName"] == "reader"
    assert side["affinity"] == SETTINGS["affinity"]
    assert (side["maxReplicas"], side["timeout"]) == (4, 20)
    assert side["scaleMetric"] == SCALING[mode]["scale_metric"]
    assert side["logger"]["url"] == "http://logs"
    assert side["model"]["env"][1] == {"name": "REGION", "value": "north"}
    assert found["metadata"]["labels"]["team"] == "birds"


def test_a_serving_runtime_is_what_the_crd_takes(cluster: Cluster) -> None:
    runtime = serving_runtime("server:1", NAMESPACE)
    found = cluster.apply(runtime)
    container = found["spec"]["containers"][0]
    assert container == {**container, **served_securely()}, "the CRD knows every field"
    assert found["spec"]["volumes"] == volumes()
    cluster.delete(runtime["metadata"]["name"], NAMESPACE, RUNTIMES)


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_a_canary_comes_and_goes_as_the_crd_takes_it(cluster: Cluster, mode: Any) -> None:
    live = with_mode(manifest(3, max_replicas=4), mode)
    side = manifest(4, max_replicas=2)["spec"]["predictor"]
    cluster.apply(live)
    with_one = cluster.apply(with_candidate(live, side, 10, mode))
    split = split_of(with_one)
    assert (split.stable.version, split.percent) == (3, 10)
    assert split.candidate is not None
    assert split.candidate.version == 4
    silent = cluster.apply(silenced(with_candidate(live, side, 10, mode), mode))
    assert split_of(silent).percent == 0
    back = cluster.apply(without_candidate(with_candidate(live, side, 10, mode), mode))
    assert split_of(back) == split_of(live)
    up = cluster.apply(promoted(with_candidate(live, side, 50, mode), side, mode))
    assert split_of(up).stable.version == 4
    assert split_of(up).candidate is None
    assert up["spec"]["predictor"]["maxReplicas"] == 2
    assert "canaryTrafficPercent" not in up["spec"]["predictor"]


def test_an_inference_graph_is_what_the_crd_takes(cluster: Cluster) -> None:
    steps = [{"serviceName": "late", "name": "first"}, {"serviceName": "next", "data": "$response"}]
    graph = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": "chain", "namespace": NAMESPACE},
        "spec": {"nodes": {"root": {"routerType": "Sequence", "steps": steps}}},
    }
    assert cluster.apply(graph)["spec"]["nodes"]["root"]["steps"][1]["data"] == "$response"
    cluster.delete("chain", NAMESPACE, GRAPHS)


def test_what_is_not_there_is_said_so(cluster: Cluster) -> None:
    with pytest.raises(MissingError, match=r'inferenceservices.*"nobody" not found'):
        cluster.get("nobody", NAMESPACE)
