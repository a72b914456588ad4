"""The two canary APIs of KServe as functions from manifest to manifest.

Knative mode: `predictor.canaryTrafficPercent` splits between the revision that was rolled
out last and the newest. Standard mode ignores that without a word (kserve#4074, #5335); from
0.20 it has `spec.canary[]`, a predictor beside the stable one, named, with its share.

Every function takes what is live and gives what to apply next; none changes its argument,
and applying the same twice changes nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kfp_suite.components.contracts.errors import ContractError
from kfp_suite.components.kserve.manifests import (
    DEPLOYMENT_MODE,
    PREFIX,
    Served,
    served_by,
)

Mode = Literal["Knative", "Standard"]
STABLE = f"{PREFIX}/stable-predictor"
_PERCENT = "canaryTrafficPercent"
# No autoscaling in a canary of Standard mode: its size is fixed.
_SCALING = ("maxReplicas", "scaleMetric", "scaleTarget", "scaleMetricType", "autoScaling")


@dataclass(frozen=True)
class Split:
    """Who serves: the stable version, and a candidate with its share, if there is one."""

    stable: Served
    candidate: Served | None = None
    percent: int = 0


def mode_of(text: str) -> Mode:
    """KServe's mode by any of its names, old ones too."""
    return "Knative" if text in ("Knative", "Serverless") else "Standard"


def split_of(manifest: Mapping[str, Any]) -> Split:
    """Who serves, by a manifest.

    Raises:
        ContractError: it is not one that the suite made.
    """
    where = f"InferenceService {manifest['metadata']['name']}"
    predictor = manifest["spec"]["predictor"]
    if canaries := manifest["spec"].get("canary"):
        side = canaries[0]
        candidate = served_by(manifest, side["predictor"], where)
        return Split(served_by(manifest, predictor, where), candidate, int(side["trafficPercent"]))
    before = _stable_predictor(manifest)
    if before is None:
        return Split(served_by(manifest, predictor, where))
    return Split(
        served_by(manifest, before, where),
        served_by(manifest, predictor, where),
        int(predictor.get(_PERCENT, 100)),
    )


def with_candidate(
    manifest: Mapping[str, Any], candidate: Mapping[str, Any], percent: int, mode: Mode
) -> dict[str, Any]:
    """`manifest` with a candidate that gets `percent` of the requests.

    Args:
        manifest: What is live: with another candidate, with this one, or with none.
        candidate: Its predictor.
        percent: Of the requests, 0 to 100.
        mode: How the cluster runs the endpoint.
    """
    found = without_candidate(manifest, mode)
    spec = found["spec"]
    if mode == "Standard":
        side = {k: v for k, v in copy.deepcopy(dict(candidate)).items() if k not in _SCALING}
        side["name"] = candidate_name(candidate)
        # The CRD asks for it here, and not in the stable predictor.
        side["model"] = {"name": "kserve-container", **side["model"]}
        spec["canary"] = [{"trafficPercent": percent, "predictor": side}]
        return found
    stable = spec["predictor"]
    found["metadata"].setdefault("annotations", {})[STABLE] = json.dumps(stable, sort_keys=True)
    spec["predictor"] = {**copy.deepcopy(dict(candidate)), _PERCENT: percent}
    return found


def candidate_name(predictor: Mapping[str, Any]) -> str:
    """The name of a predictor in Standard mode: one a version, so that promoting it keeps
    its servers running."""
    return f"v{predictor['annotations'][f'{PREFIX}/version']}"


def promoted(manifest: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """`manifest` with its candidate as the stable version; without one, as it is."""
    found = copy.deepcopy(dict(manifest))
    spec, annotations = found["spec"], found["metadata"].setdefault("annotations", {})
    if mode == "Standard" and spec.get("canary"):
        scaling = {k: v for k, v in spec["predictor"].items() if k in _SCALING}
        spec["predictor"] = {**scaling, **spec.pop("canary")[0]["predictor"]}
    elif mode == "Knative" and STABLE in annotations:
        spec["predictor"].pop(_PERCENT, None)
        del annotations[STABLE]
    annotations.update(_versions(spec["predictor"]))
    return found


def silenced(manifest: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """`manifest` whose candidate gets no request: at once, before it is taken away."""
    found = copy.deepcopy(dict(manifest))
    if mode == "Knative" and STABLE in found["metadata"].get("annotations", {}):
        found["spec"]["predictor"][_PERCENT] = 0
    elif found["spec"].get("canary"):
        found["spec"]["canary"][0]["trafficPercent"] = 0
    return found


def without_candidate(manifest: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """`manifest` with the stable version alone: as it was before a candidate."""
    found = copy.deepcopy(dict(manifest))
    spec, annotations = found["spec"], found["metadata"].setdefault("annotations", {})
    spec.pop("canary", None)
    before = _stable_predictor(found)
    if before is not None and mode == "Knative":
        spec["predictor"] = before
        del annotations[STABLE]
    spec["predictor"].pop(_PERCENT, None)
    annotations.update(_versions(spec["predictor"]))
    return found


def with_mode(manifest: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """`manifest` that says its mode itself."""
    found = copy.deepcopy(dict(manifest))
    found["metadata"].setdefault("annotations", {})[DEPLOYMENT_MODE] = mode
    return found


def _versions(predictor: Mapping[str, Any]) -> dict[str, str]:
    annotations = predictor.get("annotations", {})
    return {key: value for key, value in annotations.items() if key.startswith(f"{PREFIX}/")}


def _stable_predictor(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    text = manifest["metadata"].get("annotations", {}).get(STABLE)
    if text is None:
        return None
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ContractError(
            "the stable version cannot be read",
            where=f"annotation {STABLE}",
            got=text,
            fix="deploy the version that should serve",
        ) from error
    return found
