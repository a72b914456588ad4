"""Checks that a candidate can be a canary.

A canary is a predictor, and in Standard mode KServe merges it over the stable one
(`buildCanaryPredictor`), so that it inherits every field that it leaves out. Settings that would
be lost silently, or tested and then replaced by others, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kserve.canary import Mode
from kfp_suite.kserve.manifests import DEPLOYMENT_MODE, PREFIX, SCALING

# Of a side, and not of its pods.
_BESIDE = (*SCALING, "name", "canaryTrafficPercent", "topologySpreadConstraints")
# Of the endpoint, which a rollout does not move.
_SAME = ("name", "namespace")


def check_nothing_inherited(stable: Mapping[str, Any], candidate: Mapping[str, Any]) -> None:
    """Raises ParameterError if the pods of a canary in Standard mode would differ from the
    candidate's.

    Args:
        stable: The predictor that serves, as it was applied.
        candidate: The predictor beside it.
    """
    before = {key: value for key, value in stable.items() if key not in _BESIDE}
    left = list(_left_out(before, candidate))
    if left:
        raise ParameterError(
            "in Standard mode a candidate inherits what it leaves out",
            where="settings",
            got=f"without {', '.join(left)}, which the version that serves has",
            expected="the same settings, with other values: what is judged is what is promoted",
            fix="name them, or deploy the version instead of rolling it out",
        )


def check_nothing_dropped(live: Mapping[str, Any], wanted: Mapping[str, Any], mode: Mode) -> None:
    """Raises ParameterError if a candidate has more than a predictor.

    Args:
        live: The InferenceService that serves, as it was applied.
        wanted: The one of the candidate alone.
        mode: How KServe runs it.
    """
    metadata = {key: v for key, v in wanted["metadata"].items() if key not in _SAME}
    spec = {key: value for key, value in wanted["spec"].items() if key != "predictor"}
    here = {"metadata": dict(live["metadata"]), "spec": live["spec"]}
    # The mode of a live endpoint does not change, with or without the annotation.
    said = {DEPLOYMENT_MODE: mode, **here["metadata"].get("annotations", {})}
    here["metadata"]["annotations"] = said
    lost = list(_not_in({"metadata": metadata, "spec": spec}, here))
    if lost:
        raise ParameterError(
            "a rollout changes the predictor alone",
            where="settings",
            got=f"{', '.join(lost)}, which the endpoint does not have",
            expected="labels, annotations and an overlay that are there already",
            fix="deploy the version that serves with these settings first, or leave them out",
        )


def _left_out(stable: Mapping[str, Any], side: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for key, value in stable.items():
        own = side.get(key)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            yield from _left_out(value, own, f"{at}{key}.")
        elif value and not own and not key.startswith(f"{PREFIX}/"):
            yield f"{at}{key}"


def _not_in(wanted: Mapping[str, Any], live: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for key, value in wanted.items():
        own = live.get(key)
        if isinstance(value, Mapping) and isinstance(own or {}, Mapping):
            yield from _not_in(value, own or {}, f"{at}{key}.")
        elif value != own and not key.startswith(f"{PREFIX}/"):
            yield f"{at}{key}"
