"""Train on transformed rows and write a Model artifact that can be served as it is."""

from __future__ import annotations

import datetime
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import threadpoolctl

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import write_file, write_json
from kfp_suite.components.contracts.dataset import Dataset, read_dataset
from kfp_suite.components.contracts.digests import digest_files, files_below
from kfp_suite.components.contracts.environment import (
    available_cpus,
    code_digest,
    environment,
)
from kfp_suite.components.contracts.errors import ContractError, DataError, ParameterError
from kfp_suite.components.contracts.model import (
    SAMPLE_REQUEST,
    Field,
    ModelManifest,
    Recipe,
    Signature,
    model_digest,
    write_model_manifest,
)
from kfp_suite.components.features.fitted import FittedTransform
from kfp_suite.components.models.calibration import (
    METHODS,
    Calibration,
    Method,
    fit_calibration,
)
from kfp_suite.components.models.conversion import Proof, save_if_equal
from kfp_suite.components.models.estimators import framework_of
from kfp_suite.components.models.loading import DEFAULT_THRESHOLD, TRANSFORM, FittedEstimator
from kfp_suite.components.models.modules import MODULE, import_module
from kfp_suite.components.models.onnx import ONNX
from kfp_suite.components.models.persistence import ESTIMATOR, save_estimator
from kfp_suite.components.stores.files import PinnedFile
from kfp_suite.components.train.card import model_card
from kfp_suite.components.train.fitting import Training, fit_by_module, fit_named
from kfp_suite.components.train.labels import Target, target_of
from kfp_suite.components.train.rows import Rows, class_weights, labels_of, read_rows

CARD = "MODEL_CARD.md"
_SAMPLE_ROWS = 2
_PROOF_ROWS = 65_536

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainParameters:
    """What to train. Everything here goes into the lineage."""

    label: str
    task: str = "auto"
    estimator: str = "hist_gradient_boosting"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    class_weight: Mapping[str, Any] = field(default_factory=dict)
    sample_weight: str = ""
    early_stopping: int = 0
    threshold: float = DEFAULT_THRESHOLD
    calibration: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.label:
            raise ParameterError("no label", where="label", expected="a column of the dataset")
        if self.early_stopping < 0:
            raise ParameterError(
                "out of range", where="early_stopping", got=self.early_stopping, expected=">= 0"
            )
        if not 0 < self.threshold < 1:
            raise ParameterError(
                "out of range", where="threshold", got=self.threshold, expected="between 0 and 1"
            )
        if self.calibration and self.calibration not in METHODS:
            raise ParameterError(
                "not allowed",
                where="calibration",
                got=self.calibration,
                expected=f"{', '.join(METHODS)} or empty",
            )
        if not 0 <= self.seed < 2**32:
            raise ParameterError(
                "out of range", where="seed", got=self.seed, expected="0 to 2^32-1"
            )


def train(
    parameters: TrainParameters,
    module: PinnedFile | None,
    dataset: Path,
    transform: Path,
    output: Path,
) -> ModelManifest:
    """Fit on the train split and write the Model artifact `output`.

    Args:
        parameters: What to train.
        module: The user's own training function instead of a named estimator.
        dataset: A Dataset artifact with a split `train`, and `eval` for early stopping.
        transform: The transform fitted on it.
        output: The Model artifact.

    Raises:
        ParameterError: a parameter that is not allowed, or does not fit the data.
        DataError: labels or values that nothing can be learned from.
        MissingError, ContractError, IntegrityError: inputs that are not what they should be.
    """
    data = read_dataset(dataset)
    fitted = FittedTransform.load(transform)
    _check_transform(fitted, parameters, transform)
    labels = labels_of(data, "train", parameters.label)
    target = target_of(parameters.label, labels.drop_null(), parameters.task, str(dataset))
    rows = read_rows(data, "train", fitted, target, labels, parameters.sample_weight)
    judged = _eval_rows(data, fitted, target, parameters)
    training = Training(
        train=_weighted(rows, class_weights(parameters.class_weight, target, rows.target)),
        eval=judged,
        task=target.task,
        classes=target.classes,
        feature_names=tuple(fitted.output_names),
        hyperparameters=parameters.hyperparameters,
        seed=parameters.seed,
        threads=available_cpus(),
    )
    log.info("training on %s rows of %s features", f"{len(rows):,}", len(fitted.output_names))
    with whole_folder(output) as folder:
        if module is None:
            estimator = fit_named(parameters.estimator, training, parameters.early_stopping)
        else:
            write_file(folder / MODULE, module.read())
            estimator = fit_by_module(import_module(folder / MODULE, module.digest), training)
        log.info("trained %s", type(estimator).__name__)
        calibration = _calibration(estimator, target, judged, parameters)
        if calibration is not None:
            calibration.save(folder)
        proof, types = _write_estimator(
            estimator, target, training, parameters, folder, calibration
        )
        shutil.copytree(transform, folder / TRANSFORM)
        inputs = [field.name for field in fitted.inputs]
        sample = data.head("train", _SAMPLE_ROWS, inputs).to_pylist()
        write_json(folder / SAMPLE_REQUEST, {"instances": [_record(row) for row in sample]})
        manifest = _manifest(
            folder=folder,
            parameters=parameters,
            target=target,
            signature=_signature(fitted, target, has_probabilities=_probable(estimator, target)),
            recipe=_recipe(data, fitted, parameters, module),
            framework=framework_of(estimator),
            notes={"trusted_types": types, "onnx": asdict(proof)},
        )
        counts = {"train": len(rows)} | ({"eval": len(judged)} if judged else {})
        card = model_card(manifest, counts, _named(estimator, parameters, module))
        write_file(folder / CARD, card.encode())
        files = digest_files(folder, files_below(folder))
        manifest = ModelManifest(**{**vars(manifest), "files": files})
        write_model_manifest(folder, manifest)
    return manifest


def _check_transform(fitted: FittedTransform, parameters: TrainParameters, path: Path) -> None:
    if parameters.label in {field.name for field in fitted.inputs}:
        raise ContractError(
            f"the transform reads the label '{parameters.label}'",
            where=path,
            fix="give transform the same label, so that no feature reads it",
        )


def _eval_rows(
    data: Dataset, fitted: FittedTransform, target: Target, parameters: TrainParameters
) -> Rows | None:
    split = data.manifest.splits.get("eval")
    if split is None or split.rows == 0:
        return None
    labels = labels_of(data, "eval", parameters.label)
    return read_rows(data, "eval", fitted, target, labels, parameters.sample_weight)


def _weighted(rows: Rows, weights: Any) -> Rows:
    """The rows with the weights of their classes, times their own."""
    if weights is None:
        return rows
    own = 1.0 if rows.weight is None else rows.weight
    return Rows(rows.matrix, rows.target, own * weights[rows.target])


def _write_estimator(
    estimator: Any,
    target: Target,
    training: Training,
    parameters: TrainParameters,
    folder: Path,
    calibration: Calibration | None,
) -> tuple[Proof, list[str]]:
    """Save the estimator, and its graph where that predicts the same on real rows."""
    if getattr(estimator, "n_jobs", None) is not None:
        estimator.n_jobs = None  # how many cores trained it is not part of the model
    types = save_estimator(estimator, folder)
    rows = training.eval if training.eval is not None else training.train
    step = max(1, len(training.train) // _PROOF_ROWS)
    matrix = np.ascontiguousarray(
        np.concatenate([rows.matrix[:_PROOF_ROWS], training.train.matrix[::step][:_PROOF_ROWS]])
    )
    with threadpoolctl.threadpool_limits(training.threads):
        expected = FittedEstimator(estimator, target.task).scores(matrix)
    if target.task != "regression" and expected.ndim == 1:
        return Proof(False, "the estimator has no probabilities"), types
    proof = save_if_equal(
        estimator, target.task, matrix, expected, parameters.threshold, folder, calibration
    )
    log.info("ONNX: %s", "proven equal" if proof.equal else f"not kept: {proof.why}")
    return proof, types


def _calibration(
    estimator: Any, target: Target, judged: Rows | None, parameters: TrainParameters
) -> Calibration | None:
    if not parameters.calibration:
        return None
    if not _probable(estimator, target):
        raise ParameterError(
            "the estimator has no probabilities",
            where="calibration",
            got=type(estimator).__name__,
            fix="leave it empty, or choose a classifier that has them",
        )
    if judged is None:
        raise ParameterError("there is no eval split to fit it on", where="calibration")
    seen = np.unique(judged.target).size
    if seen < len(target.classes):
        raise DataError(
            "the eval split lacks a class",
            where="calibration",
            got=f"{seen} classes",
            expected=f"{len(target.classes)}",
        )
    said = FittedEstimator(estimator, target.task).scores(judged.matrix)
    return fit_calibration(cast(Method, parameters.calibration), said, judged.target, judged.weight)


def _probable(estimator: Any, target: Target) -> bool:
    return target.task != "regression" and hasattr(estimator, "predict_proba")


def _signature(fitted: FittedTransform, target: Target, *, has_probabilities: bool) -> Signature:
    if target.task == "regression":
        return Signature(fitted.inputs, (Field("prediction", "float64"),))
    first = target.classes[0]
    kind = "bool" if isinstance(first, bool) else "int64" if isinstance(first, int) else "string"
    outputs: tuple[Field, ...] = (Field("prediction", kind),)  # type: ignore[arg-type]
    if has_probabilities:
        outputs += (Field("probabilities", "float64", shape=(len(target.classes),)),)
    return Signature(fitted.inputs, outputs)


def _recipe(
    data: Dataset, fitted: FittedTransform, parameters: TrainParameters, module: PinnedFile | None
) -> Recipe:
    return Recipe(
        dataset_digest=data.manifest.digest,
        transform_digest=fitted.digest,
        code_digest=code_digest(),
        environment=environment("sklearn"),
        sources=data.manifest.sources,
        ingest=data.manifest.parameters,
        features={"features": fitted.content["features"]},
        train=asdict(parameters),
        module_digest=module.digest if module else "",
    )


def _manifest(
    *,
    folder: Path,
    parameters: TrainParameters,
    target: Target,
    signature: Signature,
    recipe: Recipe,
    framework: Any,
    notes: dict[str, Any],
) -> ModelManifest:
    names = files_below(folder)
    files = digest_files(folder, names)
    derived = (ONNX, SAMPLE_REQUEST)
    payload = tuple(name for name in names if name not in derived)
    threshold = parameters.threshold if target.task == "binary" else None
    assert ESTIMATOR in payload
    digest = model_digest(
        task=target.task,
        label=parameters.label,
        classes=target.classes,
        threshold=threshold,
        signature=signature,
        payload={name: files[name] for name in payload},
    )
    return ModelManifest(
        digest=digest,
        framework=framework,
        task=target.task,
        label=parameters.label,
        signature=signature,
        files=files,
        payload=payload,
        recipe=recipe,
        classes=target.classes,
        threshold=threshold,
        notes=notes,
    )


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON takes it: dates in ISO 8601, a missing value as null."""
    return {
        name: value.isoformat()
        if isinstance(value, datetime.date)
        else None
        if isinstance(value, float) and np.isnan(value)
        else value
        for name, value in row.items()
    }


def _named(estimator: Any, parameters: TrainParameters, module: PinnedFile | None) -> str:
    if module is not None:
        return f"{type(estimator).__name__}, by the user's module"
    given = ", ".join(f"{key}={value}" for key, value in parameters.hyperparameters.items())
    return f"{parameters.estimator}({given})"
