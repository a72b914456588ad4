"""Rollouts on a KServe that does not split requests, as 0.20 in Standard mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve import traffic_split
from kfp_suite.kserve.access import access
from kfp_suite.kserve.traffic_split import split_route
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS
from tests.unit.deploy.fleet import Fleet
from tests.unit.deploy.rolling import alone, roll

_TOKEN = "roller"


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesDouble]:
    monkeypatch.setattr(traffic_split, "_MAX_ROUTING_SECONDS", 0.1)
    with running(KubernetesDouble(crds=CRDS, mode="Standard", splits=False)) as found:
        yield found


def routes(double: KubernetesDouble) -> set[str]:
    return {route["metadata"]["name"] for route in double.objects("httproutes", "models")}


def test_a_route_of_ours_splits_until_the_version_is_promoted(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    rules = access("models", "roller", metrics=True, by_header=True)[1]["rules"]
    double.allow_only(_TOKEN, rules, "models")
    outcome = roll(models, double, tmp_path / "half", steps=(10, 50), token=_TOKEN)
    assert [step.answered > 0 for step in outcome.steps] == [True, True]
    ours = double.get("httproutes", "models/wings-by-share")
    kserves = double.get("httproutes", "models/wings")
    assert ours["spec"]["hostnames"] == kserves["spec"]["hostnames"]
    (rule,) = ours["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "RegularExpression", "value": "^(/.*)$"}}]
    weights = {one["name"]: one["weight"] for one in rule["backendRefs"]}
    assert weights == {"wings-predictor": 50, "wings-blue-predictor": 50}
    outcome = roll(models, double, tmp_path / "whole", token=_TOKEN)
    assert outcome.promoted, outcome.why
    assert alone(double, models, 2)
    assert routes(double) == {"wings"}


def test_a_version_that_fails_is_rolled_back_without_a_route_left(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    served.silent_after = 0
    outcome = roll(models, double, tmp_path, step_seconds=0.3)
    assert not outcome.promoted
    assert alone(double, models, 1)
    assert routes(double) == {"wings"}


def test_a_header_chooses_before_the_shares_do(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    roll(models, double, tmp_path, steps=(10, 50), by_header=True)
    by_share = double.get("httproutes", "models/wings-by-share")["spec"]["rules"]
    by_header = double.get("httproutes", "models/wings-by-version")["spec"]["rules"]
    assert {rule["matches"][0]["path"]["value"] for rule in (*by_share, *by_header)} == {"^(/.*)$"}
    assert {rule["backendRefs"][0]["name"] for rule in by_header} == {
        "wings-predictor",
        "wings-blue-predictor",
    }


def test_another_kind_of_path_is_refused() -> None:
    service: dict[str, Any] = {
        "metadata": {"name": "wings", "namespace": "models", "uid": "1"},
        "spec": {"canary": [{"trafficPercent": 10}]},
    }
    path = {"type": "PathPrefix", "value": "/"}
    rule = {"matches": [{"path": path}], "backendRefs": [{"name": "a", "port": 80}]}
    with pytest.raises(EndpointError, match="KServe does not split requests, and no route of ours"):
        split_route(service, {"spec": {"rules": [rule]}}, ("a", "b"))
