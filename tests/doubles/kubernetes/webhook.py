"""What KServe's own webhooks write into an InferenceService, and what they refuse of one, or
of an InferenceGraph.

And what Knative refuses of the pods that KServe asks it for: there, KServe's controller tries
for ever; here it is said at once.
"""

from __future__ import annotations

import re
from typing import Any

from kfp_suite.testing.kubernetes.answers import Refusal
from kfp_suite.testing.kubernetes.kinds import Json

MODE = "serving.kserve.io/deploymentMode"
_NAME = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WEBHOOK = "inferenceservice.kserve-webhook-server.validator"
_GRAPH_WEBHOOK = "inferencegraph.kserve-webhook-server.validator"
_KNATIVE_WEBHOOK = "validation.webhook.serving.knative.dev"
_FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
    "model",
)
_FIXED = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")
_CLASS = "serving.kserve.io/autoscalerClass"
_CLASSES = ("hpa", "external", "keda", "none")
_KNATIVE_CLASS = "autoscaling.knative.dev/class"


def mode_named(text: str) -> str:
    """A deployment mode by its present name."""
    return {"RawDeployment": "Standard", "Serverless": "Knative"}.get(text, text)


def default(service: Json, mode: str) -> None:
    """Write KServe's default mode into an InferenceService, where that is Standard, and a mode
    by its present name; and every quantity as text, as Kubernetes' own type prints it."""
    annotations = service["metadata"].get("annotations") or {}
    if MODE in annotations:
        annotations[MODE] = mode_named(annotations[MODE])
    elif mode == "Standard":
        service["metadata"]["annotations"] = {**annotations, MODE: mode}
    for side in (service["spec"].get(kind, {}) for kind in ("predictor", "transformer")):
        containers = [*side.get("containers", ()), *side.get("initContainers", ())]
        for container in (side.get("model"), *containers):
            for quantities in ((container or {}).get("resources") or {}).values():
                if isinstance(quantities, dict):
                    quantities.update({name: str(value) for name, value in quantities.items()})


def admit(service: Json, before: Json | None) -> None:
    """Raises Refusal (403) for an InferenceService that KServe does not take."""
    for webhook, said in (
        (_WEBHOOK, _refusal(service, before)),
        (_KNATIVE_WEBHOOK, _knative_refusal(service)),
    ):
        if said:
            message = f'admission webhook "{webhook}" denied the request: {said}'
            raise Refusal(403, "Forbidden", message)


def admit_graph(graph: Json) -> None:
    """Raises Refusal (403) for an InferenceGraph that KServe does not take."""
    said = _graph_refusal(graph)
    if said:
        raise Refusal(
            403, "Forbidden", f'admission webhook "{_GRAPH_WEBHOOK}" denied the request: {said}'
        )


def _graph_refusal(graph: Json) -> str:
    name, nodes = graph["metadata"]["name"], graph["spec"].get("nodes", {})
    if not re.fullmatch(_NAME, name):
        return f'The InferenceGraph "{name}" is invalid'
    if "root" not in nodes:
        return (
            "root node not found, InferenceGraph needs a node with name 'root' as the root node "
            "of the graph"
        )
    for node, router in nodes.items():
        steps = router.get("steps", ())
        names = [step["name"] for step in steps if step.get("name")]
        for twice in (one for one in names if names.count(one) > 1):
            said = f'contains more than one step with name "{twice}"'
            return f'Node "{node}" of InferenceGraph "{name}" {said}'
        for step in steps:
            targets = [one for one in ("nodeName", "serviceName", "serviceUrl") if step.get(one)]
            if len(targets) != 1:
                many = "specifies more than one of nodeName, serviceName, serviceUrl"
                said = many if targets else "does not specify an inference target"
                return f'a step in node "{node}" of InferenceGraph "{name}" {said}'
        if router.get("routerType") == "Splitter":
            for step in steps:
                if "weight" not in step:
                    which = f"Node[{node}] Route[{step.get('serviceName', '')}]"
                    return f"InferenceGraph[{name}] {which} missing the 'Weight'"
            if sum(step["weight"] for step in steps) != 100:
                return (
                    f"InferenceGraph[{name}] Node[{node}] splitter node: the sum of traffic "
                    "weights for all routing targets should be 100"
                )
    return ""


def _refusal(service: Json, before: Json | None) -> str:
    name, spec = service["metadata"]["name"], service.get("spec", {})
    predictor = spec.get("predictor", {})
    if before is not None:
        said = _changed(service, before)
        if said:
            return said
    if not re.fullmatch(_NAME, name):
        return (
            f'the InferenceService "{name}" is invalid: a InferenceService name must consist of '
            "lower case alphanumeric characters or '-', and must start with alphabetical "
            'character. (e.g. "my-name" or "abc-123", regex used for validation is '
            f"'{_NAME}')"
        )
    annotations = service["metadata"].get("annotations") or {}
    scaler = annotations.get(_CLASS)
    if scaler is not None and scaler not in _CLASSES:
        return f"[{scaler}] is not a supported autoscaler class type"
    for component in [predictor, spec.get("transformer", {})]:
        servers = [component.get(name, {}) for name in _FRAMEWORKS]
        for container in [*servers, *component.get("containers", ())]:
            if any(one["name"] == "PYTHONPATH" for one in container.get("env", ())):
                return (
                    f'the InferenceService "{name}" is invalid: setting PYTHONPATH in container '
                    f'"{container.get("name", "")}" is not allowed for security reasons'
                )
    if any(predictor.get(one, {}).get("name") for one in _FRAMEWORKS):
        return "the 'name' field is not allowed in standard predictor"
    if not _one_implementation(predictor):
        return "exactly one of the implementations must be specified in PredictorSpec"
    for component in [predictor, spec.get("transformer", {})]:
        least, most = component.get("minReplicas"), component.get("maxReplicas")
        if (least or 0) < 0:
            return "MinReplicas cannot be less than 0."
        if least is not None and most and least > most:
            return "MinReplicas cannot be greater than MaxReplicas."
        if not 0 <= component.get("canaryTrafficPercent", 0) <= 100:
            return "CanaryTrafficPercent must be between 0 and 100."
        if said := _scaling(component, annotations):
            return said
    return _canary(service, spec, predictor)


def _knative_refusal(service: Json) -> str:
    if (service["metadata"].get("annotations") or {}).get(MODE, "Knative") != "Knative":
        return ""
    for component in ("predictor", "transformer"):
        pod = service["spec"].get(component, {})
        if "terminationGracePeriodSeconds" in pod:
            return _not_to_set("terminationGracePeriodSeconds")
        servers = [pod[name] for name in _FRAMEWORKS if name in pod]
        containers = [*servers, *pod.get("containers", ())]
        for position, container in enumerate(containers):
            if "lifecycle" in container:
                return _not_to_set(f"containers[{position}].lifecycle")
        if sum(len(container.get("ports", ())) for container in containers) > 1:
            return "validation failed: more than one container port is set"
    return ""


def _not_to_set(field: str) -> str:
    return f"validation failed: must not set the field(s): spec.template.spec.{field}"


def _scaling(component: Json, annotations: Json) -> str:
    """Of a mode: in Standard mode nothing is looked at where no class is named."""
    metric, target = component.get("scaleMetric"), component.get("scaleTarget")
    if annotations.get(MODE) == "Standard":
        pods = annotations.get(_CLASS) == "hpa"
        if annotations.get(_CLASS) == "keda" and metric is not None:
            return "ScaleMetric is not supported for KEDA"
        if not pods:
            return ""
    else:
        pods = annotations.get(_KNATIVE_CLASS) == "hpa.autoscaling.knative.dev"
        if not pods and component.get("deploymentStrategy"):
            return "customizing deploymentStrategy is only supported for raw deployment mode"
    allowed = ("cpu", "memory") if pods else ("concurrency", "rps")
    if metric is not None and metric not in allowed:
        return f"[{metric}] is not a supported metric"
    if target is None:
        return ""
    if pods and metric == "memory" and target < 1:
        return "the target memory should be greater than 1 MiB"
    if pods and (target > 100 or target < 1):
        return "the target utilization percentage should be a [1-100] integer"
    if metric == "rps" and target < 1:
        return "the target for rps should be greater than 1"
    return ""


def _changed(service: Json, before: Json) -> str:
    was = mode_named(before.get("status", {}).get("deploymentMode", ""))
    wanted = service["metadata"].get("annotations", {}).get(MODE)
    if was and wanted is not None and wanted != was:
        return f"update rejected: deploymentMode cannot be changed from '{was}' to '{wanted}'"
    old, new = before["spec"]["predictor"], service["spec"].get("predictor", {})
    if old.get("name", "") != new.get("name", "") and _uri(old) == _uri(new):
        return "predictor.name change requires a model change (e.g. storageUri)"
    return ""


def _canary(service: Json, spec: Json, predictor: Json) -> str:
    canaries = spec.get("canary") or []
    if not canaries:
        return ""
    if service["metadata"].get("annotations", {}).get(MODE) != "Standard":
        return "canary is only supported in Standard deployment mode"
    seen: set[str] = set()
    for position, canary in enumerate(canaries):
        side = canary["predictor"]
        name = side.get("name", "")
        if not name:
            return f"canary[{position}] predictor.name is required"
        if name in seen:
            return f'canary predictor.name "{name}" is duplicated'
        seen.add(name)
        if name == predictor.get("name", ""):
            return f'canary predictor.name "{name}" conflicts with stable predictor name'
        if not _one_implementation(side):
            return f'canary "{name}" predictor: exactly one implementation must be specified'
        for field in _FIXED:
            if side.get(field):
                return f'canary "{name}" must not set {field} (canary uses fixed replicas)'
        least = predictor.get("minReplicas", 1)
        if side.get("minReplicas", 0) > least:
            return (
                f'canary "{name}" minReplicas ({side["minReplicas"]}) must not exceed stable '
                f"predictor minReplicas ({least})"
            )
    total = sum(canary["trafficPercent"] for canary in canaries)
    if total > 100:
        return f"sum of canary trafficPercent values ({total}) must be <= 100"
    return ""


def _one_implementation(predictor: Json) -> bool:
    named = [name for name in _FRAMEWORKS if name in predictor]
    # Containers beside a model are its sidecars; alone they are the implementation.
    return len(named) == 1 or (not named and bool(predictor.get("containers")))


def _uri(predictor: Json) -> Any:
    for name in _FRAMEWORKS:
        if name in predictor:
            return predictor[name].get("storageUri")
    return None
