"""Statistics, schema, anomalies and a verdict for a Dataset artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf import text_format
from pydantic import ConfigDict
from tensorflow_metadata.proto.v0 import statistics_pb2

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import write_file, write_json
from kfp_suite.components.contracts.columns import Column
from kfp_suite.components.contracts.dataset import Dataset, read_dataset
from kfp_suite.components.contracts.environment import available_cpus
from kfp_suite.components.contracts.errors import ParameterError, did_you_mean
from kfp_suite.components.contracts.parameters import parse
from kfp_suite.components.validate.anomalies import (
    Anomaly,
    anomalies_proto,
    find_anomalies,
    label_anomalies,
)
from kfp_suite.components.validate.comparisons import (
    STATISTICS_FILE,
    Comparison,
    Thresholds,
    add_distances,
    compare,
    comparison_anomalies,
    read_baseline,
)
from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.protos import split_statistics
from kfp_suite.components.validate.report import Findings, render
from kfp_suite.components.validate.scan import scan_split
from kfp_suite.components.validate.schema import (
    SchemaSpec,
    categorical_integers,
    dataset_schema,
    is_unique,
    parse_schema,
)
from kfp_suite.components.validate.summary import statistics_summary
from kfp_suite.components.validate.uniqueness import duplicate_anomalies

VALIDATION_FORMAT = 1


@dataclass(frozen=True)
class ValidateOptions:
    """What is compared and how.

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
    """Where the outputs go: three folders and one HTML file."""

    statistics: Path
    schema: Path
    anomalies: Path
    report: Path


def validate(parameters: ValidateParameters, dataset: Path, outputs: ValidateOutputs) -> bool:
    """Validate the Dataset artifact at `dataset`; True if it is as it should be.

    Writes `statistics.pb` (all splits), `Split-<name>/FeatureStats.pb` (as TFX names them)
    and `statistics.json`; `schema.pbtxt`; `anomalies.pbtxt` and `validation.json`; and the
    report.

    Raises:
        ParameterError: a parameter that is not allowed, or a label that is not a column.
        MissingError, ContractError: the dataset, the schema or the baseline cannot be read.
    """
    spec = parse_schema(parameters.schema)
    options = parse(ValidateOptions, parameters.options, "options")
    data = read_dataset(dataset)
    columns = data.manifest.columns
    _check_parameters(parameters, spec, options, data)
    baseline = (
        read_baseline(parameters.baseline_statistics) if parameters.baseline_statistics else None
    )
    threads = options.threads or available_cpus()

    partials = {name: scan_split(data, name, threads) for name in _ordered_splits(data)}
    schema = dataset_schema(spec, columns, partials["train"])
    categorical = categorical_integers(spec, columns)
    statistics = statistics_pb2.DatasetFeatureStatisticsList(
        datasets=[
            split_statistics(name, columns, partial, categorical)
            for name, partial in partials.items()
        ]
    )
    comparisons = compare(statistics, baseline, schema.proto, options.skew, options.drift)
    anomalies = find_anomalies(schema, columns, partials)
    if parameters.label:
        kind = next(c.type for c in columns if c.name == parameters.label)
        anomalies += label_anomalies(parameters.label, kind, partials)
    anomalies += comparison_anomalies(comparisons, options.drift, baseline is not None)
    with whole_folder(outputs.anomalies) as folder:
        unique = {feature.name for feature in schema.proto.feature if is_unique(feature)}
        checked = tuple(column for column in columns if column.name in unique)
        if checked:
            files = [file for name in partials for file in data.files(name)]
            anomalies += duplicate_anomalies(checked, files, threads, folder)
        verdict = _verdict(data, anomalies, comparisons, options.warnings_are_errors)
        proto = anomalies_proto(schema.proto, anomalies)
        add_distances(proto, comparisons)
        _write_text(folder / "anomalies.pbtxt", proto)
        write_json(folder / "validation.json", verdict)
    _write_statistics(outputs.statistics, columns, partials, statistics)
    with whole_folder(outputs.schema) as folder:
        _write_text(folder / "schema.pbtxt", schema.proto)
    findings = Findings(
        dataset=data.manifest,
        label=parameters.label,
        partials=partials,
        anomalies=anomalies,
        comparisons=comparisons,
        valid=verdict["valid"],
        reasons=verdict["reasons"],
        inferred=not (spec.uri or spec.columns),
    )
    write_file(outputs.report, render(findings, options.report_columns).encode())
    return bool(verdict["valid"])


def _check_parameters(
    parameters: ValidateParameters, spec: SchemaSpec, options: ValidateOptions, data: Dataset
) -> None:
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
    options.drift.check(names, "options: drift")
    for name, least in (("threads", 0), ("report_columns", 1)):
        if getattr(options, name) < least:
            raise ParameterError(
                f"'{name}' is out of range",
                where="options",
                got=getattr(options, name),
                expected=f"{least} or more",
            )


def _ordered_splits(data: Dataset) -> list[str]:
    """Train first: the others are compared with it."""
    return sorted(data.manifest.splits, key=lambda name: name != "train")


def _verdict(
    data: Dataset,
    anomalies: list[Anomaly],
    comparisons: list[Comparison],
    warnings_are_errors: bool,
) -> dict[str, Any]:
    """What `validation.json` holds."""
    reasons = [
        anomaly.sentence()
        for anomaly in anomalies
        if anomaly.severity == "error" or warnings_are_errors
    ]
    return {
        "format_version": VALIDATION_FORMAT,
        "valid": not reasons,
        "reasons": reasons,
        "dataset": {"uri": str(data.path), "digest": data.manifest.digest},
        "anomalies": [anomaly.to_json() for anomaly in anomalies],
        "distances": [
            {
                "feature": c.column,
                "kind": c.kind,
                "against": c.other,
                "metric": c.metric,
                "value": c.value,
                "threshold": c.threshold,
            }
            for c in comparisons
        ],
    }


def _write_statistics(
    folder: Path,
    columns: tuple[Column, ...],
    partials: Mapping[str, SplitPartial],
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> None:
    with whole_folder(folder) as partial:
        write_json(partial / "statistics.json", statistics_summary(columns, partials, statistics))
        for dataset in statistics.datasets:
            one = statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])
            write_file(partial / f"Split-{dataset.name}" / "FeatureStats.pb", _binary(one))
        write_file(partial / STATISTICS_FILE, _binary(statistics))


def _binary(proto: statistics_pb2.DatasetFeatureStatisticsList) -> bytes:
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _write_text(path: Path, proto: Any) -> None:
    write_file(path, text_format.MessageToString(proto, as_utf8=True).encode())
