"""The values of a string column and how often each occurs, in bounded memory.

Up to a cap of distinct values every value is counted. Beyond it, three sketches that depend
only on the rows, so that they merge in any order: a Count-Min sketch (Cormode and
Muthukrishnan, J. Algorithms 55, 2005) holds counts, never too small and too large by
0.004% of the rows at most with a probability of 98%; `RowSample` provides the values worth
asking for (a value in 0.1% of the rows is missed with a probability of 1e-7); the number of
distinct values is an estimate (see `distinct`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kfp_suite.components.validate.distinct import DistinctCount, byte_lengths, hash_strings, mix

Integers = NDArray[np.int64]

MAX_VALUE_BYTES = 256
"""Bytes; a longer value is counted as its first characters and a digest."""

SAMPLE_ROWS = 16_384

_SKETCH_ROWS = 4
_SKETCH_BITS = 16
_SHOWN_CHARACTERS = 60


@dataclass
class StringColumn:
    """The partial statistics of a column of strings.

    Attributes:
        cap: The most distinct values that are counted one by one.
        counts: The rows of each value; empty once there were more than `cap`.
        sketch: Beyond `cap`, the Count-Min sketch, of shape (4, 65536).
    """

    cap: int
    rows: int = 0
    missing: int = 0
    total_bytes: int = 0
    shortest: int | None = None
    longest: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    sketch: Integers | None = None
    hashed: DistinctCount = field(default_factory=DistinctCount)

    def update(self, values: pa.DictionaryArray) -> None:
        """Add rows, dictionary-encoded; a null is a missing value."""
        self.rows += len(values)
        self.missing += values.null_count
        indices = values.indices.drop_null().to_numpy()
        occurrences = np.bincount(indices, minlength=len(values.dictionary))
        used = np.flatnonzero(occurrences)
        if not len(used):
            return
        dictionary, occurrences = values.dictionary, occurrences[used]
        if len(used) < len(dictionary):
            dictionary = dictionary.take(pa.array(used))
        lengths = byte_lengths(dictionary)
        self.total_bytes += int((lengths * occurrences).sum())
        low, high = int(lengths.min()), int(lengths.max())
        self.shortest = low if self.shortest is None else min(self.shortest, low)
        self.longest = high if self.longest is None else max(self.longest, high)
        if high > MAX_VALUE_BYTES:
            dictionary = _shorten(dictionary)
        self._add(dictionary, occurrences)

    def merge(self, other: StringColumn) -> None:
        """Add the rows of `other`."""
        self.rows += other.rows
        self.missing += other.missing
        self.total_bytes += other.total_bytes
        lengths = [n for n in (self.shortest, other.shortest) if n is not None]
        self.shortest = min(lengths, default=None)
        lengths = [n for n in (self.longest, other.longest) if n is not None]
        self.longest = max(lengths, default=None)
        if other.sketch is not None:
            self._sketch_counts()
            assert self.sketch is not None
            self.sketch += other.sketch
            self.hashed.merge(other.hashed)
        elif other.counts:
            values = pa.array(other.counts.keys(), pa.string())
            self._add(values, np.fromiter(other.counts.values(), np.int64, len(other.counts)))

    @property
    def exact(self) -> bool:
        """Every distinct value is counted."""
        return self.sketch is None

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    def distinct(self) -> int:
        """The number of distinct values; an estimate if not `exact`."""
        return len(self.counts) if self.exact else self.hashed.estimate()

    def counts_of(self, values: list[str]) -> list[int]:
        """The rows of each of `values`; if not `exact`, never too few."""
        if self.sketch is None:
            return [self.counts.get(value, 0) for value in values]
        return self._estimates(pa.array(values, pa.string())) if values else []

    def top(self, count: int, sampled: pa.Array) -> list[tuple[str, int]]:
        """The `count` most frequent values and their rows, most frequent first.

        Args:
            sampled: The column's values in the `RowSample`; read if not `exact`.
        """
        if self.sketch is None:
            found = list(self.counts.items())
        else:
            candidates = pc.unique(sampled.drop_null())
            found = list(zip(candidates.to_pylist(), self._estimates(candidates), strict=True))
        # TFDV's order: of two equally frequent values, the larger one first.
        return sorted(found, key=lambda item: (item[1], item[0]), reverse=True)[:count]

    def _add(self, values: pa.Array, occurrences: Integers) -> None:
        if self.sketch is None:
            counts = self.counts
            for value, count in zip(values.to_pylist(), occurrences.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + count
            if len(counts) > self.cap:
                self._sketch_counts()
            return
        hashes = hash_strings(values)
        self.hashed.add(hashes)
        for row, cells in enumerate(_cells(hashes)):
            added = np.bincount(cells, weights=occurrences, minlength=1 << _SKETCH_BITS)
            self.sketch[row] += added.astype(np.int64)

    def _sketch_counts(self) -> None:
        if self.sketch is not None:
            return
        counts, self.counts = self.counts, {}
        self.sketch = np.zeros((_SKETCH_ROWS, 1 << _SKETCH_BITS), np.int64)
        if counts:
            values = pa.array(counts.keys(), pa.string())
            self._add(values, np.fromiter(counts.values(), np.int64, len(counts)))

    def _estimates(self, values: pa.Array) -> list[int]:
        assert self.sketch is not None
        cells = _cells(hash_strings(values))
        rows = [self.sketch[row][cell] for row, cell in enumerate(cells)]
        least: Integers = np.minimum.reduce(rows)
        return [int(count) for count in least]


def _cells(hashes: NDArray[np.uint64]) -> list[Integers]:
    mask = np.uint64((1 << _SKETCH_BITS) - 1)
    # Mixed again: the small hashes kept for `distinct` share their leading bits.
    mixed = mix(hashes)
    return [
        ((mixed >> np.uint64(_SKETCH_BITS * row)) & mask).astype(np.int64)
        for row in range(_SKETCH_ROWS)
    ]


def _shorten(values: pa.Array) -> pa.Array:
    """Values over `MAX_VALUE_BYTES` bytes as their first characters and a digest."""
    long = pc.fill_null(pc.greater(pc.binary_length(values), MAX_VALUE_BYTES), False)
    if not pc.any(long).as_py():
        return values
    texts = values.filter(long)
    heads = pc.utf8_slice_codeunits(texts, 0, _SHOWN_CHARACTERS).to_pylist()
    digests = hash_strings(texts).tolist()
    short = [f"{head}… {digest:016x}" for head, digest in zip(heads, digests, strict=True)]
    return pc.replace_with_mask(values, long, pa.array(short, values.type))


def _shorten_sample(values: pa.Array) -> pa.Array:
    """The values as plain, short strings: shortened before a text that is stored once is
    written out for each of its rows."""
    if not pa.types.is_dictionary(values.type):
        return _shorten(values)
    indices = values.indices
    used, places = np.unique(indices.drop_null().to_numpy(), return_inverse=True)
    short = _shorten(values.dictionary.take(pa.array(used)).cast(pa.string()))
    at = np.zeros(len(indices), np.int32)
    at[indices.is_valid().to_numpy(zero_copy_only=False)] = places
    return short.take(pa.array(at, mask=indices.is_null().to_numpy(zero_copy_only=False)))


class RowSample:
    """A sample of the rows: the `SAMPLE_ROWS` whose positions have the smallest hashes.

    A row's place in the sample depends on its position in the split alone, so samples of
    parts merge in any order to the sample of the whole.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._priorities = np.empty(0, np.uint64)
        self._rows = schema.empty_table()

    def update(self, batch: pa.RecordBatch, first: int) -> None:
        """Add the rows of `batch`, the first of which is row `first` of the split."""
        priorities = mix(np.arange(first, first + len(batch), dtype=np.int64))
        if len(self._priorities) == SAMPLE_ROWS:
            picked = np.flatnonzero(priorities < self._priorities[-1])
        elif len(batch) > SAMPLE_ROWS:
            picked = np.argpartition(priorities, SAMPLE_ROWS)[:SAMPLE_ROWS]
        else:
            picked = np.arange(len(batch))
        if len(picked):
            columns = [_shorten_sample(column.take(pa.array(picked))) for column in batch.columns]
            self._add(priorities[picked], pa.table(columns, schema=self._schema))

    def merge(self, other: RowSample) -> None:
        """Add the rows of `other`, of other positions."""
        self._add(other._priorities, other._rows)

    def column(self, name: str) -> pa.Array:
        """The sampled values of a column, nulls included, in the order of the hashes."""
        return self._rows.column(name).combine_chunks()

    def _add(self, priorities: NDArray[np.uint64], rows: pa.Table) -> None:
        priorities = np.concatenate([self._priorities, priorities])
        order = np.argsort(priorities)[:SAMPLE_ROWS]
        self._priorities = priorities[order]
        self._rows = pa.concat_tables([self._rows, rows]).take(pa.array(order)).combine_chunks()
