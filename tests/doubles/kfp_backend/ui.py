"""What the UI's server answers beside the API, and the API's first version: see `ui` of kubeflow.

As in KFP 2.17: an object by `/artifacts/get`, a folder as a gzipped tar, pods' logs, and a run
with its workflow. Everything but the API is the UI's alone.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping

from kfp_suite.testing.kfp_backend.state import Json, Refusal, State

_SCHEMES = {"minio": "minio", "s3": "s3", "gcs": "gs"}


def first_api(state: State, path: str) -> Json | None:
    """A run as the first API tells it; None: the path is another one."""
    found = re.fullmatch("/apis/v1beta1/runs/([^/:]+)", path)
    return state.manifest(found[1]) if found else None


def handed_out(
    state: State, path: str, query: Mapping[str, str], namespaces: tuple[str, ...] | None
) -> bytes | None:
    """The body at a path of the UI's; None: the path is another one.

    Args:
        state: What is kept.
        path, query: Of the request.
        namespaces: Those one may use, of several users.
    """
    if path == "/k8s/pod/logs":
        return _log(state, query)
    if path == "/artifacts/get":
        return _artifact(state, query, namespaces)
    return None


def _log(state: State, query: Mapping[str, str]) -> bytes:
    workflow = state.workflow(query["runid"])
    task = workflow.task_of(query["podname"])
    if not task:
        raise Refusal(500, "Could not get main container logs: pod not found")
    logs: Mapping[str, str] = state.runs[query["runid"]]["behaviour"].logs
    return logs.get(task, "").encode()


def _artifact(state: State, query: Mapping[str, str], namespaces: tuple[str, ...] | None) -> bytes:
    if namespaces is not None and query.get("namespace") not in namespaces:
        raise Refusal(400, "Namespace parameter is required when authentication is enabled")
    uri = f"{_SCHEMES[query['source']]}://{query['bucket']}/{query['key']}"
    # Of several users, the files of an output that is a folder are refused: MLMD has no record.
    if uri in state.objects and namespaces is None:
        return state.objects[uri]
    inside = {name: one for name, one in state.objects.items() if name.startswith(f"{uri}/")}
    if not inside:
        raise Refusal(404, f"No objects found at {query['bucket']}/{query['key']}")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in inside.items():
            member = tarfile.TarInfo(name.removeprefix(f"{uri}/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
