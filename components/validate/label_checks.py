"""Whether a column can be learned as a label."""

from __future__ import annotations

from collections.abc import Mapping

from kfp_suite.components.validate.anomaly import Anomaly
from kfp_suite.components.validate.partial import ColumnPartial, SplitPartial
from kfp_suite.components.validate.text import StringColumn
from kfp_suite.components.validate.value_texts import format_rows, format_value
from kfp_suite.contracts.columns import ColumnType


def label_anomalies(
    label: str, kind: ColumnType, splits: Mapping[str, SplitPartial]
) -> list[Anomaly]:
    """Checks that a column can be a label: it has values, and more than one.

    In train these are errors; a single value in another split, and missing labels, are
    warnings.
    """
    found = []
    for split, partial in splits.items():
        column = partial.columns[label]
        if not column.rows:
            continue
        present = column.rows - column.missing
        if not present:
            found.append(
                Anomaly(
                    label,
                    "FEATURE_TYPE_NOT_PRESENT",
                    f"The label has no value in any row of {split}.",
                    f"{format_rows(column.rows)}, all missing",
                    "a label in each row",
                    split,
                    "error",
                )
            )
            continue
        if column.missing:
            found.append(
                Anomaly(
                    label,
                    "FEATURE_TYPE_LOW_FRACTION_PRESENT",
                    f"The label is missing in {format_rows(column.missing)} of {split}.",
                    f"{column.missing:,} of {format_rows(column.rows)} missing",
                    "a label in each row",
                    split,
                    "warning",
                )
            )
        if column.distinct() == 1:
            found.append(
                Anomaly(
                    label,
                    "FEATURE_TYPE_LOW_UNIQUE",
                    f"The label is constant in {split}: there is nothing to learn.",
                    f"only {_only_value(column, kind)}",
                    "two or more values",
                    split,
                    "error" if split == "train" else "warning",
                )
            )
    return found


def _only_value(column: ColumnPartial, kind: ColumnType) -> str:
    if isinstance(column, StringColumn):
        return format_value(next(iter(column.counts)), "string")
    return format_value(column.minimum, kind)
