"""The differences between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp_suite.local.history import PastRun

Differences = dict[str, list[Any]]
OTHER_ROWS = "measured on other test rows, so the metrics cannot be compared"


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested value as the paths of its plain values: `features.features.0.op`.

    Args:
        value: Mappings and lists of plain values; an empty one is a plain value.
        prefix: The path to it.
    """
    if isinstance(value, Mapping) and value:
        parts = value.items()
    elif isinstance(value, (list, tuple)) and value:
        parts = enumerate(value)  # type: ignore[assignment]
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in parts:
        found |= leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def differences_of(first: Mapping[str, Any], second: Mapping[str, Any]) -> Differences:
    """The keys whose values differ, with both values; None for one that is not there."""
    return {
        key: [first.get(key), second.get(key)]
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    }


def compare(first: PastRun, second: PastRun) -> dict[str, Differences]:
    """The differences between two runs, by kind: parameters, digests, metrics, seconds."""
    seconds = [{step.name: step.seconds for step in run.steps} for run in (first, second)]
    return {
        "parameters": differences_of(leaves(first.parameters), leaves(second.parameters)),
        "digests": differences_of(first.digests, second.digests),
        "metrics": differences_of(first.metrics, second.metrics),
        "seconds": differences_of(*seconds),
    }


def measured_alike(first: PastRun, second: PastRun) -> bool:
    """Whether the metrics of two runs are of the same test rows: of one dataset and split."""
    return measured_rows(first.record.evaluation or {}) == measured_rows(
        second.record.evaluation or {}
    )


def measured_rows(evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
    """The identity of the rows that an evaluation measured: the dataset's digest and the split."""
    return evaluation.get("dataset_digest"), evaluation.get("split")
