"""A promotion moves an endpoint in Standard mode: the graphs that ask it are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfp_suite.kserve.access import access
from kfp_suite.kserve.graph_addresses import ASKED_AT
from kfp_suite.kserve.graphs import inference_graph
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble
from tests.unit.deploy.conftest import on
from tests.unit.deploy.fleet import Fleet
from tests.unit.deploy.rolling import live, roll
from tests.unit.deploy.test_rollout_faults import Killed, killed_when, serves

_TOKEN = "roller"


@pytest.fixture(autouse=True)
def graphs(double: KubernetesDouble, served: Fleet) -> None:
    """One that asks the endpoint, in a node below its root, and one that does not."""
    below = {"routerType": "Sequence", "steps": [{"nodeName": "below"}]}
    for name, asked in (("asks", "wings"), ("other", "feet")):
        steps = [{"serviceName": asked}]
        nodes = {"root": below, "below": {"routerType": "Sequence", "steps": steps}}
        on(double).apply(inference_graph(name, "models", nodes, {}))


def told(double: KubernetesDouble, name: str) -> str:
    metadata = double.get("inferencegraphs", f"models/{name}")["metadata"]
    found: str = metadata.get("annotations", {}).get(ASKED_AT, "")
    return found


def let(double: KubernetesDouble, **more: Any) -> None:
    rules: Any = access("models", "roller", metrics=True, **more)[1]["rules"]
    double.allow_only(_TOKEN, rules, "models")


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_a_graph_is_told_where_a_promoted_version_is_asked(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    let(double, graphs=True)
    spec = double.get("inferencegraphs", "models/asks")["spec"]
    for version, service in (("2", "wings-blue-predictor"), ("1", "wings-green-predictor")):
        assert roll(models, double, tmp_path / version, version, token=_TOKEN).promoted
        assert (told(double, "asks"), told(double, "other")) == (service, "")
    assert double.get("inferencegraphs", "models/asks")["spec"] == spec


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_one_that_was_killed_is_made_up_for(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        roll(models, double, tmp_path, after=killed_when(serves(2)))
    assert told(double, "asks") == ""
    assert roll(models, double, tmp_path).promoted
    assert told(double, "asks") == "wings-blue-predictor"


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_who_may_not_says_what_to_do(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    let(double)
    assert roll(models, double, tmp_path, token=_TOKEN).promoted
    assert live(double).stable.version == 2
    assert told(double, "asks") == ""
    assert "graphs that ask wings may ask an address that is gone" in caplog.text
    assert "kfp-suite endpoints access --graphs" in caplog.text
    assert f"annotate inferencegraph NAME -n models --overwrite {ASKED_AT}=wings-blue" in (
        caplog.text
    )


@pytest.mark.parametrize("double", ["Knative"], indirect=True)
def test_in_knative_mode_an_endpoint_never_moves(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    assert roll(models, double, tmp_path).promoted
    assert told(double, "asks") == ""
