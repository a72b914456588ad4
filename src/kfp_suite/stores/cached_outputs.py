"""Whether the outputs that KFP's cache will give are still there.

KFP keeps an entry of its cache for good, and does not look whether a bucket's lifecycle rule, or
a person, has deleted what it names. So each step that it may take from its cache leaves a note in
the store: where its output is, and of how many files. The folder of the notes stands in the text
of the pinned sources, which resolve passes on and KFP keys its cache on. While all that is noted
there is in its place, resolve gives the same folder; then another, of which the cache knows
nothing, and the steps run again. No digest is made of the folder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from kfp_suite.contracts.canonical import canonical_json
from kfp_suite.contracts.digests import PREFIX, digest_bytes
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    KfpSuiteError,
    MissingError,
    StoreError,
)
from kfp_suite.stores.store import ObjectInfo, Store, open_store

log = logging.getLogger(__name__)

FOLDER = "_cached"
METADATA_KEY = "cached_outputs"
"""Of a dataset: the folder, for the steps that read it."""


def choose_folder(sources: str, store: str, run_output: str) -> str:
    """Where the steps of a run note their outputs.

    Args:
        sources: The text of the pinned sources.
        store: Where notes are kept, below `_cached`; empty: nowhere.
        run_output: The URI of an output of this run alone.

    Returns:
        The folder of an earlier run with these sources, the youngest whose outputs are all
        there; else a new one. Empty if there is no store, nothing can be kept there, or outputs
        are no objects of a store: a runner that is not KFP looks itself.

    Raises:
        StoreError: the store cannot be listed.
    """
    if not store or "://" not in run_output:
        return ""
    kept = open_store(store)
    base = f"{FOLDER}/{_short(sources)}"
    folders = {
        folder: list(notes)
        for folder, notes in groupby(kept.list(f"{base}/"), lambda note: _parent(note.name))
    }
    youngest_first = sorted(folders.items(), key=_age, reverse=True)
    whole = (folder for folder, notes in youngest_first if _are_there(kept, notes))
    folder = next(whole, "")
    if not folder:
        folder = f"{base}/{_short(run_output)}"
        try:
            # It is there from now on, though a step may have no right to leave a note in it.
            _note(kept, f"{folder}/", run_output, files=0)
        except StoreError as error:
            log.warning("nobody will look whether KFP's cache still has its outputs: %s", error)
            return ""
    return f"{kept.uri.rstrip('/')}/{folder}"


def leave_note(folder: str, uri: str, path: str) -> None:
    """Note where a step's output is; a store that refuses is a warning.

    Args:
        folder: As `choose_folder` gave it; empty: no note.
        uri: Where KFP uploads the output.
        path: The output, a folder, written whole.
    """
    if not folder:
        return
    files = sum(1 for one in Path(path).rglob("*") if one.is_file())
    try:
        _note(open_store(folder), "", uri, files)
    except KfpSuiteError as error:
        log.warning("nobody will look whether KFP's cache still has this output: %s", error)


def _note(kept: Store, folder: str, uri: str, files: int) -> None:
    with suppress(AlreadyExistsError):  # of an earlier try
        kept.create(f"{folder}{_short(uri)}.json", canonical_json({"uri": uri, "files": files}))


def _are_there(kept: Store, notes: Iterable[ObjectInfo]) -> bool:
    return all(_is_there(kept, note.name) for note in notes)


def _is_there(kept: Store, note: str) -> bool:
    """Whether the output of a note has all its files; of one that may not be listed, yes."""
    try:
        content: dict[str, Any] = json.loads(kept.read(note))
        found = sum(1 for _ in open_store(content["uri"]).list())
    except MissingError:
        return False
    except StoreError as error:
        log.warning("nobody looks whether a cached output is there: %s", error)
        return True
    return found >= int(content["files"])


def _age(item: tuple[str, list[ObjectInfo]]) -> tuple[str, str]:
    folder, notes = item
    return max(note.created or "" for note in notes), folder


def _parent(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _short(text: str) -> str:
    return digest_bytes(text.encode()).removeprefix(PREFIX)[:16]
