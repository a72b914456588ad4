"""Files of this machine, which are copied to the store before a run on a cluster.

The examples' data are in installed packages, and a first data set is a file in a folder. Each is
copied to `<store>/_sources/<digest>/…`, by the digest of the files' names and content, and the
parameter becomes that address: the same content is copied once, and the data of a run never
change. Objects are created whole, and the run is submitted after the last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    IntegrityError,
    KfpSuiteError,
    ParameterError,
    StoreError,
    TransientError,
)
from kfp_suite.local.staging import Selection, copy_file, is_local, select
from kfp_suite.reports.formatting import byte_size
from kfp_suite.stores.databases import SNAPSHOTS
from kfp_suite.stores.sources import PACKAGE
from kfp_suite.stores.store import Store, open_store

FOLDER = SNAPSHOTS
"""The folder of a store where what sources held is kept."""
FILES = ("module_file", "labelled", "baseline_statistics")
"""Parameters that are one file."""


@dataclass(frozen=True)
class Brought:
    """Files that were copied to the store.

    Attributes:
        parameter: The parameter that named them: `sources.flights`.
        given: Its value.
        uri: Their address in the store.
        files: Their number.
        bytes: Of all of them.
        new: Whether any of them is new in the store.
    """

    parameter: str
    given: str
    uri: str
    files: int
    bytes: int
    new: bool

    def __str__(self) -> str:
        how = "brought to" if self.new else "is there already:"
        files = "" if self.files == 1 else f"{self.files} files, "
        return f"{self.parameter}: {self.given} {how} {self.uri} ({files}{byte_size(self.bytes)})"


def find_local_files(
    values: Mapping[str, Any], base_of: Callable[[str], Path], *, has_store: bool
) -> dict[str, Any]:
    """`values` with absolute paths, if each names files that are here and can be brought.

    Args:
        values: Parameters by name.
        base_of: The folder that the relative paths of a parameter start from.
        has_store: Whether the pipeline has a parameter `store`.

    Raises:
        MissingError: a path or a pattern that matches nothing.
        ParameterError: there is no store to bring them to, or none that a cluster reads.
    """
    store = values.get("store")
    if isinstance(store, str) and store and is_local(store):
        raise ParameterError(
            "only this machine has this",
            where="store",
            got=store,
            expected="a bucket that the cluster reads: gs://…, s3://…, minio://…",
            fix="--param store=gs://BUCKET/models",
        )

    def absolute(name: str, uri: str) -> str:
        if not store:
            way = f"--param {name}=gs://…"
            raise ParameterError(
                "only this machine has this",
                where=name,
                got=uri,
                expected="what the cluster reads: gs://…, s3://…, postgresql://…",
                fix="give a store to bring it to: --param store=gs://BUCKET/models"
                if has_store
                else f"upload it and give its address: {way}",
            )
        selected = _select(name, uri, base_of(name))
        if name in FILES and len(selected.files) != 1:
            raise ParameterError("not one file", where=name, got=uri)
        if uri.startswith(PACKAGE):
            return uri
        return os.path.normpath(base_of(name).absolute() / uri.removeprefix("file://"))

    return _with_local(values, absolute)


def bring(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Brought, ...]]:
    """Copy the files of this machine to the store.

    Args:
        values: As `find_local_files` returns them.

    Returns:
        The values with the files' addresses in the store, and the copied files.

    Raises:
        DataError: a file changes while it is read.
        StoreError: the store refuses, or cannot be reached from here.
        IntegrityError: the store has another object at the address.
    """
    found: list[Brought] = []

    def brought(name: str, uri: str) -> str:
        try:
            store = open_store(str(values["store"]))
            one = _bring(store, name, uri, _select(name, uri, Path()))
        except StoreError as error:
            raise _unreachable(error, name, uri) from error
        found.append(one)
        return one.uri

    return _with_local(values, brought), tuple(found)


def _select(name: str, uri: str, base: Path) -> Selection:
    return select(uri, base, name)


def _with_local(values: Mapping[str, Any], replaced: Callable[[str, str], str]) -> dict[str, Any]:
    """`values` with each local URI replaced; `replaced` gets the parameter and the URI."""
    found = dict(values)
    for name in FILES:
        if _names_local_files(found.get(name)):
            found[name] = replaced(name, found[name])
    if isinstance(found.get("sources"), Mapping):
        found["sources"] = dict(_sources(found["sources"], replaced))
    return found


def _sources(
    sources: Mapping[str, Any], replaced: Callable[[str, str], str]
) -> Iterator[tuple[str, Any]]:
    for name, source in sources.items():
        if _names_local_files(source):
            yield name, replaced(f"sources.{name}", source)
        elif isinstance(source, Mapping) and _names_local_files(source.get("uri")):
            yield name, {**source, "uri": replaced(f"sources.{name}.uri", source["uri"])}
        else:
            yield name, source


def _names_local_files(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_local(value)


def _bring(store: Store, name: str, uri: str, selected: Selection) -> Brought:
    folder = f"{FOLDER}/{selected.folder}"
    there = {info.name: info.bytes for info in store.list(f"{folder}/")}
    sizes = {}
    with TemporaryDirectory(prefix="kfp-suite-bring-") as scratch:
        for file, path in selected.files.items():
            sizes[file] = path.stat().st_size
            target = f"{folder}/{file}"
            if target not in there:
                _create(store, target, path, selected.digests[file], Path(scratch) / "file")
            elif there[target] != sizes[file]:
                raise IntegrityError(
                    "another object is at the address of this content",
                    where=f"{store.uri}/{target}",
                    got=f"{there[target]} bytes",
                    expected=f"{sizes[file]} bytes",
                    fix="delete it, and submit again",
                )
    new = any(f"{folder}/{file}" not in there for file in selected.files)
    address = "/".join(filter(None, (store.uri.rstrip("/"), folder, selected.last)))
    return Brought(name, uri, address, len(sizes), sum(sizes.values()), new)


def _create(store: Store, target: str, path: Path, digest: str, scratch: Path) -> None:
    """Create an object with exactly the content of its address, even if the file changes
    meanwhile."""
    copy_file(path, scratch, digest)
    try:
        store.create(target, scratch)
    except AlreadyExistsError:  # of a command beside this one, with the same content
        return
    finally:
        scratch.unlink()


def _unreachable(error: StoreError, name: str, uri: str) -> KfpSuiteError:
    """The error of the store, with the way around it."""
    kind = TransientError if isinstance(error, TransientError) else StoreError
    return kind(
        f"{uri} cannot be brought to the store: {error.what}",
        where=name,
        got=" ".join(filter(None, (error.where, error.got))),
        fix="this command writes to the store with the credentials of this machine, at "
        "AWS_ENDPOINT_URL for one that is not Amazon's (of KFP's own: kubectl port-forward -n "
        f"kubeflow svc/seaweedfs 9000); or upload it and give its address: --param {name}=…",
    )
