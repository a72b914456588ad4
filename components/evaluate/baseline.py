"""The baseline of a model: always the commonest class, or the mean label, of train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.components.evaluate.metrics import (
    METRICS,
    BinaryScores,
    MulticlassScores,
    RegressionScores,
)
from kfp_suite.components.evaluate.predictions import (
    LabelledRows,
    Scores,
    class_name,
    class_positions,
)
from kfp_suite.contracts.model import ModelManifest, Task
from kfp_suite.reports.formatting import number


@dataclass(frozen=True)
class Baseline:
    """A prediction that is the same for every row.

    Args:
        says: A description of the prediction.
        metrics: Its metrics on the rows; one that is not defined is left out.
    """

    says: str
    metrics: Mapping[str, float]

    def is_reached_by(self, metric: str, value: float, task: Task) -> bool:
        """Whether a model's `value` is no better than the baseline's."""
        own = self.metrics.get(metric)
        if own is None:
            return False
        return value <= own if METRICS[task][metric] == "higher" else value >= own


def baseline_of(scores: Scores, manifest: ModelManifest, rows: LabelledRows) -> Baseline:
    """The baseline on the rows that a model was scored on.

    Args:
        scores: The model's scores, which hold the labels of the rows.
        manifest: The model's manifest.
        rows: The rows. The prediction is learned from train; without a train split, from them.
    """
    labels = _select_labels(rows)
    constant: Scores
    if isinstance(scores, RegressionScores):
        mean = float(np.mean(np.asarray(labels.cast(pa.float64()))))
        constant = RegressionScores(scores.actual, np.full(scores.rows, mean))
        says = f"the mean, {number(mean)}"
    else:
        positions = class_positions(labels, manifest.classes)
        known = positions[positions < len(manifest.classes)]
        counts = np.bincount(known, minlength=len(manifest.classes))
        shares = counts / max(1, counts.sum())
        commonest = int(counts.argmax())
        says = f"always {class_name(manifest.classes[commonest])}"
        if isinstance(scores, BinaryScores):
            constant = BinaryScores(
                scores.actual,
                np.full(scores.rows, commonest == 1),
                np.full(scores.rows, shares[1]),
            )
        else:
            constant = MulticlassScores(
                scores.actual,
                np.full(scores.rows, commonest),
                np.broadcast_to(shares, (scores.rows, len(shares))),
                scores.classes,
            )
    found = {name: float(v[0]) for name, v in constant.measure(np.ones((1, scores.rows))).items()}
    return Baseline(says, {name: value for name, value in found.items() if np.isfinite(value)})


def _select_labels(rows: LabelledRows) -> pa.ChunkedArray:
    train = rows.dataset.manifest.splits.get("train")
    labels = rows.columns[rows.label]
    if rows.split != "train" and train is not None and train.rows:
        of_train = rows.dataset.table("train", [rows.label])[rows.label].drop_null()
        if pa.types.is_floating(of_train.type):
            of_train = of_train.filter(pc.is_finite(of_train))
        labels = of_train if len(of_train) else labels
    return labels
