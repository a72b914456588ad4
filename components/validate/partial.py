"""The statistics of some rows of a split, which add up to those of the whole split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.text import RowSample, StringColumn
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.tables import ARROW_TYPES

ColumnPartial = NumericColumn | StringColumn

_MAX_COUNTED = 65_536
_MIN_COUNTED = 4_096
_COUNTED_IN_ALL = 1 << 23


def distinct_cap(columns: int) -> int:
    """The most distinct values counted per column: less in wide tables, to bound memory."""
    return max(_MIN_COUNTED, min(_MAX_COUNTED, _COUNTED_IN_ALL // max(columns, 1)))


class SplitPartial:
    """The partial statistics of a split.

    The result depends on the rows and their positions alone: not on the cuts between
    batches, nor on the order of updates and merges.

    Args:
        columns: The columns of the table.
        cap: The most distinct values counted one by one, per column.
    """

    def __init__(self, columns: tuple[Column, ...], cap: int | None = None) -> None:
        cap = distinct_cap(len(columns)) if cap is None else cap
        self.rows = 0
        self.columns: dict[str, ColumnPartial] = {
            column.name: StringColumn(cap)
            if column.type == "string"
            else NumericColumn(integral=column.type != "float64", cap=cap)
            for column in columns
        }
        self._strings = [column.name for column in columns if column.type == "string"]
        self.sample = RowSample(pa.schema([(n, ARROW_TYPES["string"]) for n in self._strings]))

    def update(self, batch: pa.RecordBatch, first: int) -> None:
        """Add the rows of `batch`, the first of which is row `first` (from 0) of the split.

        Columns are of the canonical types; strings may be dictionary-encoded.
        """
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        for name, partial in self.columns.items():
            values = batch.column(name)
            if isinstance(partial, StringColumn):
                partial.update(_encode(values))
            else:
                present = values.drop_null() if values.null_count else values
                partial.update(_numbers(present), missing=values.null_count)
        if self._strings:
            self.sample.update(batch.select(self._strings), first)

    def merge(self, other: SplitPartial) -> None:
        """Add the rows of `other`, which is used up."""
        self.rows += other.rows
        for name, partial in self.columns.items():
            theirs = other.columns[name]
            if isinstance(partial, StringColumn):
                assert isinstance(theirs, StringColumn)
                partial.merge(theirs)
            else:
                assert isinstance(theirs, NumericColumn)
                partial.merge(theirs)
        if self._strings:
            self.sample.merge(other.sample)


def _encode(values: pa.Array) -> pa.DictionaryArray:
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()


def _numbers(values: pa.Array) -> NDArray[np.int64] | NDArray[np.float64]:
    kind = values.type
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int64())
    elif pa.types.is_date32(kind):
        values = values.view(pa.int32()).cast(pa.int64())
    elif pa.types.is_timestamp(kind):
        values = values.view(pa.int64())
    numbers: NDArray[np.int64] | NDArray[np.float64] = values.to_numpy()
    return numbers
