"""The parameters of validate, for any engine, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics

from kfp_suite.components.validate.protos import feature_name
from kfp_suite.components.validate.schema_spec import SchemaSpec
from kfp_suite.components.validate.thresholds import Thresholds
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import ParameterError, did_you_mean


@dataclass(frozen=True)
class ValidateOptions:
    """The comparisons, and their thresholds.

    Attributes:
        skew: Thresholds between train and the other splits.
        drift: Thresholds between train and the baseline's train.
        warnings_are_errors: A warning makes the dataset invalid too.
        threads: Threads to use; 0: all CPUs. The result does not depend on it.
        report_columns: The most columns the report shows in full; 1 or more.
    """

    skew: Thresholds = field(default_factory=Thresholds)
    drift: Thresholds = field(default_factory=Thresholds)
    warnings_are_errors: bool = False
    threads: int = 0
    report_columns: int = 100
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class ValidateParameters:
    """The parameters of validate.

    Attributes:
        schema: See `SchemaSpec`; empty: inferred from train.
        label: The label column; empty: no checks of a label.
        options: See `ValidateOptions`.
        baseline_statistics: Statistics of an earlier dataset; empty: no drift.
    """

    schema: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    baseline_statistics: str = ""


@dataclass(frozen=True)
class ValidateOutputs:
    """The paths of the outputs: three folders and one HTML file."""

    statistics: Path
    schema: Path
    anomalies: Path
    report: Path


def check_parameters(
    parameters: ValidateParameters,
    spec: SchemaSpec,
    options: ValidateOptions,
    data: Dataset,
    baseline: DatasetFeatureStatistics | None = None,
) -> None:
    """Check the parameters against each other, the dataset and the baseline's columns.

    Raises:
        ParameterError: naming the one at fault.
    """
    names = [column.name for column in data.manifest.columns]
    if parameters.label and parameters.label not in names:
        raise ParameterError(
            f"the label '{parameters.label}' is not a column of the dataset",
            where="label",
            fix=did_you_mean(parameters.label, names),
        )
    if "train" not in data.manifest.splits:
        raise ParameterError(
            "the dataset has no train split",
            where="dataset",
            got=", ".join(data.manifest.splits),
            fix="ingest with a split named train",
        )
    for split in spec.min_rows:
        if split not in data.manifest.splits:
            raise ParameterError(
                f"unknown split '{split}'",
                where="schema: min_rows",
                fix=did_you_mean(split, data.manifest.splits),
            )
    options.skew.check(names, "options: skew")
    earlier = [feature_name(feature) for feature in baseline.features] if baseline else []
    options.drift.check(dict.fromkeys([*names, *earlier]), "options: drift")
    for name, least in (("threads", 0), ("report_columns", 1)):
        if getattr(options, name) < least:
            raise ParameterError(
                f"'{name}' is out of range",
                where="options",
                got=getattr(options, name),
                expected=f"{least} or more",
            )


def ordered_splits(data: Dataset) -> list[str]:
    """Train first: the others are compared with it."""
    return sorted(data.manifest.splits, key=lambda name: name != "train")
