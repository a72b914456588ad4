"""Statistics, schema, anomalies and a verdict, found by TensorFlow Data Validation.

TFDV finds the statistics (on Apache Beam), infers the schema and finds the anomalies;
distances between splits, the verdict and what is written are those of `validate`.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import json_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from kfp_suite.beam.pipelines import BeamParameters, pipeline_options
from kfp_suite.beam.reading import read_split, tfx_batch
from kfp_suite.components.validate.anomaly import Anomaly, Severity
from kfp_suite.components.validate.baseline import read_baseline
from kfp_suite.components.validate.comparison_anomalies import (
    comparison_anomalies,
    row_count_anomalies,
    unmeasured_limits,
)
from kfp_suite.components.validate.comparisons import compare
from kfp_suite.components.validate.outputs import (
    Verdict,
    count_findings,
    verdict_of,
    write_anomalies,
    write_schema,
    write_statistics,
)
from kfp_suite.components.validate.parameters import (
    ValidateOptions,
    ValidateOutputs,
    ValidateParameters,
    check_parameters,
    ordered_splits,
)
from kfp_suite.components.validate.report import Findings, render
from kfp_suite.components.validate.row_counts import check_row_counts
from kfp_suite.components.validate.schema import read_schema
from kfp_suite.components.validate.schema_spec import parse_schema
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.dataset import Dataset, read_dataset
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import parse

SUMMARY_FORMAT = 1
# Not taken from TFDV: distances, which are measured here for every column, and row counts. TFDV
# holds every split to the least number of rows, and none to the greatest.
_OURS = (
    "COMPARATOR_L_INFTY_HIGH",
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
    "DATASET_LOW_NUM_EXAMPLES",
    "DATASET_HIGH_NUM_EXAMPLES",
)

log = logging.getLogger(__name__)


def validate_tfdv(
    parameters: ValidateParameters,
    where: BeamParameters,
    dataset: Path,
    outputs: ValidateOutputs,
) -> Verdict:
    """Validate the Dataset artifact at `dataset`.

    Args:
        parameters: As of `validate`; the schema is inferred, or `uri` names one.
        where: The runner of Beam and its options.
        dataset: A Dataset artifact, in a folder that every worker of Beam sees.
        outputs: The paths of the outputs.

    Raises:
        ParameterError: a parameter that is not allowed, or a label that is not a column.
        MissingError, ContractError: the dataset, the schema or the baseline cannot be read.
    """
    spec = parse_schema(parameters.schema)
    options = parse(ValidateOptions, parameters.options, "options")
    data = read_dataset(dataset)
    baseline = None
    if parameters.baseline_statistics:
        baseline = read_baseline(parameters.baseline_statistics)
    check_parameters(parameters, spec, options, data, baseline)
    if spec.columns or spec.min_rows:
        raise ParameterError(
            "TensorFlow Data Validation takes a whole schema",
            where="schema",
            got="columns" if spec.columns else "min_rows",
            fix="give `uri`, a schema.pbtxt: edit the one that a first run writes",
        )
    statistics = generate_statistics(data, pipeline_options(where))
    inferred = not spec.uri
    train, *_ = statistics.datasets
    schema = (
        tfdv.infer_schema(_alone(train), infer_feature_shape=False)
        if inferred
        else read_schema(Path(spec.uri))
    )
    comparisons = compare(statistics, baseline, schema, options.skew, options.drift)
    anomalies = find_anomalies(statistics, schema, "warning" if inferred else "error")
    limits = schema.dataset_constraints
    anomalies += check_row_counts(
        {name: data.manifest.splits[name].rows for name in ordered_splits(data)},
        {"train": limits.min_examples_count} if limits.min_examples_count else {},
        limits.max_examples_count,
    )
    if parameters.label:
        anomalies += _label_anomalies(parameters.label, statistics)
    anomalies += unmeasured_limits(statistics, baseline, options.skew, options.drift)
    anomalies += row_count_anomalies(schema, train, baseline)
    anomalies += comparison_anomalies(comparisons)
    verdict = verdict_of(data, anomalies, comparisons, options.warnings_are_errors)
    with whole_folder(outputs.anomalies) as folder:
        write_anomalies(folder, schema, anomalies, comparisons, verdict)
    summary: dict[str, Any] = {
        "format_version": SUMMARY_FORMAT,
        "engine": "tfdv",
        "statistics": json_format.MessageToDict(statistics, preserving_proto_field_name=True),
    }
    write_statistics(outputs.statistics, summary, statistics)
    write_schema(outputs.schema, schema)
    findings = Findings(
        dataset=data.manifest,
        label=parameters.label,
        partials={},
        anomalies=anomalies,
        comparisons=comparisons,
        valid=verdict["valid"],
        reasons=verdict["reasons"],
        inferred=inferred,
        statistics=statistics,
    )
    write_file(outputs.report, render(findings, options.report_columns).encode())
    return count_findings(verdict)


def generate_statistics(
    data: Dataset, options: PipelineOptions
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """The statistics of every split that has rows, train first; one Beam pipeline for all."""
    names = [column.name for column in data.manifest.columns]
    splits = [s for s in ordered_splits(data) if data.manifest.splits[s].rows]
    found = statistics_pb2.DatasetFeatureStatisticsList()
    with tempfile.TemporaryDirectory(prefix="kfp-suite-tfdv-") as scratch:
        with beam.Pipeline(options=options) as pipeline:
            for split in splits:
                (
                    pipeline
                    | read_split(data, split, names, tfx_batch)
                    | f"Statistics of {split}" >> tfdv.GenerateStatistics(tfdv.StatsOptions())
                    | f"Write {split}" >> tfdv.WriteStatisticsToBinaryFile(f"{scratch}/{split}.pb")
                )
        for split in splits:
            (one,) = tfdv.load_stats_binary(f"{scratch}/{split}.pb").datasets
            one.name = split
            found.datasets.append(one)
    return found


def find_anomalies(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
    severity: Severity,
) -> list[Anomaly]:
    """The anomalies that TFDV finds in each split; `severity`: of contradictions of the schema."""
    found = []
    for dataset in statistics.datasets:
        proto = tfdv.validate_statistics(_alone(dataset), schema)
        infos = [("", proto.dataset_anomaly_info), *sorted(proto.anomaly_info.items())]
        for name, info in infos:
            for reason in info.reason:
                kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
                if kind in _OURS:
                    continue
                found.append(
                    Anomaly(
                        feature=".".join(info.path.step) or name,
                        kind=kind,
                        description=reason.short_description or "Anomaly",
                        got=reason.description.rstrip("."),
                        expected="what the schema says",
                        split=dataset.name,
                        severity=severity,
                    )
                )
    return found


def _label_anomalies(
    label: str, statistics: statistics_pb2.DatasetFeatureStatisticsList
) -> list[Anomaly]:
    """A label that is all missing, or constant in train, is an error; one that is missing in
    some rows a warning."""
    found: list[Anomaly] = []

    def add(kind: str, what: str, got: str, split: str, severity: Severity) -> None:
        found.append(Anomaly(label, kind, what, got, "a label in each row", split, severity))

    for dataset in statistics.datasets:
        feature = next(f for f in dataset.features if list(f.path.step) == [label])
        text = feature.WhichOneof("stats") == "string_stats"
        stats = feature.string_stats if text else feature.num_stats
        counts, split = stats.common_stats, dataset.name
        if not counts.num_non_missing:
            what = f"The label has no value in any row of {split}."
            add("FEATURE_TYPE_NOT_PRESENT", what, "all missing", split, "error")
            continue
        if counts.num_missing:
            what = f"The label is missing in rows of {split}."
            got = f"{counts.num_missing:,} missing"
            add("FEATURE_TYPE_LOW_FRACTION_PRESENT", what, got, split, "warning")
        if stats.unique == 1 if text else stats.min == stats.max:
            what = f"The label is constant in {split}: there is nothing to learn."
            severity: Severity = "error" if split == "train" else "warning"
            add("FEATURE_TYPE_LOW_UNIQUE", what, "one value only", split, severity)
    return found


def _alone(
    dataset: statistics_pb2.DatasetFeatureStatistics,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])
