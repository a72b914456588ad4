"""The evaluation report: the verdict and its reasons first, then what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from kfp_suite.components.evaluate.bootstrap import Estimate
from kfp_suite.components.evaluate.curves import (
    calibration,
    fit_by_size,
    precision_recall_curve,
    roc_curve,
)
from kfp_suite.components.evaluate.metrics import (
    CALIBRATION_BINS,
    METRICS,
    RESIDUAL_QUANTILES,
    BinaryScores,
    MulticlassScores,
    RegressionScores,
)
from kfp_suite.components.evaluate.predictions import Scores, class_name
from kfp_suite.components.evaluate.result import Confusion, Outcome, SliceResult
from kfp_suite.components.evaluate.verdict import Check, Duel
from kfp_suite.contracts.model import Task, estimator_name
from kfp_suite.reports.charts import (
    MAX_LABELS,
    Interval,
    Series,
    heatmap,
    histogram,
    intervals,
    lines,
)
from kfp_suite.reports.formatting import decimals_for, fixed, number, percent, span
from kfp_suite.reports.page import Align, Cell, Page, tag

METRIC_NAMES: Mapping[str, str] = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "calibration_error": "Calibration error (ECE)",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "prevalence": "Prevalence",
    "predicted_positive_rate": "Predicted positive rate",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted",
    "precision_macro": "Precision, macro",
    "precision_weighted": "Precision, weighted",
    "recall_macro": "Recall, macro",
    "recall_weighted": "Recall, weighted",
    "roc_auc_ovr": "ROC AUC, one versus rest",
    "top_2_accuracy": "Top-2 accuracy",
    "top_3_accuracy": "Top-3 accuracy",
    "top_5_accuracy": "Top-5 accuracy",
    "rmse": "RMSE",
    "mae": "MAE",
    "median_ae": "Median absolute error",
    "r2": "R²",
    "mape": "MAPE",
    "bias": "Bias (predicted − actual)",
}
_HISTOGRAM_BINS = 40


def draw(outcome: Outcome) -> str:
    """The report as one HTML document."""
    manifest, scores, confusion = outcome.manifest, outcome.scores, outcome.confusion()
    page = Page(
        f"Evaluation of {manifest.label}",
        f"{_task_name(manifest.task)} on {number(outcome.rows)} rows of split “{outcome.split}”",
    )
    page.verdict(outcome.blessed, outcome.reasons, "Blessed" if outcome.blessed else "Not blessed")
    _facts(page, outcome)
    _metrics(page, outcome)
    if outcome.duel is not None:
        _duel(page, outcome, outcome.duel)
    if outcome.checks:
        _thresholds(page, outcome.checks)
    if isinstance(scores[0], BinaryScores):
        _binary(page, outcome)
    elif isinstance(scores[0], RegressionScores):
        _regression(page, outcome)
    if confusion is not None:
        _confusion(page, outcome, confusion)
    if isinstance(scores[0], MulticlassScores) and confusion is not None:
        _classes(page, confusion)
    if outcome.slices:
        _slices(page, outcome)
    _hyperparameters(page, outcome)
    return page.html()


def _facts(page: Page, outcome: Outcome) -> None:
    champion = outcome.champion
    facts: dict[str, Cell] = {
        "Estimator": estimator_name(outcome.manifest),
        "Framework": outcome.manifest.framework,
        "Rows": outcome.rows,
        "Champion": "none" if champion is None else f"version {champion.reference.version}",
        "Model": outcome.manifest.digest,
        "Dataset": outcome.dataset_digest,
    }
    if outcome.manifest.threshold is not None:
        facts["Decision threshold"] = outcome.manifest.threshold
    if outcome.unlabelled:
        facts["Rows without a label, left out"] = outcome.unlabelled
    page.facts(facts)
    for warning in outcome.warnings:
        page.note(warning)
    if outcome.unseen:
        seen = ", ".join(f"{name} ({number(count)})" for name, count in outcome.unseen.items())
        page.note(
            f"Classes the model was never trained on: {seen}. These rows count as wrong; their "
            "probability counts as 0."
        )


def _metrics(page: Page, outcome: Outcome) -> None:
    page.heading("Metrics")
    measured = outcome.measured
    several = len(measured) > 1
    header = ["Metric", "Value", _interval_name(outcome)]
    if several:
        header += ["Champion", _interval_name(outcome)]
    header.append(f"Baseline: {outcome.baseline.says}")
    rows: list[list[Cell]] = []
    for metric, better in METRICS[outcome.manifest.task].items():
        found = [m.estimates.get(metric) for m in measured]
        if found[0] is None:
            continue
        arrow = {"higher": " ↑", "lower": " ↓", "none": ""}[better]
        row: list[Cell] = [f"{METRIC_NAMES[metric]}{arrow}"]
        for estimate in found:
            row += _estimate_cells(estimate)
        baseline, value = outcome.baseline.metrics.get(metric), found[0].value
        row.append(None if baseline is None else _set_like(baseline, value or baseline))
        rows.append(row)
    align: list[Align] = ["left", *(["right"] * 5)]  # type: ignore[list-item]
    how = "No intervals were asked for."
    if outcome.resampling.resamples:
        how = f"Intervals are percentiles of {number(outcome.resampling.resamples)} bootstrap "
        how += "resamples, the same for both models" if several else "resamples of the rows"
        how += "; a share of 0 or 1 has an exact one (Clopper-Pearson)."
    page.table(
        header,
        rows,
        align=align[: len(header)],
        caption=f"↑ higher is better, ↓ lower is better. {how}",
    )
    undefined = {
        METRIC_NAMES[name]: e.reason for name, e in measured[0].estimates.items() if e.value is None
    }
    if undefined:
        page.note(
            "Undefined here: "
            + "; ".join(f"{name}, as {why}" for name, why in undefined.items())
            + "."
        )


def _hyperparameters(page: Page, outcome: Outcome) -> None:
    given = outcome.manifest.recipe.train.get("hyperparameters") or {}
    if given:
        page.heading("Hyperparameters")
        page.table(
            ["Hyperparameter", "Value"],
            [[name, _format_hyperparameter(value)] for name, value in sorted(given.items())],
            caption="Those that were set; the others are the library's defaults.",
        )


def _format_hyperparameter(value: object) -> str:
    """A hyperparameter as it was written: KFP has made floats of whole numbers."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _duel(page: Page, outcome: Outcome, duel: Duel) -> None:
    measured, champion = outcome.measured, outcome.champion
    assert champion is not None
    page.heading("Champion beside challenger")
    task = outcome.manifest.task
    shown = []
    for metric, better in METRICS[task].items():
        if better == "none":
            continue
        own, other = (m.estimates.get(metric) for m in measured)
        if own is None or other is None or own.value is None or other.value is None:
            continue
        sign = 1.0 if better == "higher" else -1.0
        draws = sign * (measured[0].draws[metric] - measured[1].draws[metric])
        low, high = outcome.resampling.interval(draws)
        shown.append(Interval(METRIC_NAMES[metric], sign * (own.value - other.value), low, high))
    bounded = [p for p in shown if task != "regression" or p.label == METRIC_NAMES[duel.metric]]
    page.figure(
        intervals(
            bounded,
            title="How much better the challenger is than the champion",
            x_label="← champion better · challenger better →",
            reference=0.0,
            width=640,
        ),
        f"How much better this model is than champion version {champion.reference.version}, "
        f"with {_interval_name(outcome)}s of the paired difference on the same rows. "
        f"The verdict rests on {METRIC_NAMES[duel.metric]}.",
        wide=True,
    )


def _thresholds(page: Page, checks: Sequence[Check]) -> None:
    page.heading("Thresholds")
    first = [check for check in checks if check.slice is None or not check.passed]
    _check_table(page, first)
    rest = [check for check in checks if check not in first]
    if rest:
        _check_table(page, rest, fold=f"{number(len(rest))} limits of slices, all met")


def _check_table(page: Page, checks: Sequence[Check], fold: str = "") -> None:
    rows: list[list[Cell]] = []
    for check in checks:
        limits = [f"≥ {number(check.min)}"] if check.min is not None else []
        limits += [f"≤ {number(check.max)}"] if check.max is not None else []
        rows.append(
            [
                METRIC_NAMES[check.metric],
                check.slice or "all rows",
                " and ".join(limits),
                *_estimate_cells(Estimate(check.value, check.low, check.high)),
                tag("met", "good") if check.passed else tag("not met", "bad"),
            ]
        )
    if rows:
        page.table(
            ["Metric", "Rows", "Limit", "Value", "Interval", "Verdict"],
            rows,
            align=["left", "left", "right", "right", "right", "left"],
            fold=fold,
        )


def _binary(page: Page, outcome: Outcome) -> None:
    scores = outcome.scores
    names = _names(scores)
    models = [s for s in scores if isinstance(s, BinaryScores)]
    first = models[0]
    if first.probability is None:
        page.note("The model gives no probabilities: there is no curve to draw.")
        return
    page.heading("Ranking and calibration")
    curves = [(name, roc_curve(s)) for name, s in zip(names, models, strict=True)]
    drawn = [Series(name, c.x, c.y) for name, c in curves if c is not None]
    if drawn:
        page.figure(
            lines(
                drawn,
                title="ROC curve",
                x_label="false positive rate",
                y_label="true positive rate",
                x_range=(0, 1),
                y_range=(0, 1),
                diagonal=True,
                height=400,
            ),
            "ROC curve. The diagonal is what chance alone gives.",
        )
    curves = [(name, precision_recall_curve(s)) for name, s in zip(names, models, strict=True)]
    drawn = [Series(name, c.x, c.y) for name, c in curves if c is not None]
    if drawn:
        prevalence = float(first.actual.mean())
        page.figure(
            lines(
                drawn,
                title="Precision and recall",
                x_label="recall",
                y_label="precision",
                x_range=(0, 1),
                y_range=(0, 1),
                level=prevalence,
                height=400,
            ),
            f"Precision and recall. The dashed line is the prevalence, {percent(prevalence)}.",
        )
    z = NormalDist().inv_cdf((1 + outcome.resampling.confidence) / 2)
    drawn = []
    for name, s in zip(names, models, strict=True):
        groups = calibration(s, z)
        if groups is not None:
            drawn.append(
                Series(name, groups.predicted, groups.actual, groups.low, groups.high, marks=True)
            )
    top = max((max(*s.x, *(v or 0.0 for v in s.high)) for s in drawn), default=1.0)
    extent = (0.0, 1.0 if top > 0.6 else np.ceil(top * 10 + 0.5) / 10)
    page.figure(
        lines(
            drawn,
            title="Calibration",
            x_label="mean predicted probability",
            y_label=f"share of {class_name(outcome.manifest.classes[1])}",
            x_range=extent,
            y_range=extent,
            diagonal=True,
            height=400,
        ),
        "Calibration in ten groups of about equal size, with Wilson intervals. On the diagonal "
        f"a prediction means what it says. (ECE uses {CALIBRATION_BINS} equal-width bins.)",
    )
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    counts = {
        f"actual {class_name(outcome.manifest.classes[k])}": np.histogram(
            first.probability[first.actual == bool(k)], edges
        )[0].tolist()
        for k in (0, 1)
    }
    page.figure(
        histogram(
            edges.tolist(),
            {name: values for name, values in counts.items() if sum(values)},
            title="Predicted probabilities by actual class",
            x_label="predicted probability",
            y_label="share of the class",
            height=400,
        ),
        "Predicted probabilities, each class by itself. The further apart, the better.",
    )


def _regression(page: Page, outcome: Outcome) -> None:
    scores = outcome.scores
    page.heading("Predictions and residuals")
    models = [s for s in scores if isinstance(s, RegressionScores)]
    drawn: list[Series] = []
    for name, s in zip(_names(scores), models, strict=True):
        groups = fit_by_size(s)
        low, high = (groups.low, groups.high) if not drawn else ([], [])
        drawn.append(Series(name, groups.predicted, groups.actual, low, high, marks=True))
    values = [v for s in drawn for part in (s.x, s.y, s.low, s.high) for v in part if v is not None]
    extent = (min(values), max(values)) if max(values) > min(values) else None
    page.figure(
        lines(
            drawn,
            title="Actual by predicted",
            x_label=f"mean predicted {outcome.manifest.label}",
            y_label=f"mean actual {outcome.manifest.label}",
            x_range=extent,
            y_range=extent,
            diagonal=True,
            height=400,
        ),
        "Mean label in twenty groups of about equal size by prediction; the band holds the "
        "middle half of the labels.",
    )
    residuals = models[0].residuals
    low, high = np.quantile(residuals, [0.005, 0.995])
    if high > low:
        counts, edges = np.histogram(residuals, _HISTOGRAM_BINS, (low, high))
        page.figure(
            histogram(
                edges.tolist(),
                counts.tolist(),
                title="Residuals",
                x_label="predicted − actual",
                height=400,
            ),
            "Residuals, without the outermost 0.5% at each end.",
        )
    quantiles = [np.quantile(s.residuals, RESIDUAL_QUANTILES).tolist() for s in models]
    page.table(
        ["Model", *(f"{percent(q, 0)} quantile" for q in RESIDUAL_QUANTILES)],
        [[name, *row] for name, row in zip(_names(scores), quantiles, strict=True)],
        caption="Quantiles of predicted minus actual.",
    )


def _confusion(page: Page, outcome: Outcome, confusion: Confusion) -> None:
    page.heading("Confusion matrix")
    names, matrix = confusion.categories, confusion.matrix
    threshold = outcome.manifest.threshold
    rule = "" if threshold is None else f" The decision threshold is {number(threshold)}."
    if len(names) > MAX_LABELS:
        rule += f" The first {MAX_LABELS} of {number(len(names))} classes."
    page.figure(
        heatmap(matrix, names, width=480 if len(names) <= 6 else 800),
        f"Rows by actual and predicted class, with the share of the actual class.{rule}",
        wide=len(names) > 6,
    )


def _classes(page: Page, confusion: Confusion) -> None:
    names, matrix = confusion.categories, confusion.matrix
    counts = np.asarray(matrix, dtype=np.float64)
    actual, predicted, right = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    rows: list[list[Cell]] = []
    for k, name in enumerate(names):
        precision = float(right[k] / predicted[k]) if predicted[k] else None
        recall = float(right[k] / actual[k]) if actual[k] else None
        both = actual[k] + predicted[k]
        f1 = float(2 * right[k] / both) if both else None
        rows.append([name, int(actual[k]), precision, recall, f1])
    page.table(["Class", "Rows", "Precision", "Recall", "F1"], rows, caption="By class.")


def _slices(page: Page, outcome: Outcome) -> None:
    slices, measured = outcome.slices, outcome.measured
    page.heading("Slices")
    primary, task = outcome.comparison.metric, outcome.manifest.task
    overall = measured[0].estimates.get(primary)
    others = [m for m in _SLICE_METRICS[task] if m != primary][:3]
    several = len(measured) > 1
    for columns in dict.fromkeys(result.columns for result in slices):
        group = [result for result in slices if result.columns == columns]
        page.heading(" × ".join(columns), level=3)
        shown = _sort_by_metric([r for r in group if r.challenger is not None], primary, task)
        points = []
        for result in shown:
            for name, own in (("challenger", result.challenger), ("champion", result.champion)):
                estimate = own.estimates.get(primary) if own is not None else None
                if estimate is not None:
                    points.append(
                        Interval(
                            result.name,
                            estimate.value,
                            estimate.low,
                            estimate.high,
                            name if several else "",
                        )
                    )
        if any(point.value is not None for point in points):
            page.figure(
                intervals(
                    points,
                    title=f"{METRIC_NAMES[primary]} by {' and '.join(columns)}",
                    x_label=METRIC_NAMES[primary],
                    reference=overall.value if overall is not None else None,
                    width=640,
                ),
                f"{METRIC_NAMES[primary]} with {_interval_name(outcome)}s; the dashed line is "
                "the value over all rows.",
                wide=True,
            )
        header = ["Slice", "Rows", METRIC_NAMES[primary], _interval_name(outcome)]
        header += ["Champion"] if several else []
        header += [METRIC_NAMES[m] for m in others]
        rows: list[list[Cell]] = []
        for result in shown:
            assert result.challenger is not None
            found = result.challenger.estimates
            row: list[Cell] = [result.name, result.rows, *_estimate_cells(found.get(primary))]
            if several:
                theirs = result.champion.estimates.get(primary) if result.champion else None
                row.append(_estimate_cells(theirs)[0])
            row += [_estimate_cells(found.get(m))[0] for m in others]
            rows.append(row)
        if rows:
            page.table(header, rows, align=["left", *(["right"] * (len(header) - 1))])  # type: ignore[list-item]
        small = [r for r in group if r.challenger is None]
        if small:
            page.note(
                f"Fewer than {number(outcome.min_slice_rows)} rows, not measured: "
                + ", ".join(f"{r.name} ({number(r.rows)})" for r in small)
                + "."
            )


def _sort_by_metric(slices: list[SliceResult], metric: str, task: Task) -> list[SliceResult]:
    """Slices by a metric of the model under evaluation; those without a value last."""

    def place(result: SliceResult) -> tuple[bool, float]:
        found = result.challenger.estimates.get(metric) if result.challenger else None
        if found is None or found.value is None:
            return True, 0.0
        return False, found.value if METRICS[task][metric] == "higher" else -found.value

    return sorted(slices, key=place)


_SLICE_METRICS: Mapping[Task, tuple[str, ...]] = {
    "binary": ("prevalence", "log_loss", "precision", "recall", "roc_auc"),
    "multiclass": ("accuracy", "balanced_accuracy", "log_loss", "f1_macro"),
    "regression": ("mae", "bias", "r2", "rmse"),
}


def _estimate_cells(estimate: Estimate | None) -> list[Cell]:
    if estimate is None or estimate.value is None:
        return [None, None]
    value = estimate.value
    if estimate.low is None or estimate.high is None:
        return [_set_like(value, value), None]
    low, high = _set_like(estimate.low, value), _set_like(estimate.high, value)
    return [_set_like(value, value), span(low, high)]


def _set_like(value: float, model: float) -> str:
    """`value` with the decimals that show four digits of `model`; at most four decimals."""
    if not 1e-3 <= abs(model) < 1e15:
        return number(value)
    return fixed(value, min(4, decimals_for(model)))


def _names(scores: Sequence[Scores]) -> list[str]:
    return ["challenger", "champion"][: len(scores)]


def _interval_name(outcome: Outcome) -> str:
    return f"{number(outcome.resampling.confidence * 100)}% interval"


def _task_name(task: Task) -> str:
    return {
        "binary": "Binary classification",
        "multiclass": "Multi-class classification",
        "regression": "Regression",
    }[task]
