"""All that one evaluation found: what `evaluation.json` and the report are written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kfp_suite.components.evaluate.baseline import Baseline
from kfp_suite.components.evaluate.bootstrap import Measured, Resampling
from kfp_suite.components.evaluate.champion import Champion
from kfp_suite.components.evaluate.metrics import BinaryScores, MulticlassScores
from kfp_suite.components.evaluate.parameters import Comparison
from kfp_suite.components.evaluate.predictions import Scores, class_name
from kfp_suite.components.evaluate.slices import SliceColumns
from kfp_suite.components.evaluate.verdict import Check, Duel
from kfp_suite.contracts.model import ModelManifest

UNSEEN = "(not seen in training)"


@dataclass(frozen=True)
class SliceResult:
    """A slice and its metrics; `challenger` None if it has too few rows to measure."""

    name: str
    columns: SliceColumns
    rows: int
    challenger: Measured | None = None
    champion: Measured | None = None


@dataclass(frozen=True)
class Confusion:
    """Counts, actual by predicted, of the named classes."""

    categories: list[str]
    matrix: list[list[int]]


@dataclass(frozen=True)
class Outcome:
    """The subject, method, measurements and verdict of an evaluation.

    `scores` and `measured` hold the model under evaluation and, where it could be scored,
    the champion. `unseen` counts rows by label values that the model was never trained on.
    """

    manifest: ModelManifest
    dataset_digest: str
    split: str
    unlabelled: int
    unseen: dict[str, int]
    resampling: Resampling
    min_slice_rows: int
    comparison: Comparison
    scores: Sequence[Scores]
    measured: Sequence[Measured]
    slices: Sequence[SliceResult]
    checks: Sequence[Check]
    champion: Champion | None
    duel: Duel | None
    blessed: bool
    reasons: Sequence[str]
    baseline: Baseline
    warnings: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """The rows that were scored."""
        return self.scores[0].rows

    def confusion(self) -> Confusion | None:
        """The confusion matrix of the model under evaluation; None for regression."""
        names = [class_name(value) for value in self.manifest.classes]
        match self.scores[0]:
            case BinaryScores(actual, predicted, _):
                cells = np.bincount(2 * actual.astype(np.int64) + predicted, minlength=4)
                return Confusion(names, cells.reshape(2, 2).tolist())
            case MulticlassScores() as scores:
                matrix = scores.confusion()
                if matrix[-1].any():
                    return Confusion([*names, UNSEEN], matrix.tolist())
                return Confusion(names, matrix[:-1, :-1].tolist())
            case _:
                return None
