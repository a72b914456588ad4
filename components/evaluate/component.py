"""The KFP interface of evaluate."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def evaluate(
    dataset: Input[Dataset],
    model: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification_metrics: Output[ClassificationMetrics],
    evaluation_report: Output[HTML],
    split: str = "test",
    thresholds: dict = {},
    slices: list = [],
    min_slice_rows: int = 100,
    champion: str = "",
    comparison: dict = {},
    resamples: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> bool:
    """Decide whether a model is blessed, and show what that rests on.

    A model is blessed if every threshold is met and the champion, scored on the same rows,
    is not better by more than is allowed. Confidence intervals are percentiles of a bootstrap
    over rows; of a share of 0 or 1, exact (Clopper-Pearson). The metrics of always predicting
    the commonest class, or the mean, stand beside them. The report warns if the model is no
    better than that, if few rows were scored, and if a feature tells the label.

    Metrics of a binary model: roc_auc, average_precision, log_loss, brier, calibration_error,
    accuracy, balanced_accuracy, precision, recall, f1, mcc, prevalence,
    predicted_positive_rate. Of several classes: accuracy, balanced_accuracy, f1_macro,
    f1_weighted, precision_macro, precision_weighted, recall_macro, recall_weighted, mcc,
    log_loss, roc_auc_ovr, top_2_accuracy, top_3_accuracy, top_5_accuracy, calibration_error.
    Of regression: rmse, mae, median_ae, r2, mape, bias.

    Args:
        dataset: A Dataset artifact.
        model: A Model artifact.
        split: The split to evaluate on: test, eval or train.
        thresholds: Limits by metric, inclusive: `{roc_auc: {min: 0.7}, log_loss: {max: 0.5}}`.
            With `decide_by: interval` (default `value`) the interval's worse end must keep
            them. `slices: {min: 0.6, max: ..., columns: [...]}` limits each slice, or those of
            the named columns; if none has `min_slice_rows`, the model is not blessed.
        slices: Columns whose values are measured apart: each a name, or a list of up to 3 names
            for their combinations. Numbers of more than 12 values are cut at quartiles, dates
            into months, text at its 20 most frequent values.
        min_slice_rows: Rows below which a slice is counted but not measured; at least 1.
        champion: The version to compare with, as JSON of `uri`, `version` and
            `manifest_digest` (resolve gives it); empty for none.
        comparison: What is asked against the champion: `metric` (default roc_auc, f1_macro or
            rmse), either `max_regression` (at least 0, default 0) or `min_improvement` (at
            least 0) in the metric's units, `decide_by` (`value`, the default: the
            difference itself, so that champions never get worse; or `interval`: a regression
            or improvement must be shown by the paired interval) and
            `on_incomparable` (`reject`, the default, or `bless`) for a champion that cannot be
            scored on these data.
        resamples: Bootstrap resamples, 0 (no intervals) to 10,000.
        confidence: Coverage of the intervals, above 0 and below 1.
        seed: Seed of the bootstrap, at least 0.
        evaluation: A folder with `evaluation.json`: verdict, reasons, warnings, metrics, slices,
            thresholds and champion. Its metadata have the verdict and the number of warnings.
        metrics: Every metric of the model on the split.
        classification_metrics: ROC curve (two classes) and confusion matrix; empty for
            regression.
        evaluation_report: The report, one self-contained HTML document.

    Returns:
        Whether the model is blessed.
    """
    from pathlib import Path

    from kfp_suite.components.evaluate.executor import EvaluateParameters
    from kfp_suite.components.evaluate.executor import evaluate as execute
    from kfp_suite.stores.step import step

    with step("evaluate", evaluation):
        found = execute(
            EvaluateParameters(
                split=split,
                thresholds=thresholds,
                slices=slices,
                min_slice_rows=min_slice_rows,
                champion=champion,
                comparison=comparison,
                resamples=resamples,
                confidence=confidence,
                seed=seed,
                dataset_uri=dataset.uri,
                model_uri=model.uri,
            ),
            Path(dataset.path),
            Path(model.path),
            Path(evaluation.path),
            Path(evaluation_report.path),
        )
        evaluation.metadata.update(blessed=found.blessed, warnings=len(found.warnings))
        for name, value in found.metrics.items():
            metrics.log_metric(name, value)
        if found.roc is not None:
            classification_metrics.log_roc_curve(found.roc.x, found.roc.y, found.roc.thresholds)
        if found.confusion is not None:
            classification_metrics.log_confusion_matrix(
                found.confusion.categories, found.confusion.matrix
            )
    return found.blessed


# The same step where the model needs TensorFlow: an image cannot be chosen by a parameter.
evaluate_tensorflow = dsl.component(
    evaluate.python_func,
    base_image="kfp-suite-python-tensorflow:0.1.0",
    install_kfp_package=False,
)
