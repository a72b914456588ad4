"""Rows of a dataset as a sample: requests, with the model's own predictions."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_suite.contracts.sample import Sample
from kfp_suite.models.loading import LoadedModel


def sample_of(model: LoadedModel, table: pa.Table) -> Sample:
    """The rows of `table` and the model's answers.

    Args:
        model: The model that predicts.
        table: Raw rows, with the columns of the model's inputs.
    """
    names = [field.name for field in model.manifest.signature.inputs]
    features = model.features(table)
    scores = model.scores(features)
    said = model.decided(scores)
    return Sample(
        records=tuple(_record(row) for row in table.select(names).to_pylist()),
        predictions=tuple(said.values.tolist()),
        probabilities=()
        if said.probabilities is None
        else tuple(tuple(row) for row in said.probabilities.tolist()),
        features=tuple(tuple(map(_number, row)) for row in np.asarray(features).tolist()),
        scores=tuple(np.asarray(scores).tolist()),
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON takes it: dates in ISO 8601, a missing value as null."""
    return {
        name: value.isoformat()
        if isinstance(value, datetime.date)
        else None
        if isinstance(value, float) and math.isnan(value)
        else value
        for name, value in row.items()
    }
