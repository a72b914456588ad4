"""An S3 bucket as a store, through boto3: Amazon's, MinIO's or SeaweedFS's.

AWS_ENDPOINT_URL names another server than Amazon's; `minio://bucket/prefix`, as KFP calls its
own store, is on the Service that KFP installs where that is not set.
"""

from __future__ import annotations

import io
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    MissingError,
    ParameterError,
    StoreError,
    TransientError,
)
from kfp_suite.stores.credentials import tried_for_s3, used_for_s3
from kfp_suite.stores.store import ObjectInfo, check_name

_PROBE = "_probe"
# The answer to a conditional write that met another: it is not settled which one is there.
# Only 412 says that the object is.
_CONFLICT = 409
_CONFLICT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_KFP = "minio"
_KFP_SERVICES = ("seaweedfs.kubeflow", "minio-service.kubeflow")
"""The Service of KFP's own store: of 2.17, and of releases that came with MinIO."""
_KFP_PORT = 9000


class S3Store:
    """Objects below `s3://bucket/prefix` or `minio://…`; `generation` is the ETag.

    A server that ignores `If-None-Match` would lose versions: the first create finds out.
    """

    def __init__(self, uri: str) -> None:
        scheme, _, path = uri.partition("://")
        bucket, _, prefix = path.strip("/").partition("/")
        if not bucket:
            raise ParameterError("no bucket", got=uri, expected="s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self._name, self._prefix = bucket, f"{prefix}/" if prefix else ""
        try:
            session = boto3.Session()
            server = _server(scheme)
            self._client = session.client("s3", endpoint_url=server)
        except BotoCoreError as error:
            raise StoreError("no S3 client", where=uri, got=str(error)) from error
        self._used = lambda: used_for_s3(session)
        self._tried = lambda: tried_for_s3(server=server or "")
        self._is_exclusive = False

    def _errors(self, name: str = "", generation: str = "") -> AbstractContextManager[None]:
        where = f"{self.uri}/{name}" if name else self.uri
        return _errors(where, generation, self._used, self._tried)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._name, Prefix=self._prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(self._prefix)
                    if not name.startswith(_PROBE):
                        yield _info(name, found["Size"], found["ETag"], found["LastModified"])

    def stat(self, name: str) -> ObjectInfo:
        with self._errors(name):
            found = self._client.head_object(Bucket=self._name, Key=self._key(name))
        return _info(name, found["ContentLength"], found["ETag"], found["LastModified"])

    def read(self, name: str, generation: str = "") -> bytes:
        with self._errors(name, generation):
            return bytes(self._get(name, generation).read())

    def copy(self, name: str, target: Path, generation: str = "") -> None:
        with self._errors(name, generation), target.open("wb") as file:
            for block in self._get(name, generation).iter_chunks(1 << 20):
                file.write(block)

    def create(self, name: str, content: bytes | Path) -> None:
        if not self._is_exclusive:
            self._probe()
        with self._errors(name):
            self._put(self._key(name), content)

    def download(self, prefix: str, names: Iterable[str], folder: Path) -> None:
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy(f"{prefix}/{name}", target)

    def _key(self, name: str) -> str:
        return self._prefix + check_name(name)

    def _get(self, name: str, generation: str) -> Any:
        match = {"IfMatch": f'"{generation}"'} if generation else {}
        return self._client.get_object(Bucket=self._name, Key=self._key(name), **match)["Body"]

    def _put(self, key: str, content: bytes | Path) -> None:
        """Create an object; a write that met another one is tried again."""
        pauses = iter(_CONFLICT_PAUSES)
        while True:
            with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as body:
                try:
                    self._client.put_object(Bucket=self._name, Key=key, Body=body, IfNoneMatch="*")
                    return
                except ClientError as error:
                    pause = next(pauses, None)
                    if pause is None or _status(error) != _CONFLICT:
                        raise
            time.sleep(pause)

    def _probe(self) -> None:
        """Create one object twice: the second must be refused."""
        key = f"{self._prefix}{_PROBE}/{uuid.uuid4().hex}"
        with self._errors():
            self._put(key, b"")
        try:
            with self._errors():
                self._put(key, b"")
        except AlreadyExistsError:
            self._is_exclusive = True
        finally:
            with self._errors():
                self._client.delete_object(Bucket=self._name, Key=key)
        if not self._is_exclusive:
            raise StoreError(
                "this S3 server overwrites where it should refuse",
                where=self.uri,
                expected="If-None-Match on PutObject",
                fix="use a newer server, a folder or gs://",
            )


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _server(scheme: str) -> str | None:
    """Where KFP's own store is; None: where boto3 finds it."""
    set_already = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme != _KFP or set_already:
        return None
    host = next(filter(_is_known, _KFP_SERVICES), _KFP_SERVICES[0])
    return f"http://{host}:{_KFP_PORT}"


def _is_known(host: str) -> bool:
    """Whether the cluster has a Service of this name."""
    try:
        return bool(socket.getaddrinfo(host, _KFP_PORT))
    except OSError:
        return False


def _info(name: str, size: int, etag: str, modified: Any) -> ObjectInfo:
    return ObjectInfo(name, size, etag.strip('"'), modified.isoformat(timespec="seconds"))


@contextmanager
def _errors(
    where: str, generation: str, used: Callable[[], str], tried: Callable[[], str]
) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = _status(error)
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            raise MissingError(
                "no such bucket",
                where="/".join(where.split("/")[:3]),
                fix="create it, or check the URI",
            ) from error
        if status == 404 or (status == 412 and generation):
            raise MissingError(
                "no such object" + (f" of ETag {generation}" if generation else ""),
                where=where,
                fix="it was deleted or overwritten: resolve again"
                if generation
                else "check the URI",
            ) from error
        if status == _CONFLICT:
            raise TransientError(
                "another write to the same object is under way",
                where=where,
                got=code,
                fix="try again",
            ) from error
        if status == 412:
            raise AlreadyExistsError("it is there already", where=where) from error
        if status in (401, 403):
            raise StoreError(
                "permission denied",
                where=where,
                got=f"{code}, with the credentials of: {used()}",
                fix="grant read and write on the bucket; docs/kubeflow.md has the ways",
            ) from error
        if status == 429 or status >= 500:
            raise TransientError(
                "the store did not answer", where=where, got=code, fix="try again"
            ) from error
        raise StoreError("the store refused", where=where, got=str(error)) from error
    except NoCredentialsError as error:
        raise _no_credentials(where, tried()) from error
    except FileNotFoundError as error:
        if error.filename != os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
            raise
        raise _no_credentials(where, tried()) from error
    except BotoCoreError as error:
        raise TransientError(
            "the store did not answer", where=where, got=str(error), fix="try again"
        ) from error


def _no_credentials(where: str, tried: str) -> StoreError:
    return StoreError(
        f"no S3 credentials; tried {tried}",
        where=where,
        fix="docs/kubeflow.md has the ways",
    )
