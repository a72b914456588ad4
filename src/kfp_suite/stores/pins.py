"""The text of pinned sources that goes from step to step: itself, or a short one that names it.

KFP passes a step's parameters in one argument of its command, for which Linux has 128 KiB, and
keys its cache on them. The pins of thousands of files are longer. They are then kept in the store
under their digest, so that the same pins are the same short text.
"""

from __future__ import annotations

import json
from contextlib import suppress

from kfp_suite.contracts.canonical import canonical_json
from kfp_suite.contracts.digests import PREFIX, digest_bytes
from kfp_suite.contracts.errors import AlreadyExistsError
from kfp_suite.contracts.sources import Source
from kfp_suite.stores.files import PinnedFile, pin_from_json
from kfp_suite.stores.sources import sources_from_json
from kfp_suite.stores.store import open_store

MAX_TEXT_BYTES = 32 << 10
"""Of pins that are passed on as they are."""
PINS = "_pins"
_FOLDER = "cached_outputs"


def shorten_pins(text: str, store: str) -> str:
    """`text`, or the pin of a file in the store that holds it, if it is long.

    Args:
        text: As `sources_to_json` writes it.
        store: Where long pins are kept, below `_pins`; empty: they are passed on as they are.

    Raises:
        StoreError: the store refused.
    """
    content = text.encode()
    if not store or len(content) <= MAX_TEXT_BYTES:
        return text
    digest = digest_bytes(content)
    name = f"{PINS}/{digest.removeprefix(PREFIX)}.json"
    kept = open_store(store)
    with suppress(AlreadyExistsError):  # the same pins, of an earlier run
        kept.create(name, content)
    return PinnedFile(f"{kept.uri.rstrip('/')}/{name}", digest).to_json()


def add_folder(text: str, folder: str) -> str:
    """The text with the folder in which `cached_outputs` notes what is made of the sources; itself
    if there is none."""
    if not folder:
        return text
    return canonical_json({_FOLDER: folder, "sources": json.loads(text)}).decode()


def folder_in(text: str) -> str:
    """The folder that `add_folder` put into a text; empty for none."""
    return _split(text)[1]


def pinned_sources(text: str) -> dict[str, Source]:
    """The sources of a text that `shorten_pins`, or `add_folder`, returned.

    Raises:
        ParameterError: it is not what resolve writes.
        MissingError: the file with the pins is gone.
        IntegrityError: it holds others.
    """
    text, _ = _split(text)
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict) and isinstance(value.get("digest"), str):
            text = pin_from_json(text, "sources").read().decode()
    return sources_from_json(text)


def _split(text: str) -> tuple[str, str]:
    """A text without its folder, and the folder."""
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict) and isinstance(folder := value.get(_FOLDER), str):
            return json.dumps(value["sources"], sort_keys=True), folder
    return text, ""
