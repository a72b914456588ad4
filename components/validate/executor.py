"""Statistics, schema, anomalies and a verdict for a Dataset artifact."""

from __future__ import annotations

from pathlib import Path

from tensorflow_metadata.proto.v0 import statistics_pb2

from kfp_suite.components.validate.anomalies import find_anomalies
from kfp_suite.components.validate.baseline import read_baseline
from kfp_suite.components.validate.comparison_anomalies import (
    comparison_anomalies,
    row_count_anomalies,
    unmeasured_limits,
)
from kfp_suite.components.validate.comparisons import compare
from kfp_suite.components.validate.hints import find_hints
from kfp_suite.components.validate.label_checks import label_anomalies
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
from kfp_suite.components.validate.protos import split_statistics
from kfp_suite.components.validate.report import Findings, render
from kfp_suite.components.validate.scan import scan_split
from kfp_suite.components.validate.schema import categorical_integers, dataset_schema
from kfp_suite.components.validate.schema_features import is_unique
from kfp_suite.components.validate.schema_spec import parse_schema
from kfp_suite.components.validate.summary import statistics_summary
from kfp_suite.components.validate.uniqueness import duplicate_anomalies
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.environment import available_cpus
from kfp_suite.contracts.parameters import parse


def validate(parameters: ValidateParameters, dataset: Path, outputs: ValidateOutputs) -> Verdict:
    """Validate the Dataset artifact at `dataset`.

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
    baseline = (
        read_baseline(parameters.baseline_statistics) if parameters.baseline_statistics else None
    )
    check_parameters(parameters, spec, options, data, baseline)
    threads = options.threads or available_cpus()

    partials = {name: scan_split(data, name, threads) for name in ordered_splits(data)}
    schema = dataset_schema(spec, columns, partials["train"])
    categorical = categorical_integers(spec, columns)
    statistics = statistics_pb2.DatasetFeatureStatisticsList(
        datasets=[
            split_statistics(name, columns, partial, categorical)
            for name, partial in partials.items()
        ]
    )
    comparisons = compare(statistics, baseline, schema.proto, options.skew, options.drift, partials)
    anomalies = find_anomalies(schema, columns, partials)
    if parameters.label:
        kind = next(c.type for c in columns if c.name == parameters.label)
        anomalies += label_anomalies(parameters.label, kind, partials)
    anomalies += unmeasured_limits(statistics, baseline, options.skew, options.drift)
    anomalies += row_count_anomalies(schema.proto, statistics.datasets[0], baseline)
    anomalies += comparison_anomalies(comparisons)
    hints = find_hints(data, partials["train"], parameters.label)
    with whole_folder(outputs.anomalies) as folder:
        unique = {feature.name for feature in schema.proto.feature if is_unique(feature)}
        checked = tuple(column for column in columns if column.name in unique)
        if checked:
            files = [file for name in partials for file in data.files(name)]
            anomalies += duplicate_anomalies(checked, files, threads, folder)
        verdict = verdict_of(data, anomalies, comparisons, options.warnings_are_errors, hints)
        write_anomalies(folder, schema.proto, anomalies, comparisons, verdict)
    summary = statistics_summary(columns, partials, statistics)
    write_statistics(outputs.statistics, summary, statistics)
    write_schema(outputs.schema, schema.proto)
    findings = Findings(
        dataset=data.manifest,
        label=parameters.label,
        partials=partials,
        anomalies=anomalies,
        comparisons=comparisons,
        valid=verdict["valid"],
        reasons=verdict["reasons"],
        inferred=not (spec.uri or spec.columns),
        hints=hints,
    )
    write_file(outputs.report, render(findings, options.report_columns).encode())
    return count_findings(verdict)
