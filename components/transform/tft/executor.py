"""Fit features with TensorFlow Transform on Apache Beam, and transform every split."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

from kfp_suite.beam.pipelines import BeamParameters, pipeline_options
from kfp_suite.beam.reading import lists, read_split, tfx_batch, tfx_values
from kfp_suite.components.transform.report import report_page
from kfp_suite.components.transform.tft.learning import learn_by_tft
from kfp_suite.components.transform.tft.report import graph_page
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.dataset import Dataset, read_dataset
from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.model import Field
from kfp_suite.features.fitting import fit, no_rows
from kfp_suite.features.loading import Transform
from kfp_suite.features.spec import parse_features
from kfp_suite.features.tensorflow_graph import TransformGraph
from kfp_suite.features.tft_graph import (
    GRAPH,
    TftManifest,
    TftTransform,
    tfx_dtype,
    widths,
    write_manifest,
)
from kfp_suite.models.user_modules import MODULE, import_module
from kfp_suite.stores.files import PinnedFile

FUNCTION = "preprocessing_fn"
_ARROW = {tf.float32: pa.float32(), tf.string: pa.binary(), tf.int64: pa.int64()}


@dataclass(frozen=True)
class TftParameters:
    """What to fit, and where Beam runs. See `transform` for the first three."""

    features: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    exclude: tuple[str, ...] = ()
    sample_weight: str = ""
    write_examples: bool = True
    beam: BeamParameters = field(default_factory=BeamParameters)


def transform_tft(
    parameters: TftParameters,
    module: PinnedFile | None,
    dataset: Path,
    output: Path,
    examples: Path,
    report: Path,
) -> Transform:
    """Fit the features on `train`; write the transform's folder, the transformed examples of
    every split and the report.

    Args:
        parameters: What to fit.
        module: A module with a `preprocessing_fn(inputs)`, instead of a spec.
        dataset: A Dataset artifact.
        output: The transform's folder.
        examples: A folder: `Split-<name>/transformed_examples-*.gz`, `tf.Example`s.
        report: The report.

    Raises:
        ParameterError: the spec, the module or Beam's options are not right.
        DataError: the rows of `train` cannot be used.
        MissingError, ContractError: `dataset` is not a Dataset artifact with such a split.
    """
    data = read_dataset(dataset)
    options = pipeline_options(parameters.beam)
    exclude = tuple(dict.fromkeys(n for n in (*parameters.exclude, parameters.sample_weight) if n))
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    transform: Transform
    if module is None:
        learn = functools.partial(learn_by_tft, options=options)
        fitted = fit(parse_features(parameters.features), data, parameters.label, exclude, learn)
        page = report_page(fitted, dataset_digest=data.manifest.digest, columns=len(data.schema))
        with whole_folder(output) as folder:
            fitted.save(folder)
            _save_graph(TransformGraph(fitted), fitted.inputs, folder / GRAPH)
        transform = fitted
    else:
        if parameters.features:
            raise ParameterError(
                "a spec and a module", where="features, module_file", fix="give one of the two"
            )
        with whole_folder(output) as folder:
            _analyze_module(module, data, parameters.label, exclude, options, folder)
        transform = TftTransform.load(output)
        page = graph_page(transform, dataset_digest=data.manifest.digest)
    with whole_folder(examples) as folder:
        folder.mkdir(exist_ok=True)
        if parameters.write_examples:
            _write_examples(transform, output, data, parameters.label, options, folder)
    write_file(report, page.html().encode())
    return transform


def _save_graph(graph: TransformGraph, inputs: tuple[Field, ...], folder: Path) -> None:
    """The graph as a SavedModel, called as `transform_fn({column: tensor})`."""
    from kfp_suite.features.tensorflow_graph import DTYPES

    specs = {f.name: tf.TensorSpec([None], DTYPES[f.type], f.name) for f in inputs}
    graph.transform_fn = tf.function(graph.__call__, input_signature=[specs], autograph=False)
    tf.saved_model.save(graph, str(folder))


# A user's own preprocessing_fn


def _analyze_module(
    module: PinnedFile,
    data: Dataset,
    label: str,
    exclude: tuple[str, ...],
    options: PipelineOptions,
    folder: Path,
) -> None:
    source = module.read()
    function = _preprocessing_fn(import_module(source, module.digest))
    write_file(folder / MODULE, source)
    if not data.manifest.splits["train"].rows:
        raise no_rows()
    names = [column.name for column in data.manifest.columns]
    if label and label not in names:
        raise ParameterError(f"no column '{label}'", where="label", fix=did_you_mean(label, names))
    columns = [c for c in data.manifest.columns if c.name not in (label, *exclude)]
    nullable = _columns_with_nulls(data)
    offered = tuple(Field(c.name, c.type, nullable=c.name in nullable) for c in columns)
    fields = _used_by(function, offered)
    with tempfile.TemporaryDirectory(prefix="kfp-suite-tft-") as scratch:
        try:
            with (
                beam.Pipeline(options=options) as pipeline,
                tft_beam.Context(temp_dir=scratch, force_tf_compat_v1=False),
            ):
                batches = pipeline | read_split(
                    data, "train", [f.name for f in fields], _module_batches(fields)
                )
                analyzed = (batches, _module_adapter(fields)) | tft_beam.AnalyzeDataset(function)
                analyzed | tft_beam.WriteTransformFn(str(folder))
        except (ValueError, TypeError, RuntimeError) as error:
            raise _function_failed(error, fields) from error
    loaded = tf.saved_model.load(str(folder / GRAPH))
    found = loaded.transform_fn.structured_outputs
    write_manifest(
        folder,
        TftManifest(
            label=label,
            inputs=fields,
            outputs=widths(found, (label,)),
            module_digest=module.digest,
            dataset_digest=data.manifest.digest,
        ),
    )


def _used_by(function: Callable[..., Any], offered: tuple[Field, ...]) -> tuple[Field, ...]:
    """The columns that the outputs depend on: a request need not carry the others.

    Raises:
        ParameterError: the function failed.
    """
    specs = {}
    for one in offered:
        make = tf.SparseTensorSpec if one.nullable else tf.TensorSpec
        specs[one.name] = make([None, 1], tfx_dtype(one.type))
    try:
        names = set(tft.get_transform_input_columns(function, specs))
    except Exception as error:
        raise _function_failed(error, offered) from error
    return tuple(one for one in offered if one.name in names)


def _function_failed(error: Exception, offered: tuple[Field, ...]) -> ParameterError:
    said = str(error).strip().splitlines() or [""]
    return ParameterError(
        f"{FUNCTION}(inputs) failed",
        where="module_file",
        got=f"{type(error).__name__}: {said[-1].strip()}",
        fix=f"its inputs are {', '.join(field.name for field in offered)}",
    )


def _preprocessing_fn(module: Any) -> Callable[..., Any]:
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise ParameterError(
            f"no function '{FUNCTION}(inputs)'",
            where="module_file",
            fix=did_you_mean(FUNCTION, names),
        )
    found: Callable[..., Any] = function
    return found


def _columns_with_nulls(data: Dataset) -> set[str]:
    """The columns in which a row of some split has no value."""
    found: set[str] = set()
    for split in data.manifest.splits:
        for batch in data.batches(split):
            found |= {
                n for n, c in zip(batch.schema.names, batch.columns, strict=True) if c.null_count
            }
    return found


def _module_batches(fields: tuple[Field, ...]) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    types = {field.name: _ARROW[tfx_dtype(field.type)] for field in fields}

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [lists(tfx_values(batch.column(name)).cast(kind)) for name, kind in types.items()]
        return pa.RecordBatch.from_arrays(columns, names=list(types))

    return convert


def _module_adapter(fields: tuple[Field, ...]) -> TensorAdapterConfig:
    schema = pa.schema([(f.name, pa.list_(_ARROW[tfx_dtype(f.type)])) for f in fields])
    representations = {}
    for one in fields:
        representation = schema_pb2.TensorRepresentation()
        if one.nullable:
            representation.varlen_sparse_tensor.column_name = one.name
        else:
            representation.dense_tensor.column_name = one.name
            representation.dense_tensor.shape.dim.add(size=1)
        representations[one.name] = representation
    return TensorAdapterConfig(schema, representations)


# The transformed examples


def _write_examples(
    transform: Transform,
    folder: Path,
    data: Dataset,
    label: str,
    options: PipelineOptions,
    examples: Path,
) -> None:
    inputs = [f.name for f in transform.inputs]
    columns = list(dict.fromkeys([*inputs, *([label] if label else [])]))
    with beam.Pipeline(options=options) as pipeline:
        for split in data.manifest.splits:
            if not data.manifest.splits[split].rows:
                continue
            (
                pipeline
                | read_split(data, split, columns, _as_it_is)
                | f"Transform {split}" >> beam.ParDo(_ToExamples(str(folder), label))
                | f"Write {split}"
                >> beam.io.WriteToTFRecord(
                    str(examples / f"Split-{split}" / "transformed_examples"),
                    file_name_suffix=".gz",
                )
            )


def _as_it_is(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


class _ToExamples(beam.DoFn):  # type: ignore[misc]
    """Rows to serialized `tf.Example`s: a float a column of the matrix, and the label."""

    def __init__(self, folder: str, label: str) -> None:
        self._folder, self._label = folder, label

    def setup(self) -> None:
        """Load the transform where the work is done."""
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        from kfp_suite.features.loading import load_transform

        self._transform = load_transform(Path(self._folder))
        self._encoder = RecordBatchToExamplesEncoder()

    def process(self, batch: pa.RecordBatch) -> Iterable[bytes]:
        """The examples of a batch."""
        matrix = self._transform.transform(pa.Table.from_batches([batch]))
        columns = {
            name: lists(pa.array(matrix[:, i]))
            for i, name in enumerate(self._transform.output_names)
        }
        if self._label:
            columns[self._label] = tfx_batch(batch.select([self._label])).column(0)
        yield from self._encoder.encode(
            pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        )
