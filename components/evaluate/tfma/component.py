"""The KFP interface of evaluate_tfma."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="kfp-suite-python-tfx:0.1.0", install_kfp_package=False)
def evaluate_tfma(
    dataset: Input[Dataset],
    model: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    evaluation_report: Output[HTML],
    split: str = "test",
    thresholds: dict = {},
    slices: list = [],
    min_slice_rows: int = 100,
    beam_runner: str = "local",
    beam_options: dict = {},
) -> bool:
    """Decide whether a model is blessed, with TensorFlow Model Analysis on Apache Beam.

    For data that one machine does not hold. A model is blessed where every threshold is met.
    Metrics of a binary model: roc_auc, average_precision, log_loss, brier, accuracy,
    balanced_accuracy, precision, recall, f1, mcc, prevalence, predicted_positive_rate. Of
    several classes: accuracy, balanced_accuracy, mcc, f1_macro, f1_weighted,
    precision_macro, precision_weighted, recall_macro, recall_weighted. Of regression: rmse,
    mae, bias. There are no intervals and no champion: see evaluate.

    Args:
        dataset: A Dataset artifact, in a folder that every worker of Beam sees.
        model: A Model artifact, likewise: a network, or a model with an ONNX graph.
        split: The split to evaluate on: test, eval or train.
        thresholds: Limits by metric, inclusive: `{roc_auc: {min: 0.7}}`; `slices: {min: 0.6,
            max: ..., columns: [...]}` limits each slice, or those of the named columns.
        slices: Columns whose values are measured apart: each a name, or a list of up to 3
            names for their combinations. Every value is a slice.
        min_slice_rows: Rows below which a slice is limited by no threshold; at least 1.
        beam_runner: `local`, in the step itself; or DataflowRunner, FlinkRunner or
            SparkRunner.
        beam_options: The runner's options by name.
        evaluation: A folder with `evaluation.json`: verdict, reasons, metrics, slices and
            thresholds, as push reads it.
        metrics: Every metric of the model on the split.
        evaluation_report: The report, one self-contained HTML document.

    Returns:
        Whether the model is blessed.
    """
    from pathlib import Path

    from kfp_suite.stores.step import step

    with step("evaluate", evaluation):
        from kfp_suite.beam.pipelines import BeamParameters
        from kfp_suite.components.evaluate.tfma.executor import TfmaParameters
        from kfp_suite.components.evaluate.tfma.executor import evaluate_tfma as execute

        found = execute(
            TfmaParameters(
                split=split,
                thresholds=thresholds,
                slices=tuple(slices),
                min_slice_rows=min_slice_rows,
                dataset_uri=dataset.uri,
                model_uri=model.uri,
                beam=BeamParameters(beam_runner, beam_options),
            ),
            Path(dataset.path),
            Path(model.path),
            Path(evaluation.path),
            Path(evaluation_report.path),
        )
        evaluation.metadata["blessed"] = found.blessed
        for name, value in found.metrics.items():
            metrics.log_metric(name, value)
    return found.blessed
