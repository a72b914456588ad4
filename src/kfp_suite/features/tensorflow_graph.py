"""A fitted transform as a TensorFlow function: the same columns from the same raw values.

The SavedModel that is served holds this graph, so no server needs our code, and nothing is
computed twice in two ways: `train_tensorflow` compares the two on real rows.

Raw values as tensors of shape (rows,):

| column                | tensor                                      | missing            |
|-----------------------|---------------------------------------------|--------------------|
| int64, float64, bool  | float64 (bool: 0 and 1)                     | NaN                |
| string                | string, UTF-8                               | the byte `\\xff`    |
| date, timestamp       | int64, microseconds since 1970              | -2**63             |

Logarithms are TensorFlow's own, which may differ from ours in a float64's last bits; a
user's own `transformer` has no graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatchmethod
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import MissingError, ParameterError, did_you_mean
from kfp_suite.contracts.model import Field
from kfp_suite.features import calendar, categorical, numeric, text
from kfp_suite.features.calendar import (
    PARTS,
    DatePart,
    NumberOnTheCircle,
    OnTheCircle,
    Part,
)
from kfp_suite.features.categorical import HashSlots, Joined, SlotFlags, SlotIndex
from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.features.graph_hash import stable_hash
from kfp_suite.features.images import GREY_WEIGHTS, Image, ImagePixels
from kfp_suite.features.operation import Primitive
from kfp_suite.features.program import Node
from kfp_suite.features.text import NgramColumns, TokenIds
from kfp_suite.features.values import Kind, read_numbers, read_times

Tensor = Any
MISSING_TEXT = b"\xff"
"""No UTF-8 text contains it."""
MISSING_TIME = -(2**63)
_ISO_DATE: tuple[tuple[Part, int], ...] = (("year", 4), ("month", 2), ("day", 2))
_WRONG = (
    "a value is missing, infinite or outside an operation's domain: "
    "send one, or impute and clip the column in the features"
)

DTYPES: Mapping[ColumnType, Any] = {
    "int64": tf.float64,
    "float64": tf.float64,
    "bool": tf.float64,
    "string": tf.string,
    "date": tf.int64,
    "timestamp": tf.int64,
}


@dataclass(frozen=True)
class Texts:
    """Categories: strings, and a mask of those that are missing."""

    values: Tensor
    missing: Tensor


@dataclass(frozen=True)
class Instants:
    """Times: microseconds since 1970, and a mask of those that are missing."""

    microseconds: Tensor
    missing: Tensor


class Operations(tf.Module):  # type: ignore[misc]
    """Bound primitives as graphs, with their vocabularies in lookup tables.

    Raises:
        ParameterError: one has no graph.
    """

    def __init__(self, nodes: Sequence[tuple[Node, Any]]) -> None:
        super().__init__(name="transform")
        # A SavedModel keeps the resources that are attributes of its modules.
        self._tables: list[Any] = []
        self._table_of: dict[int, int] = {}
        for node, bound in nodes:
            if not _has_graph(bound):
                raise _no_graph(node.primitive)
            for holder in (bound, getattr(bound, "slots", None)):
                words = _vocabulary(holder)
                if words is not None:
                    self._table_of[id(holder)] = len(self._tables)
                    self._tables.append(_table(words))

    def _places(self, bound: Any, words: Tensor) -> Tensor:
        """The place of each word in the vocabulary of `bound`; -1 for none."""
        return self._tables[self._table_of[id(bound)]].lookup(words)

    # Values to values

    @singledispatchmethod
    def map(self, bound: Any, *values: Any) -> Any:
        raise _no_graph(bound)

    @map.register
    def _(self, bound: numeric.FillNumber, x: Tensor) -> Tensor:
        return tf.where(tf.math.is_nan(x), tf.constant(bound.value, tf.float64), x)

    @map.register
    def _(self, bound: numeric.FillCategory, x: Texts) -> Texts:
        value = tf.constant(bound.value.encode("utf-8", "surrogatepass"))
        return Texts(tf.where(x.missing, value, x.values), tf.zeros_like(x.missing))

    @map.register
    def _(self, bound: numeric.Between, x: Tensor) -> Tensor:
        x = tf.where(x < bound.lowest, tf.constant(bound.lowest, tf.float64), x)
        return tf.where(x > bound.highest, tf.constant(bound.highest, tf.float64), x)

    @map.register
    def _(self, bound: numeric.Scaled, x: Tensor) -> Tensor:
        return (x - bound.offset) / bound.divisor

    @map.register
    def _(self, bound: numeric.Affine, x: Tensor) -> Tensor:
        return (x * bound.multiplier + bound.offset) / bound.divisor

    @map.register
    def _(self, bound: numeric.Log, x: Tensor) -> Tensor:
        return _inside(bound, x, tf.math.log)

    @map.register
    def _(self, bound: numeric.Log1p, x: Tensor) -> Tensor:
        return _inside(bound, x, tf.math.log1p)

    @map.register
    def _(self, bound: numeric.Sqrt, x: Tensor) -> Tensor:
        return _inside(bound, x, tf.math.sqrt)

    @map.register
    def _(self, bound: numeric.BucketIndex, x: Tensor) -> Tensor:
        return tf.where(tf.math.is_nan(x), x, tf.cast(_bucket(bound, x), tf.float64))

    @map.register
    def _(self, bound: numeric.Product, *values: Tensor) -> Tensor:
        result = values[0]
        for value in values[1:]:
            result = result * value
        return result

    @map.register
    def _(self, bound: numeric.TextAsNumber, x: Texts) -> Tensor:
        text_ = tf.where(x.missing, "nan", tf.strings.strip(x.values))
        return tf.strings.to_number(text_, tf.float64)

    @map.register
    def _(self, bound: numeric.NumberAsText, x: Tensor) -> Texts:
        missing = tf.math.is_nan(x)
        known = tf.where(missing, tf.zeros_like(x), x)
        whole = tf.strings.as_string(tf.cast(known, tf.int64))
        shortest = tf.strings.as_string(known, shortest=True)
        return Texts(tf.where(known == tf.floor(known), whole, shortest), missing)

    @map.register
    def _(self, bound: SlotIndex, x: Texts) -> Tensor:
        slots = self._slots(bound.slots, x)
        nan = tf.constant(np.nan, tf.float64)
        return tf.where(slots == categorical.MISSING, nan, tf.cast(slots, tf.float64))

    @map.register
    def _(self, bound: Joined, *columns: Texts) -> Texts:
        parts = []
        for column in columns:
            length = tf.strings.as_string(tf.strings.length(column.values, unit="UTF8_CHAR"))
            parts.append(
                tf.where(column.missing, "-", tf.strings.join([length, column.values], ":"))
            )
        missing = tf.zeros_like(columns[0].missing)
        if not bound.keep_missing:
            for column in columns:
                missing |= column.missing
        return Texts(tf.strings.join(parts), missing)

    @map.register
    def _(self, bound: DatePart, t: Instants) -> Tensor:
        part = tf.cast(PARTS[bound.part](t.microseconds), tf.float64)
        return tf.where(t.missing, tf.constant(np.nan, tf.float64), part)

    # Values to columns of the matrix

    @singledispatchmethod
    def emit(self, bound: Any, *values: Any) -> Tensor:
        raise _no_graph(bound)

    @emit.register
    def _(self, bound: numeric.MissingFlag, x: Any) -> Tensor:
        missing = x.missing if isinstance(x, Texts) else tf.math.is_nan(x)
        return tf.cast(missing, tf.float32)[:, tf.newaxis]

    @emit.register
    def _(self, bound: numeric.BucketFlags, x: Tensor) -> Tensor:
        flags = tf.one_hot(_bucket(bound.index, x), len(bound.index.boundaries) + 1)
        return _nan_rows(flags, tf.math.is_nan(x))

    @emit.register
    def _(self, bound: SlotFlags, x: Texts) -> Tensor:
        slots = self._slots(bound.slots, x)
        flags = tf.one_hot(slots, len(bound.slots.labels()))
        return _nan_rows(flags, slots == categorical.MISSING)

    @emit.register
    def _(self, bound: OnTheCircle, t: Instants) -> Tensor:
        first, _ = calendar.CYCLES[bound.part]
        place = tf.where(
            t.missing, tf.zeros_like(t.microseconds), PARTS[bound.part](t.microseconds) - first
        )
        point = tf.gather(tf.constant(bound.points, tf.float64), place)
        return _missing_point(point, t.missing, bound.zero_missing)

    @emit.register
    def _(self, bound: NumberOnTheCircle, x: Tensor) -> Tensor:
        turn = (x - bound.start) / bound.period
        turn -= tf.floor(turn)
        point = tf.stack([tf.sin(turn * 2 * np.pi), tf.cos(turn * 2 * np.pi)], axis=1)
        return _missing_point(point, tf.math.is_nan(x), bound.zero_missing)

    @emit.register
    def _(self, bound: NgramColumns, x: Texts) -> Tensor:
        spec = bound.spec
        grams = ngrams(x, spec)
        flat, rows = grams.values, grams.value_rowids()
        if spec.buckets is None:
            places = self._places(bound, flat)
        else:
            places = bucket_of_hash(flat, spec.buckets)
        known = places >= 0
        cells = tf.boolean_mask(rows * bound.width + places, known)
        count = tf.shape(x.values, tf.int64)[0]
        counts = tf.math.unsorted_segment_sum(
            tf.ones_like(cells, tf.float64), cells, count * bound.width
        )
        counts = tf.reshape(counts, [-1, bound.width])
        if spec.weight == "binary":
            counts = tf.cast(counts > 0, tf.float64)
        elif bound.weights is not None:
            counts *= tf.constant(bound.weights, tf.float64)
            counts = tf.math.divide_no_nan(
                counts, tf.sqrt(tf.reduce_sum(counts * counts, axis=1, keepdims=True))
            )
        if spec.missing == "empty":
            return counts
        return _nan_rows(tf.cast(counts, tf.float32), x.missing)

    @emit.register
    def _(self, bound: TokenIds, x: Texts) -> Tensor:
        words = _words(x, lowercase=bound.spec.lowercase)
        found = tf.ragged.map_flat_values(lambda flat: self._places(bound, flat), words)
        ids = tf.ragged.map_flat_values(
            lambda place: tf.where(
                place < 0, tf.constant(text.UNKNOWN, tf.int64), place + text.FIRST_WORD
            ),
            found,
        ).to_tensor(text.PADDING, shape=[None, bound.spec.length])
        if bound.spec.missing == "empty":
            return ids
        return _nan_rows(tf.cast(ids, tf.float32), x.missing)

    @emit.register
    def _(self, bound: ImagePixels, x: Texts) -> Tensor:
        pixels = tf.map_fn(
            lambda encoded: _pixels(encoded, bound.spec),
            tf.where(x.missing, "", x.values),
            fn_output_signature=tf.TensorSpec([bound.spec.outputs], tf.float32),
        )
        return _nan_rows(pixels, x.missing)

    def _slots(self, slots: Any, x: Texts) -> Tensor:
        if isinstance(slots, HashSlots):
            values = x.values
            if slots.missing == "bucket":
                values = tf.where(x.missing, "-", values)
            places = bucket_of_hash(values, slots.buckets)
            if slots.missing == "bucket":
                return places
            absent = categorical.MISSING if slots.missing == "error" else categorical.NO_SLOT
            return tf.where(x.missing, tf.constant(absent, tf.int64), places)
        words = len(slots.vocabulary)
        places = self._places(slots, x.values)
        if slots.oov:
            others = bucket_of_hash(x.values, slots.oov) if slots.oov > 1 else tf.zeros_like(places)
            places = tf.where(places < 0, words + others, places)
        absent = {"error": categorical.MISSING, "zeros": categorical.NO_SLOT}.get(
            slots.missing, words + slots.oov
        )
        return tf.where(x.missing, tf.constant(absent, tf.int64), places)


class TransformGraph(Operations):
    """The graph of a fitted transform: call it with a tensor a raw column.

    Raises:
        ParameterError: an operation that has no graph.
    """

    def __init__(self, fitted: FittedTransform) -> None:
        program = fitted.program
        super().__init__([*program.maps, *((node, bound) for node, bound, *_ in program.emits)])
        self._program = program
        self._finite = tf.constant([not fitted.features[i].keep_missing for i in program.features])

    def __call__(self, columns: Mapping[str, Tensor]) -> Tensor:
        """The matrix: float32, shape (rows, outputs).

        Fails with InvalidArgument if a value is missing that the spec does not impute,
        or is not finite.
        """
        registers: dict[int, Any] = {
            read.register: read_tensor(columns[read.column.name], read.column.type, read.kind)
            for read in self._program.program.reads
        }
        for node, bound in self._program.maps:
            registers[node.output] = self.map(bound, *[registers[i] for i in node.inputs])
        parts = [
            (start, self.emit(bound, *[registers[i] for i in node.inputs]))
            for node, bound, start, _ in self._program.emits
        ]
        parts += [(place, registers[i][:, tf.newaxis]) for i, place in self._program.numbers]
        parts.sort(key=lambda part: part[0])
        matrix = tf.concat([tf.cast(part, tf.float32) for _, part in parts], axis=1)
        matrix.set_shape([None, len(self._program.names)])
        wrong = ~tf.math.is_finite(matrix) & (self._finite | ~tf.math.is_nan(matrix))
        checked = tf.debugging.Assert(tf.reduce_all(~wrong), [_WRONG])
        with tf.control_dependencies([checked] if checked is not None else []):
            return tf.identity(matrix)


def _table(words: list[str]) -> Any:
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant([word.encode("utf-8", "surrogatepass") for word in words], tf.string),
            tf.range(len(words), dtype=tf.int64),
        ),
        default_value=-1,
    )


def _vocabulary(bound: Any) -> list[str] | None:
    if isinstance(bound, categorical.VocabularySlots):
        return bound.vocabulary
    if isinstance(bound, TokenIds) or (
        isinstance(bound, NgramColumns) and bound.spec.buckets is None
    ):
        return bound.vocabulary
    return None


def _has_graph(bound: Any) -> bool:
    dispatchers = [Operations.__dict__[name].dispatcher for name in ("map", "emit")]
    return any(d.dispatch(type(bound)) is not d.dispatch(object) for d in dispatchers)


def _no_graph(primitive: Primitive | Any) -> ParameterError:
    return ParameterError(
        f"'{getattr(primitive, 'op', type(primitive).__name__)}' has no TensorFlow graph",
        where="features",
        fix="use an operation of the suite, or a preprocessing_fn with transform_tft",
    )


def read_tensor(column: Tensor, type_: ColumnType, kind: Kind) -> Any:
    """A raw tensor as the values of a register."""
    if kind is Kind.TIME:
        return Instants(column, column == MISSING_TIME)
    if kind is not Kind.CATEGORY:
        return column
    if type_ == "string":
        return Texts(column, column == MISSING_TEXT)
    if type_ == "date":
        missing = column == MISSING_TIME
        return Texts(_iso_date(tf.where(missing, tf.zeros_like(column), column)), missing)
    missing = tf.math.is_nan(column)
    whole = tf.cast(tf.where(missing, tf.zeros_like(column), column), tf.int64)
    if type_ == "bool":
        return Texts(tf.where(whole == 1, "true", "false"), missing)
    return Texts(tf.strings.as_string(whole), missing)


def _iso_date(microseconds: Tensor) -> Tensor:
    parts = [
        tf.strings.as_string(PARTS[part](microseconds), width=width, fill="0")
        for part, width in _ISO_DATE
    ]
    return tf.strings.join(parts, "-")


def _inside(bound: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    return tf.where(bound.outside(x), tf.constant(np.nan, tf.float64), function(x))


def _bucket(bound: numeric.BucketIndex, x: Tensor) -> Tensor:
    return tf.searchsorted(tf.constant(bound.boundaries, tf.float64), x, side="right")


def bucket_of_hash(values: Tensor, buckets: int) -> Tensor:
    """The bucket of each text's hash: int64."""
    return tf.cast(stable_hash(values) % tf.constant(buckets, tf.uint64), tf.int64)


def _nan_rows(matrix: Tensor, missing: Tensor) -> Tensor:
    return tf.where(missing[:, tf.newaxis], tf.constant(np.nan, matrix.dtype), matrix)


def _missing_point(point: Tensor, missing: Tensor, zero: bool) -> Tensor:
    return tf.where(missing[:, tf.newaxis], tf.constant(0.0 if zero else np.nan, tf.float64), point)


def _words(x: Texts, *, lowercase: bool) -> Tensor:
    """Runs of letters, digits and `_`, of each text: ragged."""
    values = tf.where(x.missing, "", x.values)
    if lowercase:
        values = tf.strings.lower(values, encoding="utf-8")
    return tf.strings.split(tf.strings.regex_replace(values, r"[^\pL\pN_]+", " "))


def ngrams(x: Texts, spec: Any) -> Tensor:
    """The n-grams of each text: ragged."""
    if spec.analyzer == "word":
        tokens, glue = _words(x, lowercase=spec.lowercase), " "
    else:
        values = tf.where(x.missing, "", x.values)
        if spec.lowercase:
            values = tf.strings.lower(values, encoding="utf-8")
        tokens, glue = tf.strings.unicode_split(values, "UTF-8"), ""
    shortest, longest = spec.n
    return tf.strings.ngrams(
        tokens[:, : spec.max_tokens], list(range(shortest, longest + 1)), separator=glue
    )


def _pixels(encoded: Tensor, spec: Image) -> Tensor:
    """As `images.ImagePixels`; a missing text is a black image, for the caller to mark."""
    safe = tf.strings.regex_replace(
        tf.strings.regex_replace(tf.strings.regex_replace(encoded, r"\+", "-"), "/", "_"), "=", ""
    )

    def decoded() -> Tensor:
        image = tf.io.decode_image(tf.io.decode_base64(safe), expand_animations=False)
        size = tf.shape(image)
        tf.debugging.assert_less_equal(
            size[0] * size[1], spec.max_pixels, f"an image of more than {spec.max_pixels} pixels"
        )
        return tf.cast(_channels(image, spec.channels), tf.float64)

    black = tf.zeros([spec.height, spec.width, spec.channels], tf.float64)
    image = tf.cond(tf.equal(encoded, ""), lambda: black, decoded)
    rows = _filter_weights(tf.shape(image)[0], spec.height)
    columns = _filter_weights(tf.shape(image)[1], spec.width)
    resized = tf.einsum("yh,hwc,xw->yxc", rows, image, columns)
    return tf.reshape(tf.cast(resized / 255, tf.float32), [spec.outputs])


def _channels(image: Tensor, wanted: int) -> Tensor:
    image = tf.cast(image, tf.float64)
    coloured = tf.shape(image)[2] >= 3
    if wanted == 3:
        return tf.cond(
            coloured, lambda: image[:, :, :3], lambda: tf.repeat(image[:, :, :1], 3, axis=2)
        )
    weights = tf.constant(GREY_WEIGHTS, tf.float64)
    return tf.cond(
        coloured,
        lambda: tf.reduce_sum(image[:, :, :3] * weights, axis=2, keepdims=True),
        lambda: image[:, :, :1],
    )


def _filter_weights(source: Tensor, target: int) -> Tensor:
    """As `images.filter_weights`, for a size that only the image knows."""
    scale = tf.cast(source, tf.float64) / target
    centers = (tf.range(target, dtype=tf.float64) + 0.5) * scale
    places = tf.range(tf.cast(source, tf.float64), dtype=tf.float64) + 0.5
    distance = tf.abs(places - centers[:, tf.newaxis]) / tf.maximum(scale, 1.0)
    weights = tf.maximum(tf.constant(0.0, tf.float64), 1.0 - distance)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def tensors_of(table: pa.Table, inputs: Sequence[Field]) -> dict[str, Tensor]:
    """The columns of a table as the graph takes them.

    Raises:
        MissingError: a column is not there.
    """
    types = {field.name: DTYPES[field.type] for field in inputs}
    return {n: tf.constant(values, types[n]) for n, values in arrays_of(table, inputs).items()}


def arrays_of(table: pa.Table, inputs: Sequence[Field]) -> dict[str, Any]:
    """The same, as NumPy arrays.

    Raises:
        MissingError: a column is not there.
    """
    found = {}
    for field in inputs:
        if field.name not in table.column_names:
            raise MissingError(
                f"no column '{field.name}'",
                where="transform",
                fix=did_you_mean(field.name, table.column_names),
            )
        column = table[field.name].combine_chunks()
        if DTYPES[field.type] is tf.float64:
            column = column if pa.types.is_boolean(column.type) else column.cast(pa.float64())
            values: Any = read_numbers(column)
        elif field.type == "string":
            values = np.array(
                [
                    MISSING_TEXT if v is None else v.encode("utf-8", "surrogatepass")
                    for v in column.to_pylist()
                ],
                object,
            )
        else:
            times = read_times(column)
            values = times.microseconds
            if times.missing is not None:
                values = np.where(times.missing, MISSING_TIME, values)
        found[field.name] = values
    return found
