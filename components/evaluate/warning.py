"""Warnings beside a verdict: few rows, nothing learned, a feature that gives the label away."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.components.evaluate.baseline import Baseline
from kfp_suite.components.evaluate.bootstrap import Measured
from kfp_suite.components.evaluate.metrics import PRIMARY
from kfp_suite.components.evaluate.predictions import LabelledRows
from kfp_suite.contracts.model import ModelManifest
from kfp_suite.reports.formatting import number

FEW_ROWS = 100
"""With fewer rows, a share of errors is known to no better than about 0.1."""
_NEARLY_PERFECT = 0.999
_PERFECT_BY = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}
_MAX_NAMED = 5


def warnings_of(
    manifest: ModelManifest, rows: LabelledRows, measured: Measured, baseline: Baseline, asked: bool
) -> list[str]:
    """The warnings, one sentence each.

    Args:
        manifest: The model's manifest.
        rows: The rows it was scored on.
        measured: Its metrics on them.
        baseline: The baseline on the same rows.
        asked: Whether the model was checked against a threshold or a champion.
    """
    found = []
    count = rows.columns.num_rows
    if not asked:
        found.append("The model was not checked against anything: set thresholds.")
    if count < FEW_ROWS:
        found.append(
            f"Only {number(count)} rows were scored: the figures may be far from what new rows "
            "will give. Give the split more rows."
        )
    if manifest.task == "regression" and _has_two_values(rows.columns[rows.label]):
        found.append(
            "The label has two values and was trained as a number: to predict classes, cast it "
            "to an integer in ingest's SQL."
        )
    metric = PRIMARY[manifest.task]
    value = measured.estimates[metric].value if metric in measured.estimates else None
    if value is not None and baseline.is_reached_by(metric, value, manifest.task):
        found.append(
            f"The model is no better than predicting {baseline.says}: {metric} {number(value)} "
            f"against {number(baseline.metrics[metric])}."
        )
    perfect = measured.estimates.get(_PERFECT_BY[manifest.task])
    if perfect is not None and perfect.value is not None and perfect.value >= _NEARLY_PERFECT:
        revealing = find_revealing_columns(manifest, rows)
        if revealing:
            named = ", ".join(f"'{name}'" for name in revealing[:_MAX_NAMED])
            more = f" and {len(revealing) - _MAX_NAMED} more" if len(revealing) > _MAX_NAMED else ""
            found.append(
                f"Of {named}{more} the label follows by itself: a copy of it, or what is known "
                "only afterwards? If so, leave it out of the features."
            )
        elif count >= FEW_ROWS:
            found.append(
                f"The model is nearly perfect ({_PERFECT_BY[manifest.task]} "
                f"{number(perfect.value)}): check that no feature is known only afterwards."
            )
    return found


def find_revealing_columns(manifest: ModelManifest, rows: LabelledRows) -> list[str]:
    """The inputs that determine the label alone: one to one, or linearly."""
    label = rows.columns[rows.label].combine_chunks()
    known = {column.name for column in rows.dataset.manifest.columns}
    names = [field.name for field in manifest.signature.inputs if field.name in known]
    found = []
    for name in names:
        column = rows.dataset.table(rows.split, [name])[name].filter(pa.array(rows.labelled))
        reveals = _is_linear if manifest.task == "regression" else _is_one_to_one
        if reveals(column.combine_chunks(), label):
            found.append(name)
    return found


def _has_two_values(label: pa.ChunkedArray) -> bool:
    return bool(pc.count_distinct(label).as_py() == 2)


def _is_one_to_one(column: pa.Array, label: pa.Array) -> bool:
    classes: int = pc.count_distinct(label, "all").as_py()
    if classes < 2 or pc.count_distinct(column, "all").as_py() != classes:
        return False
    pairs = pa.table({"column": column, "label": label}).group_by(["column", "label"])
    return bool(pairs.aggregate([]).num_rows == classes)


def _is_linear(column: pa.Array, label: pa.Array) -> bool:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return False
    values = _floats(column)
    both = np.isfinite(values)
    x, y = values[both], _floats(label)[both]
    if len(x) < 3 or not both.mean() > 0.9 or x.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9)


def _floats(column: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(column.cast(pa.float64()).fill_null(float("nan")), dtype=np.float64)
