"""Measure a model on a split, and decide by thresholds and the champion whether it is blessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.evaluate.baseline import baseline_of
from kfp_suite.components.evaluate.bootstrap import (
    Estimate,
    Measured,
    Resampling,
    measure,
    round_figure,
)
from kfp_suite.components.evaluate.champion import (
    Fetch,
    Load,
    fetch_champion,
    load_folder,
    score_champion,
)
from kfp_suite.components.evaluate.curves import Curve, roc_curve
from kfp_suite.components.evaluate.metrics import BinaryScores
from kfp_suite.components.evaluate.parameters import (
    Threshold,
    check_slice_limits,
    parse_comparison,
    parse_thresholds,
)
from kfp_suite.components.evaluate.predictions import (
    LabelledRows,
    Scores,
    read_rows,
    score,
    unseen_classes,
)
from kfp_suite.components.evaluate.report import draw
from kfp_suite.components.evaluate.result import Confusion, Outcome, SliceResult
from kfp_suite.components.evaluate.serialization import document
from kfp_suite.components.evaluate.slices import SliceColumns, check_columns, cut, parse_slices
from kfp_suite.components.evaluate.verdict import (
    Check,
    Unchecked,
    check_threshold,
    compare,
    decide,
)
from kfp_suite.components.evaluate.warning import warnings_of
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import read_model
from kfp_suite.contracts.run_record import EVALUATION
from kfp_suite.stores.champions import parse_champion

MAX_CATEGORIES = 50
"""Classes of a confusion matrix in the KFP UI; with more it is left out."""


@dataclass(frozen=True)
class EvaluateParameters:
    """The parameters of evaluate, as its interface takes them.

    Raises:
        ParameterError: a number out of its range.
    """

    split: str = "test"
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    slices: Sequence[Any] = ()
    min_slice_rows: int = 100
    champion: str = ""
    comparison: Mapping[str, Any] = field(default_factory=dict)
    resamples: int = 200
    confidence: float = 0.95
    seed: int = 0
    dataset_uri: str = ""
    model_uri: str = ""

    def __post_init__(self) -> None:
        for name, value, fits, expected in (
            ("resamples", self.resamples, 0 <= self.resamples <= 10_000, "0 to 10,000"),
            ("confidence", self.confidence, 0 < self.confidence < 1, "above 0 and below 1"),
            ("min_slice_rows", self.min_slice_rows, self.min_slice_rows >= 1, "at least 1"),
            ("seed", self.seed, self.seed >= 0, "at least 0"),
        ):
            if not fits:
                raise ParameterError("out of range", where=name, got=value, expected=expected)


@dataclass(frozen=True)
class Evaluation:
    """The results that KFP shows beside the report: verdict, metrics, ROC and confusion matrix."""

    blessed: bool
    reasons: Sequence[str]
    warnings: Sequence[str]
    metrics: dict[str, float]
    roc: Curve | None
    confusion: Confusion | None


def evaluate(
    parameters: EvaluateParameters,
    dataset: Path,
    model: Path,
    evaluation: Path,
    report: Path,
    *,
    load: Load = load_folder,
    fetch: Fetch = fetch_champion,
) -> Evaluation:
    """Write `evaluation.json` to the folder `evaluation` and the report to the file `report`.

    Args:
        parameters: What to measure, and the criteria.
        dataset: A Dataset artifact.
        model: A Model artifact.
        evaluation: The folder that `evaluation.json` is written to.
        report: The file that the HTML report is written to.
        load: Loads a Model artifact.
        fetch: Fetches the champion.

    Raises:
        InputError: parameters, a split or columns that do not fit the data and the model.
        TransientError: the champion's store may answer on another try.
    """
    data, manifest = read_dataset(dataset), read_model(model).manifest
    thresholds = parse_thresholds(parameters.thresholds, manifest.task)
    comparison = parse_comparison(parameters.comparison, manifest.task)
    wanted = parse_slices(parameters.slices)
    reference = parse_champion(parameters.champion)
    check_slice_limits(thresholds, wanted)
    slice_columns = check_columns(wanted, data)
    resampling = Resampling(parameters.resamples, parameters.confidence, parameters.seed)

    rows = read_rows(data, parameters.split, manifest.label, slice_columns)
    scores = [score(load(model), rows)]
    champion = None
    if reference is not None:
        champion = score_champion(reference, manifest, rows, fetch=fetch, load=load)
        if champion.scores is not None:
            scores.append(champion.scores)
    measured = measure(scores, resampling, "all")
    slices = _measure_slices(scores, rows, wanted, parameters.min_slice_rows, resampling)
    checks = _check(thresholds, measured[0], slices, scores[0])
    duel = compare(comparison, manifest.task, measured, resampling) if len(scores) > 1 else None
    sizes = [(result.columns, result.rows) for result in slices]
    unchecked = Unchecked.count(thresholds, sizes, parameters.min_slice_rows)
    blessed, reasons = decide(checks, champion, duel, comparison, unchecked)
    baseline = baseline_of(scores[0], manifest, rows)
    asked = bool(checks) or champion is not None
    outcome = Outcome(
        manifest=manifest,
        dataset_digest=data.manifest.digest,
        split=parameters.split,
        unlabelled=rows.unlabelled,
        unseen=unseen_classes(manifest, rows),
        resampling=resampling,
        min_slice_rows=parameters.min_slice_rows,
        comparison=comparison,
        scores=scores,
        measured=measured,
        slices=slices,
        checks=checks,
        champion=champion,
        duel=duel,
        blessed=blessed,
        reasons=reasons,
        baseline=baseline,
        warnings=warnings_of(manifest, rows, measured[0], baseline, asked),
    )
    write_file(report, draw(outcome).encode())
    with whole_folder(evaluation) as folder:
        content = document(outcome, parameters.dataset_uri, parameters.model_uri)
        write_json(folder / EVALUATION, content)
    return _for_kfp(outcome)


def _measure_slices(
    scores: Sequence[Scores],
    rows: LabelledRows,
    wanted: tuple[SliceColumns, ...],
    least: int,
    resampling: Resampling,
) -> list[SliceResult]:
    found = []
    for part in cut(rows.columns, wanted):
        measured: list[Measured] = []
        if len(part.rows) >= least:
            measured = measure([s.take(part.rows) for s in scores], resampling, part.name)
        found.append(SliceResult(part.name, part.columns, len(part.rows), *measured))
    return found


def _check(
    thresholds: Mapping[str, Threshold],
    measured: Measured,
    slices: Sequence[SliceResult],
    scores: Scores,
) -> list[Check]:
    def estimate(found: Measured, metric: str) -> Estimate:
        return found.estimates.get(metric) or Estimate(None, reason=scores.why_undefined(metric))

    checks = [
        check_threshold(metric, threshold, estimate(measured, metric))
        for metric, threshold in thresholds.items()
        if threshold.min is not None or threshold.max is not None
    ]
    checks += [
        check_threshold(metric, threshold, estimate(result.challenger, metric), result.name)
        for result in slices
        for metric, threshold in thresholds.items()
        if result.challenger is not None and threshold.limits_slices_of(result.columns)
    ]
    return checks


def _for_kfp(outcome: Outcome) -> Evaluation:
    scores, confusion = outcome.scores[0], outcome.confusion()
    if confusion is not None and len(confusion.categories) > MAX_CATEGORIES:
        confusion = None
    return Evaluation(
        outcome.blessed,
        outcome.reasons,
        outcome.warnings,
        {
            name: value
            for name, estimate in outcome.measured[0].estimates.items()
            if (value := round_figure(estimate.value)) is not None
        },
        roc_curve(scores) if isinstance(scores, BinaryScores) else None,
        confusion,
    )
