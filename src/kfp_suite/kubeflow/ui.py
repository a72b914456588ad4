"""Objects of a run's store and logs of its pods, through the server of Kubeflow Pipelines' UI.

The store's address is often one inside the cluster. The UI's server reads from it with its own
credentials; the API's server does not.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress

from kfp_suite.contracts.errors import KfpSuiteError, MissingError
from kfp_suite.kubeflow.connection import INSTALLED_IN, Backend

_SOURCES = {"minio": "minio", "s3": "s3", "gs": "gcs"}
_GZIP = b"\x1f\x8b"


def hands_out(uri: str) -> bool:
    """Whether a URI is of a store that the UI reads."""
    return uri.partition("://")[0] in _SOURCES


def read_files(backend: Backend, uri: str, name: str) -> list[bytes]:
    """The files of a name below a URI.

    The file itself is requested first. In multi-user mode the UI serves only whole outputs of
    tasks, and an output that is a folder as a gzipped tar.

    Args:
        backend: Where.
        uri: An output's, or that of a folder above it: `minio://bucket/…`.
        name: The files'.

    Raises:
        MissingError: there is none.
        KfpSuiteError: see `Backend.read`.
    """
    with suppress(KfpSuiteError):
        return [_read(backend, f"{uri}/{name}")]
    whole = _read(backend, uri)
    found = list(_unpacked(whole, name)) if whole.startswith(_GZIP) else []
    if not found:
        raise MissingError(f"no {name}", where=uri)
    return found


def _unpacked(whole: bytes, name: str) -> Iterator[bytes]:
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:gz") as tar:
        for one in tar:
            if one.isfile() and one.name.split("/")[-1] == name:
                file = tar.extractfile(one)
                assert file is not None
                yield file.read()


def read_log(backend: Backend, run_id: str, pod: str) -> str:
    """The log of a pod, by the UI's server or else the API's.

    Raises:
        KfpSuiteError: see `Backend.read`.
    """
    namespace = backend.connection.namespace or INSTALLED_IN
    given = {"podname": pod, "runid": run_id, "podnamespace": namespace}
    try:
        found = backend.read("/k8s/pod/logs", of_ui=True, **given)
    except KfpSuiteError:
        found = backend.read(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log")
    return found.decode(errors="replace")


def _read(backend: Backend, uri: str) -> bytes:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    given = {"source": _SOURCES[scheme], "bucket": bucket, "key": key}
    if backend.connection.namespace:
        given["namespace"] = backend.connection.namespace
    return backend.read("/artifacts/get", of_ui=True, **given)
