"""Train on transformed rows and write a Model artifact that can be served as it is."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from kfp_suite.components.train.checking import check_fitted, check_scores
from kfp_suite.components.train.fitting import Training, fit_by_module, fit_named
from kfp_suite.components.train.labels import Target
from kfp_suite.components.train.packaging import TrainedModel, pack
from kfp_suite.components.train.parallelism import limit_threads
from kfp_suite.components.train.rows import Rows, rows_to_compare
from kfp_suite.components.train.training_data import Objective, read_inputs
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import DataError, ParameterError
from kfp_suite.contracts.model import (
    ESTIMATOR_JOBLIB,
    ESTIMATOR_ONNX,
    ModelManifest,
)
from kfp_suite.models.calibration import (
    METHODS,
    Calibration,
    Method,
    fit_calibration,
)
from kfp_suite.models.conversion import save_if_equal
from kfp_suite.models.equivalence import Proof
from kfp_suite.models.estimators import framework_of
from kfp_suite.models.loading import FittedEstimator
from kfp_suite.models.persistence import save_estimator, save_joblib
from kfp_suite.models.user_modules import MODULE, import_module
from kfp_suite.stores.files import PinnedFile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainParameters(Objective):
    """What to train. Everything here goes into the lineage."""

    estimator: str = "hist_gradient_boosting"
    calibration: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration and self.calibration not in METHODS:
            raise ParameterError(
                "not allowed",
                where="calibration",
                got=self.calibration,
                expected=f"{', '.join(METHODS)} or empty",
            )


def train(
    parameters: TrainParameters,
    module: PinnedFile | None,
    dataset: Path,
    transform: Path,
    output: Path,
    threads: int = 0,
) -> ModelManifest:
    """Fit on the train split and write the Model artifact `output`.

    Args:
        parameters: What to train.
        module: The user's own training function instead of a named estimator.
        dataset: A Dataset artifact with a split `train`, and `eval` for early stopping.
        transform: The transform fitted on it.
        output: The Model artifact.
        threads: The number of threads to compute with; recorded, since the same number gives
            the same model. 0: one for each CPU of this process.

    Raises:
        ParameterError: a parameter that is not allowed, or does not fit the data.
        DataError: labels or values that nothing can be learned from.
        MissingError, ContractError, IntegrityError: missing, malformed or corrupt inputs.
    """
    inputs = read_inputs(parameters, dataset, transform, threads)
    target, training = inputs.target, inputs.training
    log.info(
        "training on %s rows of %s features, with %s threads",
        f"{len(training.train):,}",
        len(training.feature_names),
        training.threads,
    )
    with whole_folder(output) as folder, limit_threads(training.threads):
        if module is None:
            estimator = fit_named(parameters.estimator, training, parameters.early_stopping)
        else:
            source = module.read()
            estimator = fit_by_module(import_module(source, module.digest), training)
            write_file(folder / MODULE, source)
        check_fitted(estimator, training, by_module=module is not None)
        log.info("trained %s", type(estimator).__name__)
        calibration = _calibration(estimator, target, training.eval, parameters)
        if calibration is not None:
            calibration.save(folder)
        proof, types = _write_estimator(
            estimator, target, training, parameters, folder, calibration
        )
        made = TrainedModel(
            framework=framework_of(estimator),
            family="sklearn",
            described=_describe_estimator(estimator, parameters, module),
            has_probabilities=_probable(estimator, target),
            derived=(ESTIMATOR_ONNX, ESTIMATOR_JOBLIB),
            notes={
                "trusted_types": types,
                "onnx": asdict(proof),
                "returned": type(estimator).__name__,
            },
            scorer=FittedEstimator(estimator, target.task),
            calibration=calibration,
        )
        return pack(inputs, parameters, module, made, transform, folder)


def _write_estimator(
    estimator: Any,
    target: Target,
    training: Training,
    parameters: TrainParameters,
    folder: Path,
    calibration: Calibration | None,
) -> tuple[Proof, list[str]]:
    """Save the estimator, and its graph if that predicts the same on real rows."""
    if getattr(estimator, "n_jobs", None) is not None:
        estimator.n_jobs = None  # how many cores trained it is not part of the model
    types = save_estimator(estimator, folder)
    if framework_of(estimator) == "sklearn" and not (folder / MODULE).exists():
        save_joblib(estimator, folder)
    matrix = rows_to_compare(training.train, training.eval)
    expected = FittedEstimator(estimator, target.task).scores(matrix)
    check_scores(expected, training, len(matrix), "estimator", "the estimator predicts")
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


def _describe_estimator(
    estimator: Any, parameters: TrainParameters, module: PinnedFile | None
) -> str:
    if module is not None:
        return f"{type(estimator).__name__}, by the user's module"
    given = ", ".join(f"{key}={value}" for key, value in parameters.hyperparameters.items())
    return f"{parameters.estimator}({given})"
