"""The KFP interface of validate_tfdv."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output


@dsl.component(base_image="kfp-suite-python-tfx:0.1.0", install_kfp_package=False)
def validate_tfdv(
    dataset: Input[Dataset],
    statistics: Output[Artifact],
    enforced_schema: Output[Artifact],
    anomalies: Output[Artifact],
    validation_report: Output[HTML],
    schema: dict = {},
    label: str = "",
    options: dict = {},
    baseline_statistics: str = "",
    beam_runner: str = "local",
    beam_options: dict = {},
) -> bool:
    """Check a dataset with TensorFlow Data Validation on Apache Beam.

    For data that one machine does not hold; what it writes is what validate writes, so the
    two can take each other's place. Returns whether the dataset is as it should be; a
    dataset that is not is a result, not a failure. The verdict is never taken from a cache.

    Args:
        dataset: The Dataset artifact of ingest, with a split named `train`, in a folder that
            every worker of Beam sees.
        statistics: A folder: `statistics.pb` (a TensorFlow Metadata
            `DatasetFeatureStatisticsList`, one dataset a split), the same by split in
            `Split-<name>/FeatureStats.pb`, and `statistics.json` for people.
        enforced_schema: A folder with `schema.pbtxt` (a TensorFlow Metadata `Schema`): what
            was enforced, inferred where it was not given. Edit it and give it back.
        anomalies: A folder: `anomalies.pbtxt` (TensorFlow Metadata `Anomalies`) and
            `validation.json` (verdict, reasons, anomalies, distances, dataset digest). Its
            metadata have the verdict and the numbers of errors and warnings.
        validation_report: The report, one self-contained HTML file.
        schema: What the data should be. Empty: inferred from train by TFDV; what contradicts
            it is a warning. Else `uri`, the path of a `schema.pbtxt`; what contradicts it is
            an error.
        label: The label column: an error if it is all missing, or constant in train. Empty:
            no such check.
        options: `skew` and `drift`: the largest distances allowed, 0 to 1, each with
            `l_infinity` (categorical columns), `jensen_shannon` (numeric ones), `missing` (the
            difference between the shares of missing values) and `columns` (a threshold by
            column; null exempts one). None by default: distances are always reported. What a
            threshold applies to and cannot be measured is an error.
            `warnings_are_errors`: boolean. `report_columns`: the most columns the report
            shows, 1 or more, 100 by default.
        baseline_statistics: The path of an earlier dataset's statistics (a statistics
            artifact, a binary proto or its `.pbtxt`) to measure drift against. Columns that
            are gone, new, of another type or without values since then are anomalies, and so
            is a jump of the missing values by more than 0.1: errors where a threshold of
            `drift` applies, else warnings. Empty: none.
        beam_runner: `local`, in the step itself; or DataflowRunner, FlinkRunner or
            SparkRunner.
        beam_options: The runner's options by name.
    """
    from pathlib import Path

    from kfp_suite.stores.step import step

    with step("validate", statistics):
        from kfp_suite.beam.pipelines import BeamParameters
        from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
        from kfp_suite.components.validate.tfdv.executor import validate_tfdv as execute

        found = execute(
            ValidateParameters(
                schema=schema,
                label=label,
                options=options,
                baseline_statistics=baseline_statistics,
            ),
            BeamParameters(beam_runner, beam_options),
            Path(dataset.path),
            ValidateOutputs(
                statistics=Path(statistics.path),
                schema=Path(enforced_schema.path),
                anomalies=Path(anomalies.path),
                report=Path(validation_report.path),
            ),
        )
        anomalies.metadata.update(
            valid=found.valid, errors=found.errors, warnings=found.warnings, hints=found.hints
        )
    return found.valid
