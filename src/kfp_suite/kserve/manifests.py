"""The objects of an endpoint: InferenceService and ServingRuntime.

The annotations of a predictor, and so of its pods, name the version that it serves, on each side
of a canary.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from kfp_suite.contracts.digests import digest_value
from kfp_suite.contracts.errors import ContractError, ParameterError, store_error
from kfp_suite.kserve.images import check_pullable, check_stock, default_image
from kfp_suite.kserve.pods import (
    SERVER_COMMAND,
    answering_in,
    container_in,
    ending_in,
    environment,
    listened_to,
    placed,
    port,
    resources,
    scaled,
    served_securely,
    spread_in,
    volumes,
)
from kfp_suite.kserve.scaling import check_scaling
from kfp_suite.kserve.secrecy import check_no_secrets
from kfp_suite.kserve.settings import EndpointSettings
from kfp_suite.kserve.storage import on_cluster
from kfp_suite.runtimes import suite
from kfp_suite.runtimes.layout import parse_options
from kfp_suite.runtimes.runtime import (
    MLSERVER,
    SKLEARN,
    SUITE,
    TENSORFLOW_SERVING,
    TORCHSERVE,
    TRITON,
    find_runtime,
)
from kfp_suite.runtimes.torchserve import INFERENCE_PORT

PREFIX = "kfp-suite.io"
MODEL = f"{PREFIX}/model"
VERSION = f"{PREFIX}/version"
DIGEST = f"{PREFIX}/digest"
MANIFEST_DIGEST = f"{PREFIX}/manifest-digest"
STORE = f"{PREFIX}/store"
MODEL_URI = f"{PREFIX}/model-uri"
RUNTIME = f"{PREFIX}/runtime"
IMAGE = f"{PREFIX}/image"
"""Which image serves, where we say it: by its digest, where the pipeline has an image lock."""
SPEC_DIGEST = f"{PREFIX}/spec-digest"
"""Of the manifest that a pod was made of: no generation in KServe's status tells it."""
MLSERVER_METRICS = {"prometheus.kserve.io/port": "8082"}
"""KServe's runtime says 8080, where MLServer answers requests."""
SCALING = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "scaleMetricType")
OWNER = {"app.kubernetes.io/managed-by": "kfp-suite"}
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
MOUNT = "/mnt/models"
_SERVING = "serving.kserve.io/v1beta1"


@dataclass(frozen=True)
class Served:
    """A version, and the server that serves it.

    `model_uri` is the Model artifact, `storage_uri` the folder that the server loads: the same, or
    the version in the layout of `runtime`. `probabilities`: the model has some. `sklearn`: the
    version of scikit-learn that trained it, empty if none did.
    """

    name: str
    model: str
    version: int
    digest: str
    manifest_digest: str
    store: str
    model_uri: str
    runtime: str = SUITE
    storage_uri: str = ""
    framework: str = "sklearn"
    probabilities: bool = True
    sklearn: str = ""

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of a manifest that serves it."""
        return {
            MODEL: self.model,
            VERSION: str(self.version),
            DIGEST: self.digest,
            MANIFEST_DIGEST: self.manifest_digest,
            STORE: self.store,
            MODEL_URI: self.model_uri,
            RUNTIME: self.runtime,
        }


def artifact_version(digest: str) -> str:
    """The name of a version in a server of many models, which knows only the artifact."""
    return digest.rpartition(":")[2][:12]


def server_image(served: Served, settings: EndpointSettings) -> str:
    """The image of our server: with the very libraries that trained the model."""
    return settings.image or default_image(served.framework)


def takes_features(served: Served, options: Mapping[str, Any]) -> bool:
    """Whether the server takes the estimator's matrix, and not raw records."""
    runtime = find_runtime(served.runtime)
    ensemble = runtime.name == TRITON and parse_options(TRITON, options).ensemble
    return runtime.takes == "features" and not ensemble


def serving_runtime(image: str, namespace: str) -> dict[str, Any]:
    """The ServingRuntime of our server with an image."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {
            "name": serving_runtime_name(image),
            "namespace": namespace,
            "labels": dict(OWNER),
        },
        "spec": {
            "annotations": {
                "prometheus.kserve.io/port": "8080",
                "prometheus.kserve.io/path": "/metrics",
            },
            "supportedModelFormats": [{"name": "kfp-suite", "version": "1", "autoSelect": False}],
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": image,
                    "command": list(SERVER_COMMAND),
                    "args": [
                        "--model_name={{.Name}}",
                        f"--model_dir={MOUNT}",
                        "--http_port=8080",
                        "--grpc_port=8081",
                    ],
                    **served_securely(),
                }
            ],
            "volumes": volumes(),
        },
    }


def serving_runtime_name(image: str) -> str:
    """A name for each image: two endpoints with other images do not share a runtime."""
    return f"kfp-suite-server-{hashlib.sha256(image.encode()).hexdigest()[:8]}"


def _predictor(
    served: Served, settings: EndpointSettings, options: Mapping[str, Any], mode: str | None
) -> dict[str, Any]:
    """The predictor that serves a version."""
    runtime = find_runtime(served.runtime)
    model: dict[str, Any] = {
        "modelFormat": {"name": runtime.model_format},
        "runtime": runtime.serving_runtime,
        "protocolVersion": runtime.protocol,
        "storageUri": _read_by(served.storage_uri or served.model_uri, served, mode),
        "args": [],
        "env": environment(settings),
        "resources": resources(settings),
    }
    image, ending = settings.image, {}
    if runtime.name == SUITE:
        image = server_image(served, settings)
        model["runtime"] = serving_runtime_name(image)
        model["args"] = [f"--model_version={served.version}", *answering_in(settings)]
        model |= container_in(mode)
        ending = ending_in(mode, settings)
        model["args"] += suite.arguments(parse_options(SUITE, options))
    elif runtime.name == TENSORFLOW_SERVING:
        from kfp_suite.runtimes import tensorflow_serving

        model["args"] = tensorflow_serving.arguments(
            parse_options(TENSORFLOW_SERVING, options), MOUNT
        )
    elif runtime.name == TORCHSERVE:
        model["ports"] = [port("http1", INFERENCE_PORT)]  # KServe's own asks its wrapper at 8080
    elif runtime.name == SKLEARN and served.probabilities:
        model["env"].append({"name": "PREDICT_PROBA", "value": "true"})
    if runtime.name != SUITE and image:
        model["image"] = image
    return {
        "annotations": {**served.annotations, **({IMAGE: image} if image else {})},
        **placed(settings),
        **spread_in(mode, settings, served.name, "predictor"),
        **scaled(settings),
        **ending,
        **listened_to(settings),
        "model": {key: value for key, value in model.items() if value != []},
    }


def inference_service(
    served: Served,
    *,
    namespace: str,
    settings: EndpointSettings | None = None,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> dict[str, Any]:
    """The InferenceService of a version.

    Args:
        served: The version and its server.
        namespace: The Kubernetes namespace.
        settings: How it runs.
        options: The runtime's own.
        mode: The cluster's mode, if it is for one: `Knative` or `Standard`; the settings
            override it.

    Raises:
        ParameterError: it contains a secret; or it is for a cluster that could not pull its
            image, read its store, or scale it so.
    """
    settings, options = settings or EndpointSettings(), options or {}
    if mode is not None:
        mode = settings.deployment_mode or mode
        _check_images(served, settings, options)
    predictor = _predictor(served, settings, options, mode)
    annotations = {**settings.annotations, **predictor["annotations"]}
    if served.runtime == MLSERVER:  # of its own pods alone: the transformer has another port
        predictor["annotations"] |= MLSERVER_METRICS
    if settings.deployment_mode:
        annotations[DEPLOYMENT_MODE] = settings.deployment_mode
    spec: dict[str, Any] = {"predictor": predictor}
    if settings.transformer and takes_features(served, options):
        spec["transformer"] = _transformer(served, settings, mode)
    manifest = {
        "apiVersion": _SERVING,
        "kind": "InferenceService",
        "metadata": {
            "name": served.name,
            "namespace": namespace,
            "labels": {**settings.labels, **OWNER},
            "annotations": annotations,
        },
        "spec": spec,
    }
    found = merged(manifest, settings.overlay)
    check_no_secrets(found, "InferenceService")
    if mode is not None:
        check_scaling(found, mode)
    return _digested(found)


def _check_images(served: Served, settings: EndpointSettings, options: Mapping[str, Any]) -> None:
    """Raises ParameterError if a cluster could not pull our server's image, KServe's own image
    could not run the model, or no client could send it requests."""
    check_stock(served.runtime, options, served.sklearn, settings.image)
    if served.runtime == TORCHSERVE and parse_options(TORCHSERVE, options).token_authentication:
        raise ParameterError(
            "TorchServe makes its own tokens in each pod, and clients of the endpoint have none",
            where="runtime_options.token_authentication",
            got=True,
            expected="false",
            fix="let the ingress or the mesh ask who is there: docs/runtimes.md",
        )
    if served.runtime == SUITE:
        check_pullable(served.framework, settings.image)
    elif settings.transformer and takes_features(served, options):
        check_pullable(served.framework, settings.transformer_image)


def _read_by(uri: str, served: Served, mode: str | None) -> str:
    """`uri` as the pods read it. Raises ParameterError if those of a cluster cannot."""
    return uri if mode is None else on_cluster(uri, served.store)


def _digested(manifest: dict[str, Any]) -> dict[str, Any]:
    """`manifest` with a digest of its pods' spec in their annotations."""
    found = copy.deepcopy(manifest)
    sides = [found["spec"][key] for key in ("predictor", "transformer") if key in found["spec"]]
    made_of = {
        "labels": found["metadata"]["labels"],
        "annotations": found["metadata"]["annotations"],
        "spec": [{key: v for key, v in side.items() if key not in SCALING} for side in sides],
    }
    for side in sides:
        side.setdefault("annotations", {})[SPEC_DIGEST] = digest_value(made_of)
    return found


def merged(manifest: dict[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`manifest` with `overlay` over it: mappings merge, all else is replaced, None removes
    (JSON Merge Patch, RFC 7396)."""
    found = dict(manifest)
    for key, value in overlay.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            before = found.get(key)
            found[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            found[key] = value
    return found


def _transformer(served: Served, settings: EndpointSettings, mode: str | None) -> dict[str, Any]:
    """Our server before another: raw records in, features to the predictor, labels out."""
    outputs = "predict_proba" if served.runtime == "mlserver" and served.probabilities else ""
    image = settings.transformer_image or default_image(served.framework)
    return {
        "annotations": {**served.annotations, IMAGE: image},
        **placed(settings),
        **spread_in(mode, settings, served.name, "transformer"),
        **scaled(settings),
        **ending_in(mode, settings),
        "containers": [
            {
                "name": "kserve-container",
                "image": image,
                "command": list(SERVER_COMMAND),
                "args": [
                    f"--model_name={served.name}",
                    f"--model_dir={MOUNT}",
                    f"--model_version={served.version}",
                    "--http_port=8080",
                    *([f"--predictor_outputs={outputs}"] if outputs else []),
                    *answering_in(settings),
                ],
                "env": [
                    *environment(settings),
                    {"name": "STORAGE_URI", "value": _read_by(served.model_uri, served, mode)},
                ],
                "resources": {
                    "requests": dict(settings.transformer_requests),
                    "limits": dict(settings.transformer_limits),
                },
                **served_securely(),
                **container_in(mode),
            }
        ],
        "volumes": volumes(),
    }


def is_ready(found: Mapping[str, Any]) -> bool:
    """Whether an object from the API has KServe's condition Ready."""
    conditions = found.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def own_part(service: Mapping[str, Any]) -> dict[str, Any]:
    """An InferenceService without the cluster's own fields, so that it can be applied."""
    found = {key: service[key] for key in ("apiVersion", "kind", "spec") if key in service}
    kept = ("name", "namespace", "labels", "annotations")
    found["metadata"] = {k: v for k, v in service["metadata"].items() if k in kept}
    return found


def to_yaml(manifest: Mapping[str, Any]) -> str:
    """The manifest as `kubectl apply -f` takes it."""
    text: str = yaml.safe_dump(dict(manifest), sort_keys=False)
    return text


def read_manifest(path: Path) -> dict[str, Any]:
    """The one InferenceService, or InferenceGraph, in a file.

    Raises:
        MissingError: there is no such file.
        ContractError: it holds no such object.
    """
    try:
        found = [one for one in yaml.safe_load_all(path.read_text()) if one]
    except OSError as error:
        raise store_error(error, path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError("not YAML", where=path, got=str(error)) from error
    kinds = [one.get("kind") if isinstance(one, dict) else None for one in found]
    wanted = [
        one
        for one, kind in zip(found, kinds, strict=True)
        if kind in ("InferenceService", "InferenceGraph")
    ]
    if len(wanted) != 1:
        raise ContractError(
            "not an InferenceService of a published version",
            where=path,
            got=", ".join(map(str, kinds)) or "nothing",
            expected="what the deploy step writes",
        )
    manifest: dict[str, Any] = wanted[0]
    return manifest


def served_by(manifest: Mapping[str, Any], side: Mapping[str, Any], where: object) -> Served:
    """The version that a predictor of an InferenceService serves.

    Args:
        manifest: The InferenceService.
        side: Its predictor, or the predictor of a canary.
        where: The name of the manifest, for errors.

    Raises:
        ContractError: it is not one that the suite made.
    """
    try:
        annotations = side["annotations"]
        return Served(
            name=manifest["metadata"]["name"],
            model=annotations[MODEL],
            version=int(annotations[VERSION]),
            digest=annotations[DIGEST],
            manifest_digest=annotations[MANIFEST_DIGEST],
            store=annotations[STORE],
            model_uri=annotations[MODEL_URI],
            runtime=annotations.get(RUNTIME, SUITE),
            storage_uri=side["model"]["storageUri"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(
            "not an InferenceService of a published version",
            where=where,
            got=f"{type(error).__name__}: {error}",
            expected="what the deploy step writes",
        ) from error


def read_served(path: Path) -> Served:
    """The stable version of the InferenceService manifest in a file.

    Raises:
        MissingError, ContractError: as `read_manifest` and `served_by`.
    """
    manifest = read_manifest(path)
    return served_by(manifest, (manifest.get("spec") or {}).get("predictor") or {}, path)


def check_canary(served: Served, options: Mapping[str, Any]) -> None:
    """Raises ParameterError if a version cannot be one side of a canary."""
    if takes_features(served, options):
        raise ParameterError(
            f"runtime '{served.runtime}' cannot be rolled out by a canary",
            where="runtime",
            got="a transformer before it, which belongs to one version",
            expected="a server that takes raw records",
            fix=f"use runtime '{SUITE}'",
        )


def renamed(served: Served, name: str) -> Served:
    """The same version under another endpoint's name."""
    return replace(served, name=name) if name else served
