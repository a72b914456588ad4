"""Measure a model on a split with TensorFlow Model Analysis, and say whether it is blessed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions

from kfp_suite.beam.pipelines import BeamParameters, pipeline_options
from kfp_suite.beam.reading import lists, read_split
from kfp_suite.components.evaluate.bootstrap import Estimate
from kfp_suite.components.evaluate.parameters import (
    Comparison,
    Threshold,
    check_slice_limits,
    parse_thresholds,
)
from kfp_suite.components.evaluate.serialization import FORMAT_VERSION
from kfp_suite.components.evaluate.slices import check_columns, parse_slices
from kfp_suite.components.evaluate.tfma.metrics import (
    COUNT,
    LABEL,
    METRICS,
    PREDICTION,
    eval_config,
    metrics_of,
)
from kfp_suite.components.evaluate.verdict import Check, Unchecked, check_threshold, decide
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.dataset import Dataset, read_dataset
from kfp_suite.contracts.errors import (
    DataError,
    MissingError,
    ParameterError,
    did_you_mean,
)
from kfp_suite.contracts.model import ModelManifest, read_model
from kfp_suite.contracts.run_record import EVALUATION
from kfp_suite.models.loading import LoadedModel, load_model
from kfp_suite.reports.page import Page


@dataclass(frozen=True)
class TfmaParameters:
    """What to measure, and where Beam runs. As of `evaluate`, without a champion."""

    split: str = "test"
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    slices: tuple[Any, ...] = ()
    min_slice_rows: int = 100
    dataset_uri: str = ""
    model_uri: str = ""
    beam: BeamParameters = field(default_factory=BeamParameters)


@dataclass(frozen=True)
class Sliced:
    """The metrics of one slice; the one of all rows has no name."""

    name: str
    columns: tuple[str, ...]
    rows: int
    metrics: dict[str, float | None]


@dataclass(frozen=True)
class TfmaEvaluation:
    """What KFP shows beside the report."""

    blessed: bool
    reasons: list[str]
    metrics: dict[str, float]


def evaluate_tfma(
    parameters: TfmaParameters, dataset: Path, model: Path, evaluation: Path, report: Path
) -> TfmaEvaluation:
    """Write `evaluation.json` to the folder `evaluation` and the report to the file `report`.

    Args:
        parameters: What to measure, and the criteria.
        dataset: A Dataset artifact, in a folder that every worker of Beam sees.
        model: A Model artifact, likewise.
        evaluation: Where the folder with `evaluation.json` is written.
        report: Where the HTML report is written.

    Raises:
        InputError: parameters, a split or columns that do not fit the data and the model.
    """
    data, manifest = read_dataset(dataset), read_model(model).manifest
    thresholds = parse_thresholds(parameters.thresholds, manifest.task)
    _check_thresholds(thresholds, manifest)
    wanted = parse_slices(parameters.slices)
    check_slice_limits(thresholds, wanted)
    check_columns(wanted, data)
    _check_split(data, parameters.split, manifest.label)
    found = _measure(
        data, model, manifest, parameters.split, wanted, pipeline_options(parameters.beam)
    )
    whole = next(one for one in found if not one.columns)
    slices = [one for one in found if one.columns]
    if not whole.rows:
        raise DataError(
            f"split '{parameters.split}' has no rows with a label of the model", where=data.path
        )
    checks = [
        check_threshold(metric, threshold, _estimate(whole, metric))
        for metric, threshold in thresholds.items()
        if threshold.min is not None or threshold.max is not None
    ]
    checks += [
        check_threshold(metric, threshold, _estimate(one, metric), one.name)
        for one in slices
        for metric, threshold in thresholds.items()
        if one.rows >= parameters.min_slice_rows and threshold.limits_slices_of(one.columns)
    ]
    comparison = Comparison(metric=METRICS[manifest.task][0])
    sizes = [(one.columns, one.rows) for one in slices]
    unchecked = Unchecked.count(thresholds, sizes, parameters.min_slice_rows)
    blessed, reasons = decide(checks, None, None, comparison, unchecked)
    write_file(report, _page(manifest, parameters, whole, slices, blessed, reasons).html().encode())
    with whole_folder(evaluation) as folder:
        content = _document(data, manifest, parameters, whole, slices, checks, blessed, reasons)
        write_json(folder / EVALUATION, content)
    known = {name: value for name, value in whole.metrics.items() if value is not None}
    return TfmaEvaluation(blessed, reasons, known)


def _check_thresholds(thresholds: Mapping[str, Threshold], manifest: ModelManifest) -> None:
    known = METRICS[manifest.task]
    for metric, threshold in thresholds.items():
        if metric not in known:
            raise ParameterError(
                f"TensorFlow Model Analysis does not measure '{metric}'",
                where=f"thresholds: {metric}",
                fix=did_you_mean(metric, known),
            )
        if threshold.decide_by == "interval":
            raise ParameterError(
                "there are no intervals", where=f"thresholds: {metric}", fix="decide_by: value"
            )


def _check_split(data: Dataset, split: str, label: str) -> None:
    if split not in data.manifest.splits:
        raise MissingError(
            f"no split '{split}'", where=data.path, fix=did_you_mean(split, data.manifest.splits)
        )
    names = [column.name for column in data.manifest.columns]
    if label not in names:
        raise MissingError(
            f"no label column '{label}'", where=data.path, fix=did_you_mean(label, names)
        )


# On Beam


def _measure(
    data: Dataset,
    model: Path,
    manifest: ModelManifest,
    split: str,
    slices: tuple[tuple[str, ...], ...],
    options: PipelineOptions,
) -> list[Sliced]:
    config = eval_config(manifest, slices)
    kept = list(dict.fromkeys(name for columns in slices for name in columns))
    inputs = [field.name for field in manifest.signature.inputs]
    columns = list(dict.fromkeys([*inputs, *kept, manifest.label]))
    with tempfile.TemporaryDirectory(prefix="kfp-suite-tfma-") as output:
        with beam.Pipeline(options=options) as pipeline:
            (
                pipeline
                | read_split(data, split, columns, _as_it_is)
                | "Predict" >> beam.ParDo(_Predict(str(model), kept))
                | "Extracts" >> tfma.BatchedInputsToExtracts()
                | "Evaluate"
                >> tfma.ExtractAndEvaluate(
                    extractors=tfma.default_extractors(eval_config=config),
                    evaluators=tfma.default_evaluators(eval_config=config),
                )
                | "Write"
                >> tfma.WriteResults(writers=tfma.default_writers(output, eval_config=config))
            )
        result = tfma.load_eval_result(output)
        return sorted(
            (_make_sliced(key, values[""][""], manifest) for key, values in result.slicing_metrics),
            key=lambda one: (one.columns, one.name),
        )


def _make_sliced(key: tuple[tuple[str, Any], ...], found: Any, manifest: ModelManifest) -> Sliced:
    return Sliced(
        name=", ".join(f"{name}={value}" for name, value in key),
        columns=tuple(name for name, _ in key),
        rows=int(float(found[COUNT]["doubleValue"])),
        metrics=metrics_of(found, manifest),
    )


def _as_it_is(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


class _Predict(beam.DoFn):  # type: ignore[misc]
    """Rows to what TFMA reads: label, prediction and the slices' columns as text."""

    def __init__(self, model: str, kept: list[str]) -> None:
        self._folder, self._kept = model, kept

    def setup(self) -> None:
        """Load the model where the work is done."""
        self._model: LoadedModel = load_model(Path(self._folder))

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The predictions of a batch, of the rows with a label that the model knows."""
        manifest = self._model.manifest
        table = pa.Table.from_batches([batch])
        codes = _codes(table[manifest.label], manifest)
        known = ~np.isnan(codes)
        if not known.any():
            return
        table = table.filter(pa.array(known))
        prediction = self._model.predict(table)
        columns = {LABEL: lists(pa.array(codes[known].astype(np.float32)))}
        columns[PREDICTION] = _prediction(prediction, manifest)
        for name in self._kept:
            columns[name] = lists(_text(table[name].combine_chunks()))
        yield pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _codes(column: pa.ChunkedArray, manifest: ModelManifest) -> Any:
    """The label as a number, or as its class's position; NaN if there is none."""
    if manifest.task == "regression":
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    positions = {value: float(i) for i, value in enumerate(manifest.classes)}
    return np.array([positions.get(value, np.nan) for value in column.to_pylist()], np.float64)


def _prediction(prediction: Any, manifest: ModelManifest) -> pa.Array:
    if manifest.task == "regression":
        return lists(pa.array(prediction.values.astype(np.float32)))
    if manifest.task == "binary":
        return lists(pa.array(prediction.probabilities[:, 1].astype(np.float32)))
    # One for the class that the model decides for: its probabilities may tie.
    positions = {value: i for i, value in enumerate(manifest.classes)}
    chosen = np.array([positions[value] for value in prediction.values.tolist()])
    flags = np.eye(len(manifest.classes), dtype=np.float32)[chosen]
    offsets = np.arange(len(flags) + 1, dtype=np.int32) * flags.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flags.ravel()))


def _text(column: pa.Array) -> pa.Array:
    texts = [
        "null" if v is None else str(v).lower() if isinstance(v, bool) else str(v)
        for v in column.to_pylist()
    ]
    return pa.array([text.encode() for text in texts], pa.binary())


# What is written


def _estimate(one: Sliced, metric: str) -> Estimate:
    value = one.metrics[metric]
    return Estimate(value, reason="" if value is not None else "TFMA gives no number for it")


def _document(
    data: Dataset,
    manifest: ModelManifest,
    parameters: TfmaParameters,
    whole: Sliced,
    slices: list[Sliced],
    checks: list[Check],
    blessed: bool,
    reasons: list[str],
) -> dict[str, Any]:
    def measured(one: Sliced) -> dict[str, Any]:
        return {name: _estimate(one, name).to_json() for name in one.metrics}

    return {
        "format_version": FORMAT_VERSION,
        "engine": "tfma",
        "blessed": blessed,
        "reasons": reasons,
        "task": manifest.task,
        "label": manifest.label,
        "split": parameters.split,
        "rows": whole.rows,
        "metrics": measured(whole),
        "slices": [
            {"slice": s.name, "columns": list(s.columns), "rows": s.rows, "metrics": measured(s)}
            for s in slices
        ],
        "thresholds": [check.to_json() for check in checks],
        "champion": None,
        "dataset_digest": data.manifest.digest,
        "model_digest": manifest.digest,
        "dataset": {"uri": parameters.dataset_uri, "digest": data.manifest.digest},
        "model": {
            **manifest.recipe.train,
            "uri": parameters.model_uri,
            "digest": manifest.digest,
            "framework": manifest.framework,
        },
    }


def _page(
    manifest: ModelManifest,
    parameters: TfmaParameters,
    whole: Sliced,
    slices: list[Sliced],
    blessed: bool,
    reasons: list[str],
) -> Page:
    page = Page("Evaluation", f"{whole.rows:,} rows of split {parameters.split}")
    page.verdict(blessed, reasons, "Blessed" if blessed else "Not blessed")
    page.facts(
        {
            "Label": manifest.label,
            "Task": manifest.task,
            "Measured by": "TensorFlow Model Analysis",
            "Model": manifest.digest,
        }
    )
    page.heading("Metrics")
    page.table(["Metric", "Value"], [[name, value] for name, value in whole.metrics.items()])
    if slices:
        page.heading("Slices")
        page.table(
            ["Slice", "Rows", *whole.metrics],
            [[one.name, one.rows, *one.metrics.values()] for one in slices],
        )
    return page
