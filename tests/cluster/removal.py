"""What an exam leaves behind, removed: by its names alone, so that it can be done again."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from google.cloud import storage

from kfp_suite.contracts.errors import KfpSuiteError, MissingError
from kfp_suite.kserve.cluster import GRAPHS, RUNTIMES, SERVICES, Cluster
from kfp_suite.kserve.manifests import OWNER
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.scheduling import remove, schedules
from kfp_suite.kubeflow.uploading import versions
from kfp_suite.stores.store import open_store

PREFIX = "kfp-exam-"
_OURS = re.compile(rf"{PREFIX}[0-9a-f]{{4}}(-.*)?")
_OVER = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_GONE_SECONDS = 120
"""How long KServe may take to let go of a deleted object."""


def is_ours(name: str) -> bool:
    """Whether an exam made what has this name."""
    return bool(_OURS.fullmatch(name))


def remove_endpoints(cluster: Cluster, namespace: str) -> list[str]:
    """Delete exams' graphs and endpoints, and the suite's ServingRuntimes that none uses.

    Returns:
        The names of what was deleted.
    """
    gone = []
    for kind in (GRAPHS, SERVICES):
        for name in _names(cluster.services(namespace, kind=kind)):
            if is_ours(name):
                delete(cluster, name, namespace, kind)
                gone.append(name)
    used = {
        one["spec"]["predictor"].get("model", {}).get("runtime")
        for one in cluster.services(namespace)
        if not is_ours(one["metadata"]["name"])
    }
    selector = ",".join(f"{key}={value}" for key, value in OWNER.items())
    for name in _names(cluster.services(namespace, selector, RUNTIMES)):
        if name not in used:
            delete(cluster, name, namespace, RUNTIMES)
            gone.append(name)
    return gone


def remove_runs(backend: Backend) -> list[str]:
    """Delete exams' schedules, runs, experiments and pipeline versions, and pipelines that have
    no other version. Artifacts stay: Kubeflow's cache may lead to them.

    Returns:
        The names of what was deleted.
    """
    client, gone = backend.client, []
    for one in schedules(backend):
        if is_ours(one.schedule.name):
            remove(backend, one)
            gone.append(one.schedule.name)
    for experiment in _listed(backend, client.list_experiments, "experiments"):
        if not is_ours(experiment.display_name):
            continue
        key = experiment.experiment_id
        for run in _listed(backend, client.list_runs, "runs", experiment_id=key):
            if run.state not in _OVER:
                with suppress(KfpSuiteError):  # its workflow may be gone
                    backend.call(run.display_name, partial(client.terminate_run, run.run_id))
            backend.call(run.display_name, partial(client.delete_run, run.run_id))
        backend.call(experiment.display_name, partial(client.delete_experiment, key))
        gone.append(experiment.display_name)
    for pipeline in _listed(backend, client.list_pipelines, "pipelines"):
        with suppress(MissingError):  # somebody deleted it meanwhile
            gone += _remove_versions(backend, pipeline)
    return gone


def _remove_versions(backend: Backend, pipeline: Any) -> list[str]:
    client, name = backend.client, pipeline.display_name
    there = versions(backend, pipeline.pipeline_id)
    made = there if is_ours(name) else [one for one in there if is_ours(one.display_name)]
    for one in made:
        key = (pipeline.pipeline_id, one.pipeline_version_id)
        backend.call(name, partial(client.delete_pipeline_version, *key))
    if is_ours(name) or (made and len(made) == len(there)):
        backend.call(name, partial(client.delete_pipeline, pipeline.pipeline_id))
    return [f"{name} {one.display_name}" for one in made]


def remove_objects(uri: str) -> int:
    """Delete what exams wrote to a store: a folder, `gs://…` or `s3://…`.

    Returns:
        The number of objects deleted.
    """
    store = open_store(uri)
    names = [one.name for one in store.list(PREFIX) if is_ours(one.name.partition("/")[0])]
    with _deleting(uri) as delete:
        for name in names:
            delete(name)
    return len(names)


@contextmanager
def _deleting(uri: str) -> Iterator[Callable[[str], Any]]:
    """Deletes an object of a store by its name."""
    scheme, _, path = uri.rpartition("://")
    bucket, _, prefix = path.strip("/").partition("/")
    before = f"{prefix}/" if prefix else ""
    if scheme in ("s3", "minio"):
        s3 = boto3.client("s3")
        yield lambda name: s3.delete_object(Bucket=bucket, Key=before + name)
    elif scheme == "gs":
        there = storage.Client().bucket(bucket)
        yield lambda name: there.blob(before + name).delete()
    else:
        yield lambda name: Path(path, name).unlink()
        for folder in Path(path).glob(f"{PREFIX}*"):
            if is_ours(folder.name):
                shutil.rmtree(folder)


def _names(objects: list[dict[str, Any]]) -> list[str]:
    return [str(one["metadata"]["name"]) for one in objects]


def delete(
    cluster: Cluster, name: str, namespace: str, kind: tuple[str, str, str] = SERVICES
) -> None:
    """Delete an object if it is there, and wait until KServe has let go of it.

    Raises:
        KfpSuiteError: it is still there after two minutes.
    """
    with suppress(MissingError):
        cluster.delete(name, namespace, kind)
    wait_until_gone(cluster, name, namespace, kind)


def wait_until_gone(
    cluster: Cluster, name: str, namespace: str, kind: tuple[str, str, str] = SERVICES
) -> None:
    """Wait until KServe has let go of a deleted object. Raises as `delete`."""
    deadline = time.monotonic() + _GONE_SECONDS
    while cluster.find(name, namespace, kind) is not None:
        if time.monotonic() > deadline:
            raise KfpSuiteError("still there after it was deleted", where=f"{namespace}/{name}")
        time.sleep(0.1)


def _listed(backend: Backend, ask: Callable[..., Any], of: str, **more: Any) -> list[Any]:
    def page(token: str) -> Any:
        return ask(page_token=token, page_size=100, namespace=backend.namespace, **more)

    return list(backend.pages(of, page, of))
