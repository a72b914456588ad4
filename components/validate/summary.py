"""The statistics as plain JSON, for people and scripts without the protos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.value_texts import format_value
from kfp_suite.contracts.columns import Column

FORMAT_VERSION = 1


def statistics_summary(
    columns: tuple[Column, ...],
    partials: Mapping[str, SplitPartial],
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> dict[str, Any]:
    """Per split and column: type, rows, missing, distinct and the statistics of its type.

    Numbers that JSON cannot hold are the strings `inf`, `-inf` and `nan`; dates and
    timestamps are in ISO 8601.
    """
    kinds = {column.name: column for column in columns}
    return {
        "format_version": FORMAT_VERSION,
        "splits": {
            dataset.name: {
                "rows": dataset.num_examples,
                "columns": {
                    feature.path.step[0]: _column(
                        kinds[feature.path.step[0]], partials[dataset.name], feature
                    )
                    for feature in dataset.features
                },
            }
            for dataset in statistics.datasets
        },
    }


def _column(
    column: Column, partial: SplitPartial, feature: statistics_pb2.FeatureNameStatistics
) -> dict[str, Any]:
    found = partial.columns[column.name]
    result: dict[str, Any] = {
        "type": column.type,
        "missing": found.missing,
        "distinct": found.distinct(),
        "distinct_is_exact": found.exact,
    }
    if feature.HasField("string_stats"):
        strings = feature.string_stats
        result["average_bytes"] = strings.avg_length
        result["top_values"] = [[v.value, int(v.frequency)] for v in strings.top_values]
        return result
    numbers = feature.num_stats
    for histogram in numbers.histograms:
        if histogram.num_nan:
            result["nan"] = histogram.num_nan
    if not numbers.histograms or not numbers.histograms[0].buckets:
        return result
    moments = column.type in ("date", "timestamp")
    for name in ("min", "median", "max", "mean"):
        value = getattr(numbers, name)
        result[name] = format_value(value, column.type) if moments else _json_number(value)
    result["std_dev"] = _json_number(numbers.std_dev)
    result["zeros"] = numbers.num_zeros
    return result


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
