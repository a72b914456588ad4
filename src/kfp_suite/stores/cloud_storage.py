"""A Cloud Storage bucket as a store, through google-cloud-storage.

With STORAGE_EMULATOR_HOST set, the client speaks to the emulator without credentials.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, TransportError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    MissingError,
    ParameterError,
    StoreError,
    TransientError,
)
from kfp_suite.stores.credentials import (
    tried_for_cloud_storage,
    used_for_cloud_storage,
)
from kfp_suite.stores.store import ObjectInfo, check_name

_EMULATOR = "STORAGE_EMULATOR_HOST"


class CloudStorageStore:
    """Objects below `gs://bucket/prefix`; `generation` is Cloud Storage's own."""

    def __init__(self, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("gs://").strip("/").partition("/")
        if not bucket:
            raise ParameterError("no bucket", got=uri, expected="gs://bucket/prefix")
        self.uri = uri.rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        client = _client(self.uri)
        self._bucket = client.bucket(bucket)
        self._used = lambda: used_for_cloud_storage(client._credentials)

    def _errors(
        self, name: str, generation: str = "", *, of_bucket: bool = False
    ) -> AbstractContextManager[None]:
        """`of_bucket`: what is not found can be the bucket alone."""
        return _errors(f"{self.uri}/{name}", generation, self._used, of_bucket)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._errors(prefix, of_bucket=True):
            for blob in self._bucket.list_blobs(prefix=self._prefix + prefix):
                yield self._info(blob)

    def stat(self, name: str) -> ObjectInfo:
        with self._errors(name):
            blob = self._blob(name)
            blob.reload()
            return self._info(blob)

    def read(self, name: str, generation: str = "") -> bytes:
        with self._errors(name, generation):
            return bytes(self._blob(name, generation).download_as_bytes())

    def copy(self, name: str, target: Path, generation: str = "") -> None:
        with self._errors(name, generation):
            self._blob(name, generation).download_to_filename(str(target))

    def create(self, name: str, content: bytes | Path) -> None:
        data = content.read_bytes() if isinstance(content, Path) else content
        with self._errors(name, of_bucket=True):
            # Below this size the client uploads in one request, which carries the precondition.
            blob = self._blob(name)
            blob.upload_from_string(
                data, content_type="application/octet-stream", if_generation_match=0
            )

    def download(self, prefix: str, names: Iterable[str], folder: Path) -> None:
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy(f"{prefix}/{name}", target)

    def _blob(self, name: str, generation: str = "") -> Any:
        key = self._prefix + check_name(name)
        return self._bucket.blob(key, generation=int(generation) if generation else None)

    def _info(self, blob: Any) -> ObjectInfo:
        created = blob.time_created.isoformat(timespec="seconds") if blob.time_created else None
        name = blob.name.removeprefix(self._prefix)
        return ObjectInfo(name, blob.size, str(blob.generation), created)


def _client(uri: str) -> Any:
    try:
        if os.environ.get(_EMULATOR):
            return storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        return storage.Client()
    except (DefaultCredentialsError, OSError) as error:
        raise StoreError(
            f"no Google Cloud credentials; tried {tried_for_cloud_storage()}",
            where=uri,
            fix="here, gcloud auth application-default login; docs/kubeflow.md has the others",
        ) from error


@contextmanager
def _errors(
    where: str, generation: str, used: Callable[[], str], of_bucket: bool
) -> Iterator[None]:
    try:
        yield
    except exceptions.NotFound as error:
        if of_bucket or "specified bucket does not exist" in error.message:
            raise MissingError(
                "no such bucket",
                where="/".join(where.split("/")[:3]),
                fix="create it, or check the URI",
            ) from error
        raise MissingError(
            "no such object" + (f" of generation {generation}" if generation else ""),
            where=where,
            fix="it was deleted or overwritten: resolve again" if generation else "check the URI",
        ) from error
    except exceptions.PreconditionFailed as error:
        raise AlreadyExistsError("it is there already", where=where) from error
    except (exceptions.Unauthorized, exceptions.Forbidden) as error:
        raise StoreError(
            "permission denied",
            where=where,
            got=f"the credentials of: {used()}",
            fix="grant them Storage Object User on the bucket",
        ) from error
    except (
        exceptions.TooManyRequests,
        exceptions.ServerError,
        exceptions.RetryError,
        requests.RequestException,
        TransportError,
        DataCorruption,
        InvalidResponse,
    ) as error:
        raise TransientError(
            "the store did not answer", where=where, got=str(error), fix="try again"
        ) from error
    except exceptions.GoogleAPICallError as error:
        raise StoreError("the store refused", where=where, got=str(error)) from error
