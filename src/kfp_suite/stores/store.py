"""The seam between the suite and where its artifacts live.

A store is a folder, a Cloud Storage bucket or an S3 bucket, below a prefix. Its only write
is an exclusive create of a whole object: published versions, aliases and claims are built
from that alone, so every store that has it is safe for many writers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kfp_suite.contracts.errors import ParameterError


@dataclass(frozen=True)
class ObjectInfo:
    """An object: its name below the store, its size, its generation (Cloud Storage) or
    version or ETag (S3), and the time the store says it was created (ISO 8601)."""

    name: str
    bytes: int
    generation: str = ""
    created: str | None = None


class Store(Protocol):
    """Objects by relative POSIX name.

    Every method raises `StoreError` where the store refuses and `TransientError` where
    another try may succeed.
    """

    uri: str

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose name starts with `prefix`, sorted by name."""

    def stat(self, name: str) -> ObjectInfo:
        """One object. Raises MissingError."""

    def read(self, name: str, generation: str = "") -> bytes:
        """An object's bytes. Raises MissingError, also for a generation that is gone."""

    def copy(self, name: str, target: Path, generation: str = "") -> None:
        """Copy an object to the file `target`, whose folder is there. Raises MissingError, also
        for a generation that is gone."""

    def create(self, name: str, content: bytes | Path) -> None:
        """Create an object, whole. Raises AlreadyExistsError if it is there."""

    def download(self, prefix: str, names: Iterable[str], folder: Path) -> None:
        """Copy objects to `folder`: those below `prefix/` with these names, and nothing else
        that lies there. Raises MissingError."""


def check_name(name: str) -> str:
    """`name`, if it is a safe relative object name.

    Raises:
        ParameterError: it is empty, absolute, has `..` or control characters.
    """
    if not is_name(name):
        raise ParameterError(
            "not an object name", got=name, expected="a relative path without '..' or empty parts"
        )
    return name


def is_name(name: str) -> bool:
    """Whether `check_name` takes it: the empty objects that consoles name like folders
    (`folder/`), for one, are not objects of ours."""
    parts = name.split("/")
    return bool(name) and name.isprintable() and not any(p in ("", ".", "..") for p in parts)


def open_store(uri: str) -> Store:
    """The store at `uri`: `gs://bucket/prefix`, `s3://bucket/prefix`, or a folder's path.

    `minio://bucket/prefix` is how KFP calls its own S3 store.

    Raises:
        ParameterError: the URI is of no kind we know.
        StoreError: no credentials were found.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        from kfp_suite.stores.folder import FolderStore

        return FolderStore(Path(uri))
    if scheme == "file":
        from kfp_suite.stores.folder import FolderStore

        return FolderStore(Path(rest))
    if scheme == "gs":
        from kfp_suite.stores.cloud_storage import CloudStorageStore

        return CloudStorageStore(uri)
    if scheme in ("s3", "minio"):
        from kfp_suite.stores.s3 import S3Store

        return S3Store(uri)
    raise ParameterError(
        f"unknown kind of store '{scheme}'", got=uri, expected="a folder, gs://… or s3://…"
    )
