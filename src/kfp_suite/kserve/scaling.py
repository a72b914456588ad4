"""Replicas and autoscaling: the settings that each of KServe's modes honours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.errors import ParameterError

_STANDARD_CLASS = "serving.kserve.io/autoscalerClass"
_KNATIVE_CLASS = "autoscaling.knative.dev/class"
_OF_PODS = ("cpu", "memory")
_OF_REQUESTS = ("concurrency", "rps")


def check_scaling(manifest: Mapping[str, Any], mode: str) -> None:
    """Raises ParameterError if an InferenceService has settings that its mode does not honour.

    KServe refuses some of them and silently ignores others: in Standard mode a Horizontal Pod
    Autoscaler sees pods and not requests, and keeps at least one pod.

    Args:
        manifest: The InferenceService.
        mode: `Knative` or `Standard`.
    """
    annotations = manifest["metadata"].get("annotations", {})
    for component in ("predictor", "transformer"):
        side = manifest["spec"].get(component, {})
        if mode == "Knative":
            pods = annotations.get(_KNATIVE_CLASS, "").startswith("hpa.")
            _check_metric(side, mode, _OF_PODS if pods else _OF_REQUESTS)
        elif annotations.get(_STANDARD_CLASS, "hpa") == "hpa":
            _check_metric(side, mode, _OF_PODS)
            _check_autoscaler(side)


def _check_metric(side: Mapping[str, Any], mode: str, allowed: tuple[str, ...]) -> None:
    if side.get("scaleMetric", allowed[0]) not in allowed:
        raise ParameterError(
            f"not what {mode} mode scales by",
            where="settings.scale_metric",
            got=side["scaleMetric"],
            expected=" or ".join(allowed),
        )


def _check_autoscaler(side: Mapping[str, Any]) -> None:
    if side.get("minReplicas", 1) < 1:
        raise ParameterError(
            "only Knative scales to nothing",
            where="settings.min_replicas",
            got=side["minReplicas"],
            expected="1 or more in Standard mode",
        )
    target = side.get("scaleTarget")
    if side.get("scaleMetric") == "memory" and target is None:
        raise ParameterError(
            "memory has no usual target",
            where="settings.scale_target",
            got=0,
            expected="percent of the requested memory, 1 to 100",
        )
    if target is not None and not 1 <= target <= 100:
        raise ParameterError(
            "out of range",
            where="settings.scale_target",
            got=target,
            expected="percent of what is requested, 1 to 100, in Standard mode",
        )
