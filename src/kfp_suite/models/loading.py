"""A Model artifact in memory: raw rows in, predictions out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import (
    ESTIMATOR_ONNX,
    SAVED_MODEL,
    ModelManifest,
    read_model,
)
from kfp_suite.features.loading import Transform, load_transform
from kfp_suite.models.calibration import CALIBRATION, Calibration, load_calibration
from kfp_suite.models.onnx import OnnxEstimator, decide
from kfp_suite.models.persistence import load_estimator
from kfp_suite.models.user_modules import MODULE, import_module

TRANSFORM = "transform"
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Prediction:
    """The predictions of a model for rows.

    `values`: shape (rows,), class values or float64; `probabilities`: shape (rows,
    classes) in the order of the manifest's `classes`, None if the model has none.
    """

    values: Any
    probabilities: Any = None


class LoadedModel:
    """A model that predicts, as it was trained: transform and estimator together."""

    def __init__(
        self,
        manifest: ModelManifest,
        transform: Transform,
        scorer: Any,
        calibration: Calibration | None = None,
    ) -> None:
        self.manifest = manifest
        self.transform = transform
        self._scorer = scorer
        self._calibration = calibration

    def predict(self, table: pa.Table) -> Prediction:
        """Predict raw rows.

        Args:
            table: The columns of `manifest.signature.inputs`; others are ignored.

        Raises:
            MissingError: a column is not there.
            DataError: a value that the transform cannot use, naming the column.
        """
        return self.decided(self.scores(self.features(table)))

    def features(self, table: pa.Table) -> Any:
        """The input of the estimator: float32, shape (rows, features).

        Raises:
            MissingError, DataError: as `predict`.
        """
        return self.transform.transform(table)

    def scores(self, features: Any) -> Any:
        """The output of the estimator: probabilities, shape (rows, classes), class positions
        or numbers, shape (rows,)."""
        return self._scorer.scores(features)

    def decided(self, scores: Any) -> Prediction:
        """The prediction of scores: calibrated, with the class decided."""
        if self.manifest.task == "regression":
            return Prediction(np.asarray(scores, dtype=np.float64))
        if scores.ndim == 1:  # class positions: the estimator has no probabilities
            return Prediction(self._classes[scores])
        if self._calibration is not None:
            scores = self._calibration.apply(scores)
        return Prediction(self._classes[decide(scores, self._threshold)], scores)

    def predict_examples(self, examples: list[bytes]) -> Prediction:
        """Predict serialized `tf.Example`s, by the signature `serving_examples`.

        Raises:
            ParameterError: the model has no such signature.
            DataError: they are not `tf.Example`s, or lack a value.
        """
        ask = getattr(self._scorer, "predict_examples", None)
        found = ask(examples) if ask else None
        if found is None:
            raise ParameterError(
                "the model takes no serialized examples",
                where="signature_name",
                fix="leave signature_name out and send records",
            )
        scores = found.get("probabilities")
        if scores is None:
            return Prediction(np.asarray(found["prediction"], np.float64))
        return Prediction(self._classes[decide(scores, self._threshold)], scores)

    @cached_property
    def _classes(self) -> Any:
        kinds = {type(value) for value in self.manifest.classes}
        return np.array(self.manifest.classes, dtype=object if kinds - {bool, int} else None)

    @property
    def _threshold(self) -> float:
        threshold = self.manifest.threshold
        return DEFAULT_THRESHOLD if threshold is None else threshold


class FittedEstimator:
    """A fitted estimator behind the same call as its graph: `scores`."""

    def __init__(self, estimator: Any, task: str) -> None:
        self._predict = estimator.predict
        if task != "regression" and hasattr(estimator, "predict_proba"):
            self._predict = estimator.predict_proba

    def scores(self, matrix: Any) -> Any:
        """Probabilities of shape (rows, classes), class positions or numbers, shape (rows,)."""
        return np.asarray(self._predict(matrix))


def load_model(folder: Path, *, verify: bool = True, estimator: bool = True) -> LoadedModel:
    """Load a Model artifact.

    The ONNX graph predicts if there is one; it is there only if it was proven equal.

    Args:
        folder: The artifact.
        verify: Recompute every digest first. False only for a caller that has just done so.
        estimator: Load it, too. Without it the model has `features` and `decided` alone.

    Raises:
        MissingError, ContractError: it is not a Model artifact, or not of this version.
        IntegrityError: a digest does not match.
    """
    model = read_model(folder)
    manifest = model.manifest
    if verify:
        model.verify()
    transform = load_transform(folder / TRANSFORM)
    calibration = load_calibration(folder) if CALIBRATION in manifest.files else None
    if not estimator:
        return LoadedModel(manifest, transform, None, calibration)
    if manifest.framework == "tensorflow":
        from kfp_suite.models.saved_model import SavedModelScorer

        return LoadedModel(manifest, transform, SavedModelScorer(folder / SAVED_MODEL))
    if ESTIMATOR_ONNX in manifest.files:
        graph = OnnxEstimator(str(folder / ESTIMATOR_ONNX))
        return LoadedModel(manifest, transform, graph, calibration)
    if MODULE in manifest.files:
        import_module((folder / MODULE).read_bytes(), manifest.files[MODULE])
    fitted = load_estimator(folder, manifest.notes.get("trusted_types", ()))
    scorer = FittedEstimator(fitted, manifest.task)
    return LoadedModel(manifest, transform, scorer, calibration)
