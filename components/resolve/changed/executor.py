"""Compare what a run would train on with what the champion was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.model import Recipe
from kfp_suite.contracts.parameters import parse, whole_numbers
from kfp_suite.contracts.run_record import CHANGES
from kfp_suite.features.spec import parse_features
from kfp_suite.stores.champions import ChampionReference, parse_champion
from kfp_suite.stores.files import pin_from_json
from kfp_suite.stores.pins import pinned_sources
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore, parse_reference

FORMAT_VERSION = 1
_MAX_VALUE_CHARS = 60


@dataclass(frozen=True)
class ChangedParameters:
    """What a run would train on.

    `sources`, `module` and `champion` are texts of resolve; `ingest` and `train` hold the
    parameters that count, by the names those components give them.
    """

    sources: str
    module: str = ""
    champion: str = ""
    ingest: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False


@dataclass(frozen=True)
class Changes:
    """Whether anything is new, and what; or that nothing is, since which version."""

    changed: bool
    reasons: tuple[str, ...]
    champion: int | None
    format_version: int = FORMAT_VERSION


def changed(parameters: ChangedParameters, output: Path) -> Changes:
    """Write `changes.json` to the folder `output`.

    Raises:
        ParameterError: a text that resolve did not write, or a feature spec that is none.
        MissingError: the champion is not in its store any more.
    """
    reference = parse_champion(parameters.champion)
    if reference is None:
        found = Changes(True, ("there is no champion yet",), None)
    else:
        reasons = tuple(_differences(parameters, _recipe_of(reference)))
        if parameters.force:
            reasons += ("it was asked for: force",)
        nothing = f"nothing is new since version {reference.version}, the champion: the same "
        found = Changes(
            bool(reasons),
            reasons or (nothing + "sources, module and parameters",),
            reference.version,
        )
    with whole_folder(output) as folder:
        write_json(folder / CHANGES, asdict(found))
    return found


def _recipe_of(reference: ChampionReference) -> Recipe:
    store, model, _ = parse_reference(reference.uri)
    manifest = ModelStore(open_store(store)).manifest(model, reference.version)
    return parse(Recipe, manifest.recipe, reference.uri)


def _differences(now: ChangedParameters, was: Recipe) -> Iterator[str]:
    sources = pinned_sources(now.sources)
    for name in sorted(sources.keys() | was.sources.keys()):
        before, after = was.sources.get(name), sources.get(name)
        if before is None:
            yield f"source '{name}' was not there"
        elif after is None:
            yield f"source '{name}' is not there any more"
        elif before.digest != after.digest:
            yield f"source '{name}' has other rows"
    module = pin_from_json(now.module, "module").digest if now.module else ""
    if module != was.module_digest:
        yield "the module is another"
    for given, recorded in ((now.ingest, was.ingest), (now.train, was.train)):
        for name, value in given.items():
            before = whole_numbers(recorded.get(name))
            if whole_numbers(value) != before:
                yield f"{name} is {_shown(value)}, was {_shown(before)}"
    if now.features and _entries(now.features) != _entries(was.features, now.features):
        yield "the features are others"


def _entries(spec: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> list[Any]:
    """The entries of a spec, every parameter spelled out. `like`: of a spec that adds default
    features to its own, the recorded ones it could have are left out."""
    entries = [feature.to_json() for feature in parse_features(spec).features]
    if like is not None and (wanted := parse_features(like)).others == "auto":
        return entries[: len(wanted.features)]
    return entries


def _shown(value: Any) -> str:
    text = " ".join(str(value).split()) if value not in ("", None) else "empty"
    return text if len(text) <= _MAX_VALUE_CHARS else text[: _MAX_VALUE_CHARS - 1] + "…"
