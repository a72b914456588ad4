"""The parameters of a run, taken from a published version: the same again, or around it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import asdict
from typing import Any

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import Recipe
from kfp_suite.contracts.parameters import parse
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore, VersionManifest, parse_reference

_MODULE = "module.py"


def parameters_from(reference: str, known: Container[str]) -> dict[str, Any]:
    """What a pipeline is called with to make a version again; for a search, the space around
    its hyperparameters.

    Args:
        reference: `STORE/MODEL`, with `/VERSION` or `/ALIAS`; without, the champion.
        known: The names of the pipeline's parameters; what it does not take is left out.

    Raises:
        MissingError: there is no such version.
        ParameterError: the version is of a family that the pipeline does not train, or it was
            trained by a user's module, around which there is nothing to search.
    """
    store, model, version = parse_reference(reference)
    models = ModelStore(open_store(store))
    manifest = models.manifest(model, models.resolve(model, version))
    where = models.uri(model, manifest.version)
    recipe = parse(Recipe, manifest.recipe, where)
    found = {
        "model_name": model,
        "store": models.store.uri,
        "sources": _sources(recipe),
        **{key: value for key, value in recipe.ingest.items() if key != "sources"},
        "features": recipe.features,
        **recipe.train,
        "module_file": _module(models, manifest, recipe),
        "thresholds": dict(manifest.evaluation.get("thresholds") or {}),
    }
    _check_family(recipe, known, where)
    if "search_space" in known:
        found["search_space"] = _around(recipe, where)
    return {name: value for name, value in found.items() if name in known}


def _sources(recipe: Recipe) -> dict[str, Any]:
    """As a user would write them: without what is as it would be anyway."""
    from kfp_suite.stores.sources import SourceSpec, spec_of

    found = {}
    for name, source in recipe.sources.items():
        spec = spec_of(source)
        usual = asdict(SourceSpec(spec.uri))
        found[name] = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(spec).items()
            if key == "uri" or value != usual[key]
        }
    return found


def _module(models: ModelStore, manifest: VersionManifest, recipe: Recipe) -> str:
    return f"{models.model_uri(manifest)}/{_MODULE}" if recipe.module_digest else ""


def _check_family(recipe: Recipe, known: Container[str], where: str) -> None:
    needs = "network" if "network" in recipe.train else "estimator"
    if needs not in known:
        raise ParameterError(
            "the pipeline trains models of another family",
            where=where,
            got=f"a model with '{needs}'",
            fix="kfp-suite list shows the pipelines",
        )


def _around(recipe: Recipe, where: str) -> dict[str, Any]:
    from kfp_suite.components.train.tune.default_spaces import space_around

    if recipe.module_digest:
        raise ParameterError("a user's module trained it", where=where, fix="search with a space")
    return space_around(recipe.train["estimator"], recipe.train["hyperparameters"])
