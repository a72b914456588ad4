"""TensorFlow Model Analysis's metrics, by the names that evaluate gives them.

| task       | metrics                                                                        |
|------------|--------------------------------------------------------------------------------|
| binary     | roc_auc, average_precision, log_loss, brier, accuracy, balanced_accuracy,      |
|            | precision, recall, f1, mcc, prevalence, predicted_positive_rate                |
| multiclass | accuracy, balanced_accuracy, mcc, and f1, precision and recall as `_macro` and |
|            | `_weighted`, all of TFMA's confusion matrix                                    |
| regression | rmse, mae, bias                                                                |

Areas are sums over 10,000 thresholds, so they differ from the exact ones of evaluate by up
to 0.001; TFMA interpolates under the precision-recall curve, evaluate does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow_model_analysis.proto import config_pb2

from kfp_suite.components.evaluate.metrics import MulticlassScores
from kfp_suite.contracts.model import ModelManifest, Task

LABEL = "kfp_suite_label"
PREDICTION = "kfp_suite_prediction"
COUNT = "example_count"
_AUC_THRESHOLDS = 10_000
_MATRIX = "multi_class_confusion_matrix_at_thresholds"

METRICS: Mapping[Task, tuple[str, ...]] = {
    "binary": (
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier",
        "accuracy",
        "balanced_accuracy",
        "precision",
        "recall",
        "f1",
        "mcc",
        "prevalence",
        "predicted_positive_rate",
    ),
    "multiclass": (
        "accuracy",
        "balanced_accuracy",
        "mcc",
        "f1_macro",
        "f1_weighted",
        "precision_macro",
        "precision_weighted",
        "recall_macro",
        "recall_weighted",
    ),
    "regression": ("rmse", "mae", "bias"),
}


def eval_config(manifest: ModelManifest, slices: tuple[tuple[str, ...], ...]) -> Any:
    """What TFMA is to compute.

    Args:
        manifest: The model's task and threshold.
        slices: The columns of each kind of slice.
    """
    config = config_pb2.EvalConfig()
    config.model_specs.add(label_key=LABEL, prediction_key=PREDICTION)
    config.slicing_specs.add()
    for columns in slices:
        config.slicing_specs.add(feature_keys=list(columns))
    specs = config.metrics_specs.add()
    for name, options in _wanted(manifest):
        specs.metrics.add(class_name=name, config=json.dumps(options)[1:-1])
    return config


def _wanted(manifest: ModelManifest) -> list[tuple[str, dict[str, Any]]]:
    count = ("ExampleCount", {"name": COUNT})
    if manifest.task == "regression":
        return [
            count,
            ("MeanSquaredError", {"name": "mse"}),
            ("MeanAbsoluteError", {"name": "mae"}),
            ("MeanLabel", {"name": "mean_label"}),
            ("MeanPrediction", {"name": "mean_prediction"}),
        ]
    if manifest.task == "multiclass":
        return [count, ("MultiClassConfusionMatrixAtThresholds", {"thresholds": [0.0]})]
    # TFMA decides above a threshold, the model from it on.
    least = float(np.nextafter(np.float32(manifest.threshold or 0.5), np.float32(0)))
    areas = {"num_thresholds": _AUC_THRESHOLDS}
    return [
        count,
        ("AUC", {"name": "roc_auc", **areas}),
        ("AUC", {"name": "average_precision", "curve": "PR", **areas}),
        ("BinaryCrossEntropy", {"name": "log_loss"}),
        ("MeanSquaredError", {"name": "brier"}),
        ("BinaryAccuracy", {"name": "accuracy", "threshold": least}),
        ("BalancedAccuracy", {"name": "balanced_accuracy", "thresholds": least}),
        ("Precision", {"name": "precision", "thresholds": least}),
        ("Recall", {"name": "recall", "thresholds": least}),
        ("F1Score", {"name": "f1", "thresholds": least}),
        ("MatthewsCorrelationCoefficient", {"name": "mcc", "thresholds": least}),
        ("MeanLabel", {"name": "prevalence"}),
        ("ConfusionMatrixAtThresholds", {"name": "matrix", "thresholds": [least]}),
    ]


def metrics_of(found: Mapping[str, Any], manifest: ModelManifest) -> dict[str, float | None]:
    """The metrics in what TFMA found for one slice; None if undefined.

    Args:
        found: TFMA's values by metric name.
        manifest: The model.
    """

    def number(name: str) -> float | None:
        value = found.get(name, {}).get("doubleValue")
        if value is None or not math.isfinite(float(value)):
            return None
        return float(value)

    if manifest.task == "regression":
        mse, predicted, label = number("mse"), number("mean_prediction"), number("mean_label")
        bias = None if predicted is None or label is None else predicted - label
        return {"rmse": None if mse is None else math.sqrt(mse), "mae": number("mae"), "bias": bias}
    if manifest.task == "multiclass":
        return _of_matrix(found[_MATRIX], manifest)
    metrics = {name: number(name) for name in METRICS["binary"]}
    ((matrix,),) = (found["matrix"]["confusionMatrixAtThresholds"]["matrices"],)
    counts = {key: float(matrix.get(key, 0.0)) for key in (*_PREDICTED, *_OTHERS)}
    rows = sum(counts.values())
    predicted = sum(counts[key] for key in _PREDICTED)
    return metrics | {"predicted_positive_rate": predicted / rows if rows else None}


_PREDICTED = ("truePositives", "falsePositives")
_OTHERS = ("trueNegatives", "falseNegatives")


def _of_matrix(found: Mapping[str, Any], manifest: ModelManifest) -> dict[str, float | None]:
    """The metrics of a confusion matrix: a row for each cell, which counts as often."""
    (matrix,) = found["multiClassConfusionMatrixAtThresholds"]["matrices"]
    cells = [
        (
            int(e.get("actualClassId", 0)),
            int(e.get("predictedClassId", 0)),
            float(e["numWeightedExamples"]),
        )
        for e in matrix["entries"]
    ]
    actual, predicted, counts = (np.array(column) for column in zip(*cells, strict=True))
    scores = MulticlassScores(actual, predicted, None, len(manifest.classes))
    measured = scores.measure(counts[np.newaxis, :])
    return {
        name: float(measured[name][0]) if np.isfinite(measured[name][0]) else None
        for name in METRICS["multiclass"]
    }
