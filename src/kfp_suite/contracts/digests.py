"""Content digests: `sha256:<64 hex digits>` of files, folders, values and tables.

A digest covers content and the digests of what it was made from; never a time, a host, a
path or an order of threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kfp_suite.contracts.canonical import canonical_json
from kfp_suite.contracts.errors import IntegrityError, store_error

PREFIX = "sha256:"


def digest_bytes(content: bytes) -> str:
    """The digest of `content`."""
    return PREFIX + hashlib.sha256(content).hexdigest()


def digest_value(value: Any) -> str:
    """The digest of a JSON value in its canonical form."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, in constant memory.

    Raises:
        MissingError, DataError, StoreError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise store_error(error, path) from error


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Digest by relative name, for the files `names` under `folder`."""
    return {name: digest_file(folder / name) for name in sorted(names)}


def files_below(folder: Path) -> list[str]:
    """Relative POSIX names of the regular files below `folder`, sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Compare files with the digests recorded for them.

    Raises:
        IntegrityError: naming the first file whose bytes differ.
        MissingError: a file is not there.
    """
    for name, digest in sorted(expected.items()):
        got = digest_file(folder / name)
        if got != digest:
            raise IntegrityError(
                "the bytes do not match the recorded digest",
                where=folder / name,
                got=got,
                expected=digest,
                fix="publish the artifact again; do not edit it in place",
            )
