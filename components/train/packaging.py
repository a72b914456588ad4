"""What every trained model is packed with: signature, sample, lineage, card and manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_suite.components.train.card import model_card
from kfp_suite.components.train.labels import Target
from kfp_suite.components.train.training_data import Inputs, Objective
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.digests import digest_files, files_below
from kfp_suite.contracts.environment import code_digest, environment
from kfp_suite.contracts.model import (
    SAMPLE_ANSWER,
    SAMPLE_REQUEST,
    Field,
    Framework,
    ModelManifest,
    Recipe,
    Signature,
    model_digest,
    write_model_manifest,
)
from kfp_suite.features.loading import copy_transform
from kfp_suite.models.calibration import Calibration
from kfp_suite.models.loading import TRANSFORM, LoadedModel
from kfp_suite.models.sampling import sample_of
from kfp_suite.stores.files import PinnedFile

CARD = "MODEL_CARD.md"
_SAMPLE_ROWS = 2
# A SavedModel's bytes name things at random: a transform's graph is known by its manifest.
_DERIVED = (
    f"{TRANSFORM}/transform_fn/",
    f"{TRANSFORM}/transformed_metadata/",
)


@dataclass(frozen=True)
class TrainedModel:
    """The result of a training.

    `derived` are files (or folders, ending in `/`) that the model's digest does not cover,
    because they are derived from the others. `family`: the extra with the libraries of the
    training. `described`: for the card. `scorer` has `scores`, as in `models.loading`.
    """

    framework: Framework
    family: str
    described: str
    has_probabilities: bool
    derived: tuple[str, ...]
    notes: Mapping[str, Any]
    scorer: Any
    calibration: Calibration | None = None


def signature_of(inputs: Inputs, *, has_probabilities: bool) -> Signature:
    """Raw columns in; the prediction, and the probabilities if there are some, out."""
    target, columns = inputs.target, inputs.transform.inputs
    if target.task == "regression":
        return Signature(columns, (Field("prediction", "float64"),))
    first = target.classes[0]
    kind = "bool" if isinstance(first, bool) else "int64" if isinstance(first, int) else "string"
    outputs: tuple[Field, ...] = (Field("prediction", kind),)  # type: ignore[arg-type]
    if has_probabilities:
        outputs += (Field("probabilities", "float64", shape=(len(target.classes),)),)
    return Signature(columns, outputs)


def threshold_of(target: Target, objective: Objective) -> float | None:
    """The decision threshold, if there is one."""
    return objective.threshold if target.task == "binary" else None


def pack(
    inputs: Inputs,
    objective: Objective,
    module: PinnedFile | None,
    made: TrainedModel,
    transform: Path,
    folder: Path,
) -> ModelManifest:
    """Add the transform, the sample request and the card to what training wrote into
    `folder`, and `model.json` last."""
    target = inputs.target
    copy_transform(transform, folder / TRANSFORM)
    names = files_below(folder)
    files = digest_files(folder, names)
    derived = (*made.derived, *_DERIVED)
    payload = tuple(name for name in names if not _is_derived(name, derived))
    signature = signature_of(inputs, has_probabilities=made.has_probabilities)
    threshold = threshold_of(target, objective)
    manifest = ModelManifest(
        digest=model_digest(
            task=target.task,
            label=objective.label,
            classes=target.classes,
            threshold=threshold,
            signature=signature,
            payload={name: files[name] for name in payload},
        ),
        framework=made.framework,
        task=target.task,
        label=objective.label,
        signature=signature,
        files=files,
        payload=payload,
        recipe=_recipe(inputs, objective, module, made.family),
        classes=target.classes,
        threshold=threshold,
        notes=dict(made.notes),
    )
    training = inputs.training
    model = LoadedModel(manifest, inputs.transform, made.scorer, made.calibration)
    sample = sample_of(model, inputs.data.head("train", _SAMPLE_ROWS, _inputs_of(manifest)))
    write_json(folder / SAMPLE_REQUEST, sample.request)
    write_json(folder / SAMPLE_ANSWER, sample.answer)
    counts = {"train": len(training.train)}
    if training.eval is not None:
        counts["eval"] = len(training.eval)
    write_file(folder / CARD, model_card(manifest, counts, made.described).encode())
    files = digest_files(folder, files_below(folder))
    manifest = ModelManifest(**{**vars(manifest), "files": files})
    write_model_manifest(folder, manifest)
    return manifest


def _inputs_of(manifest: ModelManifest) -> list[str]:
    return [field.name for field in manifest.signature.inputs]


def _is_derived(name: str, derived: tuple[str, ...]) -> bool:
    return any(name == one or (one.endswith("/") and name.startswith(one)) for one in derived)


def _recipe(inputs: Inputs, objective: Objective, module: PinnedFile | None, family: str) -> Recipe:
    manifest = inputs.data.manifest
    return Recipe(
        dataset_digest=manifest.digest,
        transform_digest=inputs.transform.digest,
        code_digest=code_digest(),
        environment=environment(family, inputs.training.threads),
        sources=manifest.sources,
        ingest=manifest.parameters,
        features={"features": inputs.transform.content["features"]},
        train=asdict(objective),
        module_digest=module.digest if module else "",
    )
