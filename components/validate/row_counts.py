"""The number of rows of each split, checked against the schema, by both engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kfp_suite.components.validate.anomaly import Anomaly
from kfp_suite.components.validate.value_texts import format_rows


def check_row_counts(
    rows: Mapping[str, int], min_rows: Mapping[str, int], max_train_rows: int
) -> Iterator[Anomaly]:
    """The anomalies of splits with too few or too many rows.

    Args:
        rows: The number of rows of each split.
        min_rows: The least number allowed, by split.
        max_train_rows: The greatest number allowed in train; 0 for any.
    """
    for split, count in rows.items():
        least = min_rows.get(split)
        if least is not None and count < least:
            yield Anomaly(
                "",
                "DATASET_LOW_NUM_EXAMPLES",
                f"The split {split} has too few rows.",
                format_rows(count),
                f"at least {format_rows(least)}",
                split,
                "error",
            )
        elif not count:
            yield Anomaly(
                "",
                "DATASET_LOW_NUM_EXAMPLES",
                f"The split {split} has no rows.",
                "0 rows",
                "at least 1 row",
                split,
                "error" if split == "train" else "warning",
            )
    if max_train_rows and rows.get("train", 0) > max_train_rows:
        yield Anomaly(
            "",
            "DATASET_HIGH_NUM_EXAMPLES",
            "The split train has too many rows.",
            format_rows(rows["train"]),
            f"at most {format_rows(max_train_rows)}",
            "train",
            "error",
        )
