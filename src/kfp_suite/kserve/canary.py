"""The two canary APIs of KServe as functions from manifest to manifest.

Knative mode: `predictor.canaryTrafficPercent` splits between the revision that was rolled
out last and the newest. Standard mode silently ignores it (kserve#4074, #5335); from 0.20 it
has `spec.canary[]`, a predictor beside the stable one, named, with its share.

Every function takes the live manifest and returns the next one to apply; none changes its
argument, and applying the result twice changes nothing.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kfp_suite.contracts.errors import AlreadyExistsError, ContractError, ParameterError
from kfp_suite.kserve.manifests import (
    DEPLOYMENT_MODE,
    PREFIX,
    SCALING,
    Served,
    served_by,
)

Mode = Literal["Knative", "Standard"]
STABLE = f"{PREFIX}/stable-predictor"
"""Of a candidate's predictor, and of one that was promoted: the predictor that it takes the
place of. There, because what an InferenceService itself is annotated with reaches all its pods."""
SHADOW = f"{PREFIX}/shadow"
"""Of a candidate without a share: percent of the requests that it gets copies of. KServe knows
nothing of it; `kfp-suite serve` does."""
_PERCENT = "canaryTrafficPercent"
_BESIDE_THE_VERSION = (STABLE, SHADOW)
# In Standard mode a predictor that is promoted keeps its name, so its Deployment: the next
# candidate takes the other.
_NAMES = ("blue", "green")


@dataclass(frozen=True)
class Split:
    """The versions in service: the stable one, and the candidate, if there is one, with its share
    of the requests or of copies of them (`shadow`, in percent)."""

    stable: Served
    candidate: Served | None = None
    percent: int = 0
    shadow: int = 0


def mode_of(text: str) -> Mode:
    """KServe's mode by any of its names, old ones too."""
    return "Knative" if text in ("Knative", "Serverless") else "Standard"


def split_of(manifest: Mapping[str, Any]) -> Split:
    """The versions in service, read from a manifest.

    Raises:
        ContractError: it is not one that the suite made.
    """
    where = f"InferenceService {manifest['metadata']['name']}"
    predictor, side = manifest["spec"]["predictor"], candidate_side(manifest)
    if side is None:
        return Split(served_by(manifest, predictor, where))
    candidate = served_by(manifest, side, where)
    if canaries := manifest["spec"].get("canary"):
        shadow = int(side.get("annotations", {}).get(SHADOW, 0))
        percent = int(canaries[0]["trafficPercent"])
        return Split(served_by(manifest, predictor, where), candidate, percent, shadow)
    before = _replaced(predictor) or {}
    return Split(served_by(manifest, before, where), candidate, int(predictor[_PERCENT]))


def candidate_side(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The predictor of the candidate, None if there is none."""
    if canaries := manifest["spec"].get("canary"):
        side: Mapping[str, Any] = canaries[0]["predictor"]
        return side
    predictor: Mapping[str, Any] = manifest["spec"]["predictor"]
    known = _PERCENT in predictor and STABLE in predictor.get("annotations", {})
    return predictor if known else None


def shares_of(manifest: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], int]]:
    """The predictors of a manifest, the stable one first, and percent of the requests of each."""
    predictor, side = manifest["spec"]["predictor"], candidate_side(manifest)
    if side is None:
        return [(predictor, 100)]
    if canaries := manifest["spec"].get("canary"):
        percent = int(canaries[0]["trafficPercent"])
        return [(predictor, 100 - percent), (side, percent)]
    percent = int(side[_PERCENT])
    return [(_replaced(side) or {}, 100 - percent), (side, percent)]


def settled(manifest: Mapping[str, Any]) -> bool:
    """Whether one version serves, with no candidate and no rollback that was left half done."""
    spec = manifest["spec"]
    return not spec.get("canary") and _PERCENT not in spec["predictor"]


def with_candidate(
    manifest: Mapping[str, Any], candidate: Mapping[str, Any], percent: int, mode: Mode
) -> dict[str, Any]:
    """`manifest` with a candidate that gets `percent` of the requests.

    Args:
        manifest: The live one: with another candidate, with this one, or with none.
        candidate: Its predictor.
        percent: Of the requests, 0 to 100.
        mode: How the cluster runs the endpoint.

    Raises:
        ParameterError: in Standard mode the stable predictor may have no server at all.
    """
    found = without_candidate(manifest, mode)
    spec = found["spec"]
    side, stable = copy.deepcopy(dict(candidate)), spec["predictor"]
    side.setdefault("annotations", {})[STABLE] = _kept(stable)
    if mode == "Knative":
        spec["predictor"] = {**side, _PERCENT: percent}
        return found
    # No autoscaling here: KServe sizes a canary by its share of the stable predictor's least.
    side = {key: value for key, value in side.items() if key not in SCALING}
    servers = _servers(stable, max(1, percent))
    if percent == 0:
        side["minReplicas"] = servers
    side["name"] = _NAMES[1] if stable.get("name") == _NAMES[0] else _NAMES[0]
    # The CRD requires it here, and not in the stable predictor.
    side["model"] = {"name": "kserve-container", **side["model"]}
    spec["canary"] = [{"trafficPercent": percent, "predictor": side}]
    return found


def promoted(
    manifest: Mapping[str, Any], candidate: Mapping[str, Any], mode: Mode
) -> dict[str, Any]:
    """`manifest` with its candidate as the stable version; without one, unchanged.

    Args:
        manifest: The live one.
        candidate: The candidate's predictor, with its scaling.
        mode: How the cluster runs the endpoint.
    """
    found = copy.deepcopy(dict(manifest))
    live = candidate_side(found)
    if live is None:
        return found
    spec, side = found["spec"], copy.deepcopy(dict(candidate))
    if mode == "Standard":
        del spec["canary"]
        # The CRD requires the container's name in a canary; elsewhere KServe refuses it.
        model = {key: value for key, value in live["model"].items() if key != "name"}
        side |= {"name": live["name"], "model": model}
    # The version before stays in its annotation, in case this one has to go back; and taking it
    # away would start every server anew.
    if before := live["annotations"].get(STABLE):
        side.setdefault("annotations", {})[STABLE] = before
    spec["predictor"] = side
    found["metadata"].setdefault("annotations", {}).update(_versions(side))
    return found


def silenced(manifest: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """`manifest` whose candidate gets no requests, to apply before the candidate is removed.

    In Standard mode this ensures that no request is on its way to a server that ends. In Knative
    mode the stable predictor becomes a new revision; until it is ready, the newest ready one would
    be the candidate, so the revision before both has to serve.
    """
    if mode == "Knative":
        found = without_candidate(manifest, mode)
        found["spec"]["predictor"][_PERCENT] = 0
        return found
    found = copy.deepcopy(dict(manifest))
    for side in found["spec"].get("canary", ()):
        servers = _servers(found["spec"]["predictor"], side["trafficPercent"])
        side["predictor"].setdefault("minReplicas", servers)
        side["trafficPercent"] = 0
    return found


def without_candidate(manifest: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """`manifest` with the stable version alone: as it was before a candidate."""
    found = copy.deepcopy(dict(manifest))
    spec, annotations = found["spec"], found["metadata"].setdefault("annotations", {})
    spec.pop("canary", None)
    if mode == "Knative" and spec["predictor"].pop(_PERCENT, None) is not None:
        spec["predictor"] = _replaced(spec["predictor"]) or spec["predictor"]
    annotations.update(_versions(spec["predictor"]))
    return found


def version_before(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """`manifest` with the version that its own was promoted in the place of; None if it was
    not promoted by a rollout."""
    before = _replaced(manifest["spec"]["predictor"])
    if before is None:
        return None
    found = replacing({**manifest, "spec": {**manifest["spec"], "predictor": before}}, manifest)
    found["metadata"].setdefault("annotations", {}).update(_versions(before))
    return found


def check_no_candidate(live: Mapping[str, Any] | None) -> None:
    """Raises AlreadyExistsError if the live manifest has a candidate: a deployment would end a
    rollout in progress."""
    split = split_of(live) if live is not None else None
    if split is not None and split.candidate is not None:
        raise AlreadyExistsError(
            "a rollout is under way",
            where=split.stable.name,
            got=f"version {split.candidate.version} at {split.percent} %",
            fix="let it end, or roll it back: kfp-suite endpoints rollback; force, of a "
            "pipeline that trains deploy_force, ends it",
        )


def replacing(manifest: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
    """`manifest` with the predictor name of the live one, since KServe ends the servers of a name
    that is gone before those of a new name serve."""
    found = copy.deepcopy(dict(manifest))
    name = live["spec"]["predictor"].get("name") if live is not None else None
    if name:
        found["spec"]["predictor"]["name"] = name
    return found


def check_mode(wanted: str, mode: Mode) -> None:
    """Raises ParameterError if an endpoint is wanted in another mode than it runs in: KServe
    does not change it."""
    if wanted and mode_of(wanted) != mode:
        raise ParameterError(
            "the endpoint runs in another mode, which KServe does not change",
            where="settings.deployment_mode",
            got=wanted,
            expected=mode,
            fix="leave it out, or delete the endpoint first",
        )


def with_mode(manifest: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """`manifest` with the annotation of its mode in Standard mode, which KServe's canaries need.

    Raises:
        ParameterError: it has the annotation of another mode.
    """
    check_mode(manifest["metadata"].get("annotations", {}).get(DEPLOYMENT_MODE, ""), mode)
    found = copy.deepcopy(dict(manifest))
    if mode == "Standard":
        found["metadata"].setdefault("annotations", {})[DEPLOYMENT_MODE] = mode
    return found


def _servers(stable: Mapping[str, Any], percent: int) -> int:
    """How many servers KServe gives a canary; of a share of nothing, none."""
    least = int(stable.get("minReplicas", 1))
    if least == 0:
        raise ParameterError(
            "an endpoint that scales to nothing has no servers for a canary",
            where="min_replicas",
            got=0,
            expected="at least 1 in Standard mode",
            fix="deploy the version that serves with min_replicas 1 first",
        )
    return math.ceil(least * percent / 100)


def _versions(predictor: Mapping[str, Any]) -> dict[str, str]:
    annotations = predictor.get("annotations", {})
    return {
        key: value
        for key, value in annotations.items()
        if key.startswith(f"{PREFIX}/") and key not in _BESIDE_THE_VERSION
    }


def _kept(predictor: Mapping[str, Any]) -> str:
    """A predictor as it is kept in an annotation, without the annotation that it has itself."""
    annotations = {k: v for k, v in predictor.get("annotations", {}).items() if k != STABLE}
    return json.dumps({**predictor, "annotations": annotations}, sort_keys=True)


def _replaced(predictor: Mapping[str, Any]) -> dict[str, Any] | None:
    """The predictor that this one takes the place of."""
    text = predictor.get("annotations", {}).get(STABLE)
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
