"""What a canary would lose, or inherit, is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kserve.candidates import check_nothing_dropped, check_nothing_inherited
from kfp_suite.kserve.manifests import Served, inference_service
from kfp_suite.kserve.settings import parse_settings

RICH: dict[str, Any] = {
    "node_selector": {"disk": "ssd", "zone": "a"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "env": {"REGION": "eu"},
    "batcher": {"max_batch_size": 8},
    "timeout": 30,
    "min_replicas": 2,
    "max_replicas": 4,
}


def manifest(version: int, **settings: Any) -> dict[str, Any]:
    served = Served(
        "wings", "wings", version, "d", f"m{version}", "gs://b/s", f"gs://b/s/{version}"
    )
    return inference_service(served, namespace="models", settings=parse_settings(settings))


def predictor(version: int, **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = manifest(version, **settings)["spec"]["predictor"]
    return found


def test_other_values_are_a_candidates_own() -> None:
    other = {
        "node_selector": {"disk": "hdd", "zone": "b"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "env": {"SIZE": "2"},
        "batcher": {"max_batch_size": 16},
        "timeout": 60,
    }
    check_nothing_inherited(predictor(1, **RICH), predictor(2, **other))
    check_nothing_inherited(predictor(1), predictor(2, **RICH))


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("node_selector", "without nodeSelector, which"),
        ("tolerations", "without tolerations, which"),
        ("env", r"without model\.env, which"),
        ("batcher", "without batcher, which"),
        ("timeout", "without timeout, which"),
    ],
)
def test_what_a_candidate_leaves_out_it_would_inherit(left_out: str, told: str) -> None:
    less = {key: value for key, value in RICH.items() if key != left_out}
    with pytest.raises(ParameterError, match=told):
        check_nothing_inherited(predictor(1, **RICH), predictor(2, **less))


def test_a_label_of_a_node_too_few_is_told() -> None:
    with pytest.raises(ParameterError, match=r"without nodeSelector\.zone, which"):
        check_nothing_inherited(
            predictor(1, **RICH), predictor(2, **{**RICH, "node_selector": {"disk": "ssd"}})
        )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"labels": {"team": "birds"}}, r"metadata\.labels\.team, which"),
        ({"annotations": {"owner": "me"}}, r"metadata\.annotations\.owner, which"),
        ({"overlay": {"spec": {"explainer": {"art": {"type": "x"}}}}}, r"spec\.explainer"),
        ({"overlay": {"metadata": {"finalizers": ["x"]}}}, r"metadata\.finalizers, which"),
        ({"deployment_mode": "Knative"}, "deploymentMode, which"),
    ],
)
def test_more_than_a_predictor_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        check_nothing_dropped(manifest(1), manifest(2, **settings), "Standard")
    check_nothing_dropped(manifest(1, **settings), manifest(2, **settings), "Standard")
    check_nothing_dropped(manifest(1, **settings), manifest(2), "Standard")


def test_a_predictor_is_no_more_and_the_mode_it_runs_in_is_no_other() -> None:
    overlay = {"spec": {"predictor": {"hostNetwork": True}}}
    wanted = manifest(2, overlay=overlay, deployment_mode="Standard", **RICH)
    check_nothing_dropped(manifest(1), wanted, "Standard")
