"""The states of a spec's operations, computed by TensorFlow Transform on Apache Beam.

Each pass is one Beam pipeline of TFT's analyzers; operations that depend on the states of
others wait for them. Means, deviations, extremes and vocabularies are those of our own
passes (means and deviations up to rounding); quantiles are TFT's, of 32-bit floats and
within 0.0001 of their rank.
"""

from __future__ import annotations

import heapq
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import singledispatch
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

from kfp_suite.beam.reading import lists, read_split
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.model import Field
from kfp_suite.features.categorical import LearnVocabulary
from kfp_suite.features.fitting import Learning, no_rows, nothing_to_learn
from kfp_suite.features.numeric import (
    LearnExtremes,
    LearnMoments,
    LearnMostFrequent,
    LearnQuantiles,
)
from kfp_suite.features.operation import State
from kfp_suite.features.program import Program
from kfp_suite.features.tensorflow_graph import (
    DTYPES,
    MISSING_TEXT,
    MISSING_TIME,
    Operations,
    Texts,
    arrays_of,
    bucket_of_hash,
    ngrams,
    read_tensor,
)
from kfp_suite.features.text import LearnNgrams

Tensor = Any
EPSILON = 0.0001
"""The largest error of a quantile's rank, relative to the rows."""
_MAX_BUCKETS = 1000
_ARROW = {tf.float64: pa.float64(), tf.string: pa.binary(), tf.int64: pa.int64()}
_COUNT = "count"


def learn_by_tft(
    program: Program, data: Dataset, options: PipelineOptions
) -> tuple[list[State | None], int]:
    """The states of a program's nodes, and the rows of train.

    Raises:
        DataError: no rows, a value that the features do not handle, a column that is all
            missing; naming the column.
    """
    rows = data.manifest.splits["train"].rows
    if not rows:
        raise no_rows()
    learning = Learning(program)
    first = True
    while first or learning.learners:
        ready = learning.ready()
        found = _analyze(program, data, learning, ready, options, check=first)
        if first:
            _check(program, found)
        for i in ready:
            if not found.number(f"{i}.{_COUNT}"):
                raise nothing_to_learn(program.nodes[i])
            learning.learned(i, _state(learning.learners[i], _Named(found, i)))
        first = False
    return learning.states, rows


class _Found:
    """The results of a pass's analyzers, by name."""

    def __init__(self, folder: Path, raw: Mapping[str, Tensor]) -> None:
        self._values = tf.saved_model.load(str(folder / "transform_fn")).transform_fn(raw)
        assets = folder / "transform_fn" / "assets"
        self._words = {path.name: _words_of(path) for path in assets.glob("node*")}

    def numbers(self, name: str) -> list[float]:
        return [float(text) for text in self._values[name].numpy().ravel()]

    def number(self, name: str) -> float:
        return self.numbers(name)[0]

    def counts(self, name: str) -> list[tuple[str, int]]:
        """A vocabulary's words, and how often each occurs."""
        return next(words for file, words in self._words.items() if file.split(".")[0] == name)


def _words_of(path: Path) -> list[tuple[str, int]]:
    found = []
    for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP"):
        count, _, word = record.numpy().partition(b" ")
        found.append((word.decode("utf-8", "surrogatepass"), int(count)))
    return found


class _Named:
    """The results for one node."""

    def __init__(self, found: _Found, node: int) -> None:
        self._found, self._node = found, node

    def numbers(self, name: str) -> list[float]:
        return self._found.numbers(f"{self._node}.{name}")

    def number(self, name: str) -> float:
        return self._found.number(f"{self._node}.{name}")

    def counts(self) -> Iterable[tuple[str, int]]:
        return self._found.counts(f"node{self._node}")


def _analyze(
    program: Program,
    data: Dataset,
    learning: Learning,
    ready: list[int],
    options: PipelineOptions,
    *,
    check: bool,
) -> _Found:
    columns = [column for column, _ in program.inputs]
    bound = dict(learning.bound)

    def preprocessing_fn(raw: dict[str, Tensor]) -> dict[str, Tensor]:
        nodes = [(program.nodes[i], bound[i]) for i in bound if hasattr(bound[i], "columns")]
        operations = tft.make_and_track_object(lambda: Operations(nodes), name="operations")
        value = _registers(program, learning, operations, raw)
        found: dict[str, Tensor] = {}
        if check:
            found |= _checks(program, raw)
        for i in ready:
            (register,) = program.nodes[i].inputs
            seen = _present(value(register))
            found[f"{i}.{_COUNT}"] = tft.size(seen)
            analyzed = analyze(learning.learners[i], seen, f"node{i}")
            found |= {f"{i}.{name}": tensor for name, tensor in analyzed.items()}
        rows = tf.shape(next(iter(raw.values())))[0]
        return {name: _for_each_row(tensor, rows) for name, tensor in found.items()}

    with tempfile.TemporaryDirectory(prefix="kfp-suite-tft-") as scratch:
        output = Path(scratch) / "output"
        with (
            beam.Pipeline(options=options) as pipeline,
            tft_beam.Context(temp_dir=f"{scratch}/temp", force_tf_compat_v1=False),
        ):
            batches = pipeline | read_split(
                data, "train", [c.name for c in columns], raw_batches(columns)
            )
            analyzed = (batches, adapter(columns)) | tft_beam.AnalyzeDataset(preprocessing_fn)
            analyzed | tft_beam.WriteTransformFn(str(output))
        any_row = {
            c.name: tf.constant(["0"] if _is_text(c) else [0], DTYPES[c.type]) for c in columns
        }
        return _Found(output, any_row)


def _missing(tensor: Tensor) -> Tensor:
    return MISSING_TEXT if tensor.dtype == tf.string else MISSING_TIME


def _is_text(column: Column) -> bool:
    return DTYPES[column.type] is tf.string


def _count(flags: Tensor) -> Tensor:
    return tft.sum(tf.cast(flags, tf.int64))


def raw_batches(columns: list[Column]) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """How a batch becomes the raw tensors of `features.tensorflow_graph`, as lists of one value."""
    fields = [Field(column.name, column.type) for column in columns]

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = arrays_of(pa.Table.from_batches([batch]), fields)
        found = [
            lists(pa.array(arrays[column.name], _ARROW[DTYPES[column.type]])) for column in columns
        ]
        return pa.RecordBatch.from_arrays(found, names=[column.name for column in columns])

    return convert


def adapter(columns: list[Column]) -> TensorAdapterConfig:
    """How TFT makes tensors of shape (rows,) of those batches."""
    schema = pa.schema([(c.name, pa.list_(_ARROW[DTYPES[c.type]])) for c in columns])
    representations = {}
    for column in columns:
        representation = schema_pb2.TensorRepresentation()
        representation.dense_tensor.column_name = column.name
        representation.dense_tensor.shape.SetInParent()
        representations[column.name] = representation
    return TensorAdapterConfig(schema, representations)


def _registers(
    program: Program, learning: Learning, operations: Operations, raw: Mapping[str, Tensor]
) -> Callable[[int], Any]:
    """The value of a register, computed once."""
    known: dict[int, Any] = {
        read.register: read_tensor(raw[read.column.name], read.column.type, read.kind)
        for read in program.reads
    }

    def value(register: int) -> Any:
        if register not in known:
            i = learning.producer[register]
            above = [value(r) for r in program.nodes[i].inputs]
            known[register] = operations.map(learning.bound[i], *above)
        return known[register]

    return value


def _present(value: Any) -> Tensor:
    if isinstance(value, Texts):
        return tf.boolean_mask(value.values, ~value.missing)
    return tf.boolean_mask(value, ~tf.math.is_nan(value))


def _for_each_row(tensor: Tensor, rows: Tensor) -> Tensor:
    """An analyzer's figures as text: TFT's outputs have rows, and no 64-bit floats."""
    tensor = tf.cast(tensor, tf.float64)
    text = tf.strings.as_string(tf.reshape(tensor, [1, -1]), precision=17, scientific=True)
    return tf.tile(text, [rows, 1])


# Each learner's analyzers (`analyze`), and the state from their results (`_state`)


@singledispatch
def analyze(learner: Any, seen: Tensor, name: str) -> dict[str, Tensor]:
    """TFT's analyzers in place of a learner.

    Args:
        learner: The learner of our own passes.
        seen: The values that are not missing, shape (values,).
        name: The name of a vocabulary's file.

    Raises:
        DataError: there are none for it.
    """
    raise DataError(
        "TensorFlow Transform cannot fit a transformer of your own",
        where="features",
        fix="use the component transform, or give a preprocessing_fn",
    )


@singledispatch
def _state(learner: Any, found: _Named) -> State:
    raise TypeError(learner)


@analyze.register
def _(learner: LearnMoments, seen: Tensor, name: str) -> dict[str, Tensor]:
    return {
        "mean": tft.mean(seen, output_dtype=tf.float64),
        "var": tft.var(seen, output_dtype=tf.float64),
    }


@_state.register
def _(learner: LearnMoments, found: _Named) -> State:
    return {"mean": found.number("mean"), "std": math.sqrt(found.number("var"))}


@analyze.register
def _(learner: LearnExtremes, seen: Tensor, name: str) -> dict[str, Tensor]:
    return {"min": tft.min(seen), "max": tft.max(seen)}


@_state.register
def _(learner: LearnExtremes, found: _Named) -> State:
    return {"min": found.number("min") + 0.0, "max": found.number("max") + 0.0}


@analyze.register
def _(learner: LearnQuantiles, seen: Tensor, name: str) -> dict[str, Tensor]:
    found = {"min": tft.min(seen), "max": tft.max(seen)}
    return found | {"quantiles": tft.quantiles(seen, _buckets(learner.shares), EPSILON)}


@_state.register
def _(learner: LearnQuantiles, found: _Named) -> State:
    buckets = _buckets(learner.shares)
    ranks = [found.number("min"), *found.numbers("quantiles"), found.number("max")]
    return learner.state_of([ranks[round(share * buckets)] for share in learner.shares])


def _buckets(shares: Iterable[float]) -> int:
    """The fewest buckets that have every share as a boundary; at most a thousand."""
    for buckets in range(2, _MAX_BUCKETS):
        if all(abs(share * buckets - round(share * buckets)) < 1e-9 for share in shares):
            return buckets
    return _MAX_BUCKETS


@analyze.register
def _(learner: LearnVocabulary, seen: Tensor, name: str) -> dict[str, Tensor]:
    _count_words(seen, learner.min_count, name)
    return {}


@_state.register
def _(learner: LearnVocabulary, found: _Named) -> State:
    return {"vocabulary": [word for word, _ in _ranked(found.counts(), learner.max_size)]}


@analyze.register
def _(learner: LearnMostFrequent, seen: Tensor, name: str) -> dict[str, Tensor]:
    if not learner.categories:
        seen = tf.strings.as_string(seen + 0.0, precision=17, scientific=True)
    _count_words(seen, 1, name)
    return {}


@_state.register
def _(learner: LearnMostFrequent, found: _Named) -> State:
    if learner.categories:
        return {"value": _ranked(found.counts(), 1)[0][0]}
    ranked = sorted((-count, float(word)) for word, count in found.counts())
    return {"value": ranked[0][1]}


@analyze.register
def _(learner: LearnNgrams, seen: Tensor, name: str) -> dict[str, Tensor]:
    spec = learner.spec
    grams = ngrams(Texts(seen, tf.zeros_like(seen, tf.bool)), spec)
    rows = grams.value_rowids()
    if spec.buckets is None:
        # A word counts once a text.
        tagged = tf.strings.join([tf.strings.as_string(rows), grams.values], "\x01")
        once = tf.strings.regex_replace(tf.unique(tagged).y, "^[0-9]+\x01", "", False)
        _count_words(once, spec.min_count, name)
        return {}
    cells = tf.unique(rows * spec.buckets + bucket_of_hash(grams.values, spec.buckets)).y
    flags = tf.one_hot(cells % spec.buckets, spec.buckets, dtype=tf.int64)
    return {"documents": tft.sum(flags, reduce_instance_dims=False)}


@_state.register
def _(learner: LearnNgrams, found: _Named) -> State:
    texts = int(found.number(_COUNT))
    if learner.spec.buckets is not None:
        return {"documents": [int(n) for n in found.numbers("documents")], "texts": texts}
    ranked = _ranked(found.counts(), learner.spec.max_features)
    return {
        "vocabulary": [word for word, _ in ranked],
        "documents": [count for _, count in ranked],
        "texts": texts,
    }


def _count_words(words: Tensor, min_count: int, name: str) -> None:
    """A vocabulary with counts; in records, since a text file loses empty words and lines."""
    tft.vocabulary(
        words,
        frequency_threshold=min_count if min_count > 1 else None,
        vocab_filename=name,
        store_frequency=True,
        file_format="tfrecord_gzip",
    )


def _ranked(counts: Iterable[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    """The words by falling count, then by code point."""
    return heapq.nsmallest(most, counts, key=lambda pair: (-pair[1], pair[0]))


# Values that no pass may meet


def _checks(program: Program, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How many infinities each column has, and how many missing values it must not have."""
    found = {}
    for column, nullable in program.inputs:
        tensor = raw[column.name]
        if tensor.dtype == tf.float64:
            found[f"infinite.{column.name}"] = _count(tf.math.is_inf(tensor))
            missing = tf.math.is_nan(tensor)
        else:
            missing = tensor == _missing(tensor)
        if not nullable:
            found[f"missing.{column.name}"] = _count(missing)
    return found


def _check(program: Program, found: _Found) -> None:
    for column, nullable in program.inputs:
        if DTYPES[column.type] is tf.float64 and found.number(f"infinite.{column.name}"):
            raise DataError(
                "the train split holds an infinity",
                where=f"column '{column.name}'",
                expected="finite numbers",
                fix="correct it in the SQL of ingest: CASE WHEN isfinite(x) THEN x END",
            )
        if not nullable and found.number(f"missing.{column.name}"):
            raise DataError(
                "the train split holds a missing value, which the features do not handle",
                where=f"column '{column.name}'",
                fix="impute the column, or set keep_missing for an estimator that takes NaN",
            )
