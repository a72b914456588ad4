"""Local sources, copied below the run's root and named by their content.

DockerRunner mounts the root and nothing else, and a file that is edited while a run reads
it would give a model that nobody can make again: so steps see copies.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kfp_suite.contracts.atomic import whole_file
from kfp_suite.contracts.canonical import read_json, write_json
from kfp_suite.contracts.digests import PREFIX, digest_file, digest_value, files_below
from kfp_suite.contracts.errors import DataError, ParameterError, store_error
from kfp_suite.stores.sources import PACKAGE, local_files

_ORIGINALS = ".json"
_BLOCK_BYTES = 1 << 20
_PLACEHOLDER = re.compile(r"\$\{\w+\}")


def stage_sources(sources: Mapping[str, Any], base: Path, data: Path) -> dict[str, Any]:
    """Copy every local source below `data` and return the sources with the new paths.

    Args:
        sources: Source name to a URI, or to a mapping with a `uri`.
        base: The folder that relative paths start from: the parameter file's.
        data: The folder to copy to; a content that is there already is not copied again.

    Raises:
        MissingError: a path or pattern that matches no file.
    """
    staged: dict[str, Any] = {}
    for name, source in sources.items():
        if isinstance(source, dict) and isinstance(source.get("uri"), str):
            staged[name] = {**source, "uri": stage(source["uri"], base, data, f"sources.{name}")}
        elif isinstance(source, str):
            staged[name] = stage(source, base, data, f"sources.{name}")
        else:
            raise ParameterError(
                "not a source",
                where=f"sources.{name}",
                got=source,
                expected="a URI, or a mapping with a uri",
            )
    return staged


@dataclass(frozen=True)
class Selection:
    """The local files that a URI names.

    Attributes:
        files: Name to path.
        last: What leads to them from the folder that they are copied to: a name, a pattern, or
            nothing.
    """

    files: Mapping[str, Path]
    last: str

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """The files' digests, by name."""
        return {name: digest_file(path) for name, path in self.files.items()}

    @property
    def folder(self) -> str:
        """The name of the folder that they are copied to, by their content."""
        return digest_value(dict(self.digests)).removeprefix(PREFIX)[:16]


def is_local(uri: str) -> bool:
    """Whether a URI names files that this machine has."""
    return "://" not in uri or uri.startswith((PACKAGE, "file://"))


def select(uri: str, base: Path, where: str) -> Selection:
    """The files of a local file, folder or pattern.

    Args:
        uri: A path, `file://…` or `package://…`.
        base: The folder that relative paths start from.
        where: The parameter, for errors.

    Raises:
        MissingError: nothing matches.
    """
    folder_of, slash, last = uri.rpartition("/")
    if _PLACEHOLDER.search(folder_of):
        raise ParameterError(
            "a local folder does not depend on the window",
            where=where,
            got=uri,
            fix="put the date in the name of the file",
        )
    if _PLACEHOLDER.search(last):  # a window is filled in later: every file that may be one
        files = local_files(folder_of + slash + _PLACEHOLDER.sub("*", last), where, base)
        return Selection(files, last)
    files = local_files(uri, where, base)
    return Selection(files, next(iter(files)) if len(files) == 1 else "")


def stage(uri: str, base: Path, data: Path, where: str) -> str:
    """Copy one local file, folder or pattern below `data`; other URIs stay as they are.

    Raises:
        MissingError: nothing matches.
    """
    if not is_local(uri):
        return uri
    selection = select(uri, base, where)
    return str(_copy(selection, data) / selection.last)


def with_originals(text: str, data: Path) -> str:
    """`text` with the paths of copies below `data` as the files that they were copied from."""
    for folder in set(re.findall(re.escape(str(data)) + r"/([0-9a-f]{16})/", text)):
        originals = (data / folder).with_suffix(_ORIGINALS)
        if originals.is_file():
            for name, path in read_json(originals).items():
                text = text.replace(str(data / folder / name), path)
    return text


def _copy(selection: Selection, data: Path) -> Path:
    """Copy files to a folder of `data` named by their content.

    Each file is put in place whole and has the digest it should have, and the folder holds no
    other: so runs that copy the same files at once do not disturb each other, and what was
    damaged since an earlier run is copied again.
    """
    files, digests = selection.files, selection.digests
    target = data / selection.folder
    write_json(target.with_suffix(_ORIGINALS), {name: str(path) for name, path in files.items()})
    try:
        for name, path in files.items():
            copy = target / name
            if not copy.is_file() or digest_file(copy) != digests[name]:
                copy_file(path, copy, digests[name])
        for name in set(files_below(target)) - digests.keys():
            if not Path(name).name.startswith("."):  # a copy that another run is making
                (target / name).unlink(missing_ok=True)
    except OSError as error:
        raise store_error(error, error.filename or data) from error
    return target


def copy_file(path: Path, copy: Path, digest: str) -> None:
    """Copy a file, whole, if it still has its digest.

    Raises:
        DataError: it changed.
    """
    with path.open("rb") as source, whole_file(copy) as target:
        shutil.copyfileobj(source, target, _BLOCK_BYTES)
        target.flush()
        copied = digest_file(Path(target.name))
        if copied != digest:
            raise DataError(
                "the file changed while it was read",
                where=path,
                got=copied,
                expected=digest,
                fix="run again when nothing writes it",
            )
