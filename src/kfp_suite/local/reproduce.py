"""Make a published model again from its manifest, and say what differs and why."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kfp_suite.contracts.environment import Environment, code_digest, environment
from kfp_suite.contracts.errors import InputError, MissingError, did_you_mean
from kfp_suite.contracts.model import ModelManifest, Recipe
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.sources import Source
from kfp_suite.stores.versions import ModelStore

MODULE = "module.py"  # as in models.user_modules, which a client cannot import


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was: `kind` is data, code, image, library, machine,
    dataset, transform, file (of the model) or model."""

    kind: str
    name: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: was {self.was}, is {self.now}"


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    `identical`: the model has the same digest. `causes`: what is not as it was when it was
    made, first cause first; there may be some that changed nothing. `results`: the
    artifacts whose digest differs, first made first; of the model, each file that differs
    before the model itself.
    """

    identical: bool
    causes: tuple[Difference, ...]
    results: tuple[Difference, ...]


def reproduce(
    models: ModelStore,
    model: str,
    version: int,
    moved: Mapping[str, str],
    on_step: Callable[[str], None],
) -> Reproduction:
    """Ingest, transform and train again, as the manifest says, and compare digests.

    Training computes with the number of threads of the version, whatever this machine has.

    Args:
        models: The store.
        model: The model's name.
        version: Its version.
        moved: Where sources are now, by name; the others are where they were.
        on_step: Called with the name of each step as it starts.

    Raises:
        MissingError: a source is not where it was.
    """
    manifest = models.manifest(model, version)
    where = f"{models.uri(model, version)}/manifest.json"
    recipe = parse(Recipe, manifest.recipe, where)
    sources, causes = _sources(recipe, moved)
    causes += _environment(recipe)
    results = []
    with tempfile.TemporaryDirectory(prefix="kfp-suite-reproduce-") as scratch:
        made = _make(recipe, sources, models.model_uri(manifest), Path(scratch), on_step)
    for kind, digest_then, digest_now in (
        ("dataset", recipe.dataset_digest, made.dataset),
        ("transform", recipe.transform_digest, made.transform),
    ):
        if digest_then != digest_now:
            results.append(Difference(kind, "digest", digest_then, digest_now))
    if made.model.digest != manifest.digest:
        results += _in_model(models.model_manifest(manifest), made.model)
        results.append(Difference("model", "digest", manifest.digest, made.model.digest))
    return Reproduction(made.model.digest == manifest.digest, tuple(causes), tuple(results))


def _in_model(was: ModelManifest, now: ModelManifest) -> list[Difference]:
    """The differences in the part that the model's digest covers."""
    differences = [
        Difference("model", name, str(getattr(was, name)), str(getattr(now, name)))
        for name in ("task", "label", "classes", "threshold", "signature")
        if getattr(was, name) != getattr(now, name)
    ]
    before, after = ({name: m.files[name] for name in m.payload} for m in (was, now))
    return differences + [
        Difference("file", name, before.get(name, "none"), after.get(name, "none"))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _sources(
    recipe: Recipe, moved: Mapping[str, str]
) -> tuple[dict[str, Source], list[Difference]]:
    from kfp_suite.stores.databases import is_database
    from kfp_suite.stores.sources import pin, spec_of

    for name in moved:
        if name not in recipe.sources:
            raise MissingError(
                f"no source '{name}'", where="--source", fix=did_you_mean(name, recipe.sources)
            )
    found, differences = {}, []
    for name, source in recipe.sources.items():
        spec = spec_of(source)
        if name in moved:
            spec = replace(spec, uri=moved[name], query="")
        if is_database(spec.uri):  # its rows are in the store; the database has moved on
            found[name] = source
            continue
        try:
            found[name] = pin(name, spec)
        except InputError as error:
            raise MissingError(
                "the source is not there any more",
                where=f"sources.{name}",
                got=str(error),
                fix=f"say where it is now: --source {name}=PATH",
            ) from error
        if found[name].digest != source.digest:
            differences.append(Difference("data", name, source.digest, found[name].digest))
    return found, differences


def _environment(recipe: Recipe) -> list[Difference]:
    was = recipe.environment
    now = environment(_family(recipe), was.threads)
    differences = []
    if recipe.code_digest != code_digest():
        differences.append(Difference("code", "kfp-suite", recipe.code_digest, code_digest()))
    if was.image != now.image:
        differences.append(Difference("image", "of the step", was.image, now.image))
    differences += _libraries(was, now)
    if was.cpu != now.cpu:
        differences.append(Difference("machine", "cpu", was.cpu, now.cpu))
    if was.blas and was.blas != now.blas:  # versions of before do not say
        differences.append(Difference("machine", "BLAS kernel", was.blas, now.blas or "none"))
    return differences


def _family(recipe: Recipe) -> str:
    """The extra whose libraries trained the model."""
    return "tensorflow" if "network" in recipe.train else "sklearn"


def _libraries(was: Environment, now: Environment) -> list[Difference]:
    before, after = ({"python": e.python, **e.libraries} for e in (was, now))
    return [
        Difference("library", name, before.get(name, "none"), after.get(name, "none"))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


@dataclass(frozen=True)
class _Made:
    """What was made again: the digests of the dataset and the transform, and the model."""

    dataset: str
    transform: str
    model: ModelManifest


def _make(
    recipe: Recipe,
    sources: Mapping[str, Source],
    model_uri: str,
    scratch: Path,
    on_step: Callable[[str], None],
) -> _Made:
    from kfp_suite.components.ingest.executor import IngestParameters, ingest
    from kfp_suite.components.transform.executor import TransformParameters, transform

    dataset, fitted, model = scratch / "dataset", scratch / "transform", scratch / "model"
    on_step("ingest")
    given = {key: value for key, value in recipe.ingest.items() if key != "sources"}
    ingested = ingest(
        parse(IngestParameters, given, "ingest"), sources, dataset, scratch / "preview"
    )
    on_step("transform")
    trained_by: dict[str, Any] = recipe.train
    transformed = transform(
        TransformParameters(
            features=recipe.features,
            label=trained_by["label"],
            sample_weight=trained_by["sample_weight"],
        ),
        dataset,
        fitted,
        scratch / "report",
    )
    on_step("train")
    trained = _train(recipe, model_uri, dataset, fitted, model)
    return _Made(ingested.manifest.digest, transformed.digest, trained)


def _train(
    recipe: Recipe, model_uri: str, dataset: Path, transform: Path, model: Path
) -> ModelManifest:
    from kfp_suite.stores.files import PinnedFile

    module = None
    if recipe.module_digest:
        module = PinnedFile(f"{model_uri}/{MODULE}", recipe.module_digest)
    threads = recipe.environment.threads
    if _family(recipe) == "tensorflow":
        from kfp_suite.components.train.keras.executor import KerasParameters, train_keras

        given = parse(KerasParameters, recipe.train, "train")
        logs = model.with_name("logs")
        return train_keras(given, module, dataset, transform, model, logs, threads=threads)
    from kfp_suite.components.train.executor import TrainParameters, train

    named = parse(TrainParameters, recipe.train, "train")
    return train(named, module, dataset, transform, model, threads)


def to_json(reproduction: Reproduction) -> dict[str, Any]:
    """The same, as a mapping."""
    return asdict(reproduction)
