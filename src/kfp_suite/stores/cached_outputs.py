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
        there; else a new one. Empty if there is no store, or outputs are no objects of a
        store: a runner that is not KFP looks itself.

    Raises:
        StoreError: the store refused.
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
    folder = next(whole, f"{base}/{_short(run_output)}")
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
    content = canonical_json({"uri": uri, "files": files})
    try:
        open_store(folder).create(f"{_short(uri)}.json", content)
    except AlreadyExistsError:
        return  # of an earlier try
    except KfpSuiteError as error:
        log.warning("the next run does not take this step from KFP's cache: %s", error)


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
