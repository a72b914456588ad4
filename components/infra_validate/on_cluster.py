"""A candidate as an InferenceService of its own, without traffic, gone when it is judged."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from kfp_suite.components.infra_validate.places import Candidate
from kfp_suite.contracts.digests import PREFIX, digest_value
from kfp_suite.contracts.errors import MissingError, ParameterError
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.manifests import (
    Served,
    inference_service,
    server_image,
    serving_runtime,
)
from kfp_suite.kserve.patience import patiently
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.kserve.smoke import address_of, check_askable
from kfp_suite.kserve.trials import trial_labels
from kfp_suite.kserve.waiting import wait_until_serving
from kfp_suite.runtimes.http_client import Answer, ask
from kfp_suite.runtimes.protocol import Question
from kfp_suite.runtimes.runtime import SUITE, find_runtime
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

_METRICS_PORT = 8080
_MEMORY = re.compile(r"^process_resident_memory_bytes ([0-9.e+]+)$", re.MULTILINE)


class Service:
    """An InferenceService without traffic of its own; a `Place`."""

    def __init__(self, cluster: Cluster, parameters: Any, manifest: dict[str, Any]) -> None:
        self._cluster, self._parameters, self._manifest = cluster, parameters, manifest
        self._base: tuple[str, dict[str, str]] = ("", {})
        self.has_transformer = "transformer" in manifest["spec"]

    def wait(self, timeout: float) -> float:
        """Apply it and wait until it serves; the seconds that took."""
        started = time.monotonic()
        # A trial of the run before may be being deleted.
        applied = patiently(
            self._cluster, lambda: self._cluster.apply(self._manifest), timeout, time.monotonic
        )
        service = wait_until_serving(self._cluster, applied, timeout)
        self._base = address_of(service, self._parameters.ingress)
        return time.monotonic() - started

    def ask(self, question: Question, timeout: float) -> Answer:
        """One request."""
        base, headers = self._base
        return ask(base, question, headers=headers, timeout=timeout)

    def memory(self) -> int | None:
        """Bytes that our server holds in the pod that holds most, as it says itself."""
        if self._parameters.runtime != SUITE:
            return None
        metadata = self._manifest["metadata"]
        place = metadata["namespace"]
        told = [
            self._cluster.proxied(pod.metadata.name, place, _METRICS_PORT, "/metrics")
            for pod in self._cluster.pods(metadata["name"], place)
        ]
        found = [match for one in told if (match := _MEMORY.search(one))]
        return max((int(float(match[1])) for match in found), default=None)


@contextmanager
def on_cluster(parameters: Any, candidate: Candidate) -> Iterator[Service]:
    """The trial; it is gone when the block ends.

    Args:
        parameters: `InfraParameters`.
        candidate: What is tried.

    Raises:
        ParameterError: the cluster cannot read what the server loads, or the server could not
            be asked from here.
        StoreError: the cluster or the store refused.
    """
    settings = parse_settings(parameters.settings)
    # One server, which nobody else hears of.
    settings = replace(
        settings,
        min_replicas=1,
        max_replicas=0,
        logger=None,
        labels={**settings.labels, **trial_labels(parameters.run_id)},
    )
    manifest = candidate.artifact.manifest
    model_uri, storage_uri = _readable(parameters, candidate)
    served = Served(
        name=candidate.name,
        model=parameters.name,
        version=1,
        digest=manifest.digest,
        manifest_digest="",
        store=parameters.store,
        model_uri=model_uri,
        runtime=parameters.runtime,
        storage_uri=storage_uri,
        framework=manifest.framework,
        probabilities=len(manifest.signature.outputs) > 1,
        sklearn=manifest.recipe.environment.libraries.get("scikit-learn", ""),
    )
    cluster, namespace = Cluster(), parameters.namespace
    check_askable(cluster, None, parameters.ingress)
    service = inference_service(
        served,
        namespace=namespace,
        settings=settings,
        options=parameters.runtime_options,
        mode=cluster.mode(None, namespace),
    )
    service["metadata"]["name"] = candidate.service
    if parameters.runtime == SUITE:
        cluster.apply(serving_runtime(server_image(served, settings), namespace))
    try:
        yield Service(cluster, parameters, service)
    finally:
        with suppress(MissingError):  # it was refused: that is what is to be told
            cluster.delete(candidate.service, namespace)


def _readable(parameters: Any, candidate: Candidate) -> tuple[str, str]:
    """Where the cluster reads the Model artifact, and what the server loads.

    In the store, if there is one: what reads the versions reads it, too. A key says what a
    layout is made of, and nothing of the run: every run that tries the candidate finds it there.
    """
    if not parameters.store:
        if parameters.runtime == SUITE and candidate.uri:
            return candidate.uri, ""
        raise ParameterError(
            f"the cluster cannot read what runtime '{parameters.runtime}' loads",
            where="store",
            got="none",
            expected="the models' store, of which the cluster reads",
            fix="set store, or place to process",
        )
    models = ModelStore(open_store(parameters.store))

    def published(runtime: str, folder: Path) -> str:
        found = find_runtime(runtime)
        made_of = {
            "format": found.layout_format,
            "candidate": candidate.artifact.manifest.digest,
            "name": candidate.name if found.names_model else "",
            "options": dict(parameters.runtime_options) if runtime != SUITE else {},
        }
        key = f"candidate-{runtime}-{digest_value(made_of).removeprefix(PREFIX)[:16]}"
        return models.layout_uri(parameters.name, key) or models.publish_layout(
            parameters.name, key, folder
        )

    model_uri = published(SUITE, candidate.folder)
    if parameters.runtime == SUITE:
        return model_uri, ""
    return model_uri, published(parameters.runtime, candidate.layout)
