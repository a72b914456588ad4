"""Turn what may change into what cannot: URIs into digests, an alias into a version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_json
from kfp_suite.stores.cached_outputs import choose_folder
from kfp_suite.stores.champions import champion_to_json, pin_champion
from kfp_suite.stores.files import pin_file
from kfp_suite.stores.pins import add_folder, shorten_pins
from kfp_suite.stores.sources import parse_sources, pin, sources_to_json
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

PINS = "pins.json"


@dataclass(frozen=True)
class Resolved:
    """What the later steps are given: each a text that changes when its content does."""

    sources: str
    module: str
    champion: str


def resolve(
    sources: Mapping[str, Any],
    module_file: str,
    store: str,
    model_name: str,
    output: Path,
    output_uri: str = "",
) -> Resolved:
    """Pin every mutable reference of a run.

    Args:
        sources: Source name to URI or spec.
        module_file: The user's module: a path, gs:// or s3://; "" for none.
        store: Where versions live, the rows of database sources, and the pins of very many files;
            "" for none.
        model_name: Whose champion to pin.
        output: The folder `pins.json` is written to.
        output_uri: Where KFP uploads it; `sources` then names a folder in the store, another
            one if what KFP's cache has of these sources was deleted. "" for no cache of KFP's.

    Raises:
        MissingError: a source or the module is not there.
    """
    pinned = {name: pin(name, spec, store) for name, spec in parse_sources(sources).items()}
    text = shorten_pins(sources_to_json(pinned), store)
    resolved = Resolved(
        sources=add_folder(text, choose_folder(text, store, output_uri)),
        module=pin_file(module_file).to_json() if module_file else "",
        champion=champion_to_json(pin_champion(ModelStore(open_store(store)), model_name))
        if store
        else "",
    )
    with whole_folder(output) as folder:
        texts = {**asdict(resolved), "sources": sources_to_json(pinned)}
        write_json(folder / PINS, {k: json.loads(v) if v else None for k, v in texts.items()})
    return resolved
