"""The Model artifact: a folder that can be served as it is.

    model/
      model.json           the manifest: digest, signature, lineage
      transform/           the fitted transform (see features)
      estimator.skops      the estimator, in a format that runs no code
      estimator.onnx       the same, where outputs were proven equal (derived, not digested)
      keras/               a Keras network instead of skops: network.json, weights.npz, scale.json
      saved_model/         transform, network and decision as one graph (derived)
      estimator.joblib     the same, for model servers that load nothing else (derived)
      sample_request.json  {"instances": [...]} of raw records
      sample_answer.json   the model's predictions of them (derived)
      module.py            the user's module, where one was used
      MODEL_CARD.md

`digest` covers payload, transform and signature only: two runs that made the same model
have the same digest, whatever they were called and whenever they ran.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.digests import check_files, digest_value
from kfp_suite.contracts.environment import Environment
from kfp_suite.contracts.errors import IntegrityError
from kfp_suite.contracts.manifests import read_manifest
from kfp_suite.contracts.sources import Source

FORMAT_VERSION = 1
MANIFEST = "model.json"
SAMPLE_REQUEST = "sample_request.json"
SAMPLE_ANSWER = "sample_answer.json"
ESTIMATOR_JOBLIB = "estimator.joblib"
ESTIMATOR_ONNX = "estimator.onnx"
SAVED_MODEL = "saved_model"
# Its signatures on raw columns and on `tf.Example`s, as TensorFlow Serving names them.
DEFAULT_SIGNATURE = "serving_default"
EXAMPLES_SIGNATURE = "serving_examples"
Task = Literal["binary", "multiclass", "regression"]
Framework = Literal["sklearn", "xgboost", "lightgbm", "tensorflow"]


@dataclass(frozen=True)
class Field:
    """A named input or output.

    Attributes:
        nullable: It may be null, because the transform imputes it.
        required: It must be in each record; if it is also `nullable`, a record may leave it
            out, which is the same as null.
    """

    name: str
    type: ColumnType
    required: bool = True
    nullable: bool = False
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Signature:
    """Raw columns in, predictions out.

    Outputs: `prediction` (the class or the value) and, for classification,
    `probabilities` of shape (classes,) in the order of `classes`.
    """

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]


@dataclass(frozen=True)
class Recipe:
    """Everything needed to make the model again."""

    dataset_digest: str
    transform_digest: str
    code_digest: str
    environment: Environment
    sources: dict[str, Source]
    ingest: dict[str, Any]
    features: dict[str, Any]
    train: dict[str, Any]
    module_digest: str = ""


@dataclass(frozen=True)
class ModelManifest:
    """The content of `model.json`.

    `files` maps each file of the folder to its digest; `payload` names those that the
    model's own digest covers. `classes` are the label values in the order of
    probabilities. `threshold` applies to the second class of a binary model.
    """

    digest: str
    framework: Framework
    task: Task
    label: str
    signature: Signature
    files: dict[str, str]
    payload: tuple[str, ...]
    recipe: Recipe
    classes: tuple[str | int | bool, ...] = ()
    threshold: float | None = None
    format_version: int = FORMAT_VERSION
    notes: dict[str, Any] = field(default_factory=dict)


def estimator_name(manifest: ModelManifest) -> str:
    """The trained model: the name of an estimator or network, or the class that the user's
    module returned."""
    train = manifest.recipe.train
    if not manifest.recipe.module_digest:
        return str(train.get("network") or train.get("estimator") or "unknown")
    returned = manifest.notes.get("returned")
    return f"{returned}, of the user's module" if returned else "the user's module"


def model_digest(
    *,
    task: Task,
    label: str,
    classes: tuple[str | int | bool, ...],
    threshold: float | None,
    signature: Signature,
    payload: dict[str, str],
) -> str:
    """The digest of a model: its payload files, what it takes and what it gives."""
    return digest_value(
        {
            "task": task,
            "label": label,
            "classes": list(classes),
            "threshold": threshold,
            "signature": asdict(signature),
            "payload": payload,
        }
    )


@dataclass(frozen=True)
class Model:
    """A Model artifact on disk."""

    path: Path
    manifest: ModelManifest

    @property
    def names(self) -> list[str]:
        """The files of the artifact, sorted: those its manifest names, and the manifest.

        Whatever else is in the folder (bytecode, a file manager's notes) is not part of it.
        """
        return sorted({*self.manifest.files, MANIFEST})

    def copy_to(self, folder: Path) -> None:
        """Copy the artifact's own files to `folder`, which is made if it is not there."""
        for name in self.names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.path / name, target)

    def verify(self) -> None:
        """Recompute every digest.

        Raises:
            IntegrityError: a file, or the model's own digest, does not match.
        """
        m = self.manifest
        check_files(self.path, m.files)
        got = model_digest(
            task=m.task,
            label=m.label,
            classes=m.classes,
            threshold=m.threshold,
            signature=m.signature,
            payload={name: m.files[name] for name in m.payload},
        )
        if got != m.digest:
            raise IntegrityError(
                "the model's digest does not match its content",
                where=self.path / MANIFEST,
                got=got,
                expected=m.digest,
            )


def read_model(path: Path) -> Model:
    """Open a Model artifact, without loading the model.

    Raises:
        MissingError: there is no `model.json`.
        ContractError: it is of another format version or not ours.
    """
    manifest = read_manifest(
        path / MANIFEST,
        ModelManifest,
        format_version=FORMAT_VERSION,
        fix="train the model again with this version of kfp-suite",
    )
    return Model(path, manifest)


def write_model_manifest(folder: Path, manifest: ModelManifest) -> None:
    """Write `model.json`, the completion marker: call it last."""
    write_json(folder / MANIFEST, asdict(manifest))
