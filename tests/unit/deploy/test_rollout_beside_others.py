"""A rollout leaves alone what is not its own: other managers' fields, and no route behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.manifests import own_part
from kfp_suite.kserve.ownership import applied_part
from kfp_suite.kserve.waiting import roll_back
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble
from tests.unit.deploy.conftest import on
from tests.unit.deploy.fleet import Conduct, Fleet
from tests.unit.deploy.rolling import alone, roll

_ARGO = "argocd-controller"


def apply_as(double: KubernetesDouble, manager: str, metadata: Any, spec: Any) -> dict[str, Any]:
    """Server-side apply by another field manager."""
    found: dict[str, Any] = double.client().call_api(
        "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/wings",
        "PATCH",
        query_params=[("fieldManager", manager)],
        header_params={
            "Content-Type": "application/apply-patch+yaml",
            "Accept": "application/json",
        },
        body={
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "wings", "namespace": "models", **metadata},
            "spec": spec,
        },
        response_type="object",
        auth_settings=["BearerToken"],
        _return_http_data_only=True,
    )
    return found


@pytest.mark.parametrize("errors", [0.0, 0.3])
def test_what_others_applied_stays_theirs(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path, errors: float
) -> None:
    served.conduct["2"] = Conduct(errors=errors)
    given = {"labels": {"team": "birds"}, "annotations": {"argocd.io/tracking": "x"}}
    env = {"model": {"env": [{"name": "REGION", "value": "eu"}]}}
    apply_as(double, _ARGO, given, {"predictor": {"maxReplicas": 7, **env}})
    assert roll(models, double, tmp_path).promoted == (not errors)
    found = double.get("inferenceservices", "models/wings")
    assert found["metadata"]["labels"]["team"] == "birds"
    assert found["spec"]["predictor"]["maxReplicas"] == 7
    for entry in found["metadata"]["managedFields"]:
        if entry["manager"] == "kfp-suite":
            text = json.dumps(entry["fieldsV1"])
            assert not any(name in text for name in ("team", "tracking", "maxReplicas", "REGION"))
    # They can change a field, without a conflict, and take others away.
    found = apply_as(double, _ARGO, {}, {"predictor": {"maxReplicas": 9}})
    assert found["spec"]["predictor"]["maxReplicas"] == 9
    assert "team" not in found["metadata"]["labels"]
    assert "argocd.io/tracking" not in found["metadata"]["annotations"]
    assert "env" not in found["spec"]["predictor"]["model"]


def test_our_part_is_what_we_applied() -> None:
    service = {
        "apiVersion": "v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "a",
            "namespace": "b",
            "uid": "1",
            "labels": {"ours": "1", "theirs": "2"},
            "managedFields": [
                {"manager": "kfp-suite", "operation": "Update", "fieldsV1": {"f:status": {}}},
                {
                    "manager": "kfp-suite",
                    "operation": "Apply",
                    "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:ours": {}}},
                        "f:spec": {
                            "f:list": {'k:{"name":"y"}': {".": {}, "f:name": {}, "f:value": {}}},
                            "f:set": {"v:2": {}},
                            "f:whole": {},
                            "f:gone": {},
                        },
                    },
                },
            ],
        },
        "spec": {
            "list": [{"name": "x"}, {"name": "y", "value": 1, "more": 2}],
            "set": [1, 2],
            "whole": [{"name": "z"}],
            "theirs": {},
        },
        "status": {},
    }
    assert applied_part(service) == {
        "apiVersion": "v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "a", "namespace": "b", "labels": {"ours": "1"}},
        "spec": {
            "list": [{"name": "y", "value": 1}],
            "set": [2],
            "whole": [{"name": "z"}],
        },
    }
    del service["metadata"]["managedFields"]  # type: ignore[attr-defined]
    assert applied_part(service) == own_part(service)


def route_of(double: KubernetesDouble) -> bool:
    names = [one["metadata"]["name"] for one in double.objects("httproutes", "models")]
    return "wings-by-version" in names


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
@pytest.mark.parametrize("ended_by", ["a person", "a rollout", "a deployment"])
def test_no_route_by_header_stays_behind(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    ended_by: str,
) -> None:
    """It would lead to a Service that is gone."""
    roll(models, double, tmp_path / "half", steps=(10, 50), by_header=True)
    assert route_of(double)
    if ended_by == "a person":
        service = double.get("inferenceservices", "models/wings")
        roll_back(on(double), own_part(service), "Standard", 5)
    elif ended_by == "a rollout":
        assert roll(models, double, tmp_path / "whole").promoted
    else:
        pushed = tmp_path / "pushed"
        pushed.mkdir()
        said = {"store": models.store.uri, "model": "wings", "version": 1}
        (pushed / "pushed.json").write_text(json.dumps(said))
        parameters = DeployParameters(
            target="cluster", namespace="models", force=True, timeout_seconds=5
        )
        deploy(parameters, pushed, tmp_path / "deployed", cluster=on(double))
    assert not route_of(double)
    assert alone(double, models, 2 if ended_by == "a rollout" else 1)


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_who_may_not_touch_routes_may_roll_back(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    roll(models, double, tmp_path, steps=(10, 50))
    double.deny("delete", "httproutes")
    cluster: Cluster = on(double)
    roll_back(cluster, own_part(cluster.get("wings", "models")), "Standard", 5)
    assert alone(double, models, 1)
