"""Many models in one InferenceService: each a TrainedModel, loaded and unloaded by itself.

KServe's agent copies a TrainedModel's storage below the server's folder and asks the server
to load it; an InferenceService without a storage URI is one that it does so for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.contracts.errors import EndpointError, KfpSuiteError
from kfp_suite.contracts.sample import Sample
from kfp_suite.kserve.cluster import TRAINED_MODELS, Cluster
from kfp_suite.kserve.diagnosis import in_words
from kfp_suite.kserve.images import check_pullable
from kfp_suite.kserve.manifests import (
    DEPLOYMENT_MODE,
    IMAGE,
    MOUNT,
    OWNER,
    Served,
    is_ready,
    merged,
    server_image,
    serving_runtime,
)
from kfp_suite.kserve.model_agent import REGION, missing_annotations
from kfp_suite.kserve.patience import GivenUp, Missing, wait_for
from kfp_suite.kserve.pods import (
    answering_in,
    container_in,
    ending_in,
    environment,
    listened_to,
    placed,
    resources,
    scaled,
    spread_in,
)
from kfp_suite.kserve.scaling import check_scaling
from kfp_suite.kserve.secrecy import check_no_secrets
from kfp_suite.kserve.settings import EndpointSettings
from kfp_suite.kserve.smoke import address_of, smoke_test
from kfp_suite.kserve.storage import on_cluster
from kfp_suite.runtimes.http_client import UnknownHostError
from kfp_suite.runtimes.protocol import Question


def shared_runtime(image: str, namespace: str) -> dict[str, Any]:
    """The ServingRuntime of our server with many models."""
    found = serving_runtime(image, namespace)
    found["metadata"]["name"] += "-shared"
    found["spec"]["containers"][0]["args"] = [
        "--multi_model",
        f"--model_dir={MOUNT}",
        "--http_port=8080",
        "--grpc_port=8081",
    ]
    return found


def shared_service(
    served: Served, namespace: str, settings: EndpointSettings, mode: str
) -> dict[str, Any]:
    """The InferenceService that models are loaded into.

    Args:
        served: The first of them.
        namespace: The Kubernetes namespace.
        settings: How it runs.
        mode: The cluster's mode: `Knative` or `Standard`; the settings override it.

    Raises:
        ParameterError: it contains a secret, or the cluster could not pull its image, or scale
            it so.
    """
    check_pullable(served.framework, settings.image)
    image, mode = server_image(served, settings), settings.deployment_mode or mode
    annotations = {**settings.annotations, IMAGE: image}
    if settings.deployment_mode:
        annotations[DEPLOYMENT_MODE] = settings.deployment_mode
    model: dict[str, Any] = {
        "modelFormat": {"name": "kfp-suite"},
        "runtime": shared_runtime(image, namespace)["metadata"]["name"],
        "protocolVersion": "v2",
        "resources": resources(settings),
        **container_in(mode),
    }
    if settings.timeout:
        model["args"] = answering_in(settings)
    if settings.env:
        model["env"] = environment(settings)
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": settings.shared,
            "namespace": namespace,
            "labels": {**settings.labels, **OWNER},
            "annotations": annotations,
        },
        "spec": {
            "predictor": {
                "annotations": {IMAGE: image},
                **placed(settings),
                **spread_in(mode, settings, settings.shared, "predictor"),
                **scaled(settings),
                **ending_in(mode, settings),
                **listened_to(settings),
                "model": model,
            }
        },
    }
    found = merged(manifest, settings.overlay)
    check_no_secrets(found, "InferenceService")
    check_scaling(found, mode)
    return found


def trained_model(served: Served, namespace: str, settings: EndpointSettings) -> dict[str, Any]:
    """A version as one of the models of `settings.shared`.

    Raises:
        ParameterError: the cluster cannot read its store.
    """
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "TrainedModel",
        "metadata": {
            "name": served.name,
            "namespace": namespace,
            "labels": dict(OWNER),
            "annotations": served.annotations,
        },
        "spec": {
            "inferenceService": settings.shared,
            "model": {
                "framework": "kfp-suite",
                "storageUri": on_cluster(served.model_uri, served.store),
                "memory": settings.model_memory,
            },
        },
    }


def wait_until_loaded(
    cluster: Cluster,
    model: Mapping[str, Any],
    question: Question,
    sample: Sample,
    *,
    version: str,
    ingress: str,
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Wait until the shared server answers for a TrainedModel, with this version.

    Args:
        cluster: Where.
        model: The TrainedModel, as it was applied.
        question: The sample as the server takes it.
        sample: With the model's own answers.
        version: The version's name in the server.
        ingress: As `address_of`.
        timeout_seconds: The time limit.
        clock: Monotonic seconds.

    Returns:
        The address.

    Raises:
        UnknownHostError: the server's name cannot be resolved here.
        EndpointError: it does not in time, or its agent cannot read the store; with KServe's
            conditions of the TrainedModel, and the missing annotations of the Secret.
    """
    name, namespace = model["metadata"]["name"], model["metadata"]["namespace"]
    parent, uri = model["spec"]["inferenceService"], model["spec"]["model"]["storageUri"]

    def look(_: float) -> str:
        service = cluster.get(parent, namespace)
        try:
            base, headers = address_of(service, ingress)
            smoke_test(base, headers, question, sample, version=version, sleep=cluster.sleep)
        except UnknownHostError:
            raise
        except EndpointError as error:
            if REGION in missing_annotations(cluster, parent, namespace, uri):
                raise GivenUp(str(error)) from error
            raise Missing(str(error)) from error
        return base

    try:
        return wait_for(cluster, look, f"{namespace}/{name}", timeout_seconds, clock)
    except Missing as missing:
        why = reasons(cluster, model)
        fix = f"kubectl describe trainedmodel {name} -n {namespace}"
        if lacks := ", ".join(missing_annotations(cluster, parent, namespace, uri)):
            why.append(f"KServe's agent reads S3 without {lacks}")
            fix = f"annotate the Secret of its service account, and delete the pods of {parent}"
        said = f": {'; '.join(why)}" if why else ""
        raise EndpointError(
            f"the shared server does not serve the model in time{said}",
            where=f"TrainedModel {namespace}/{name} of {parent}",
            got=str(missing),
            expected=f"loaded within {timeout_seconds:g} s",
            fix=fix,
        ) from missing


def reasons(cluster: Cluster, model: Mapping[str, Any]) -> list[str]:
    """The reasons that a shared server does not serve a TrainedModel: KServe's conditions, and a
    server that is not ready itself."""
    metadata, parent = model["metadata"], model["spec"]["inferenceService"]
    try:
        found = cluster.get(metadata["name"], metadata["namespace"], TRAINED_MODELS)
        server = cluster.find(parent, metadata["namespace"])
    except KfpSuiteError as error:
        return [str(error)]
    said = [
        in_words(c) for c in found.get("status", {}).get("conditions", ()) if c["status"] != "True"
    ]
    if server is None or not is_ready(server):
        said.append(f"server {parent} is {'not ready' if server else 'not there'}")
    return said
