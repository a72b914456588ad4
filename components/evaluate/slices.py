"""Slices: the rows where a column, or several, have one value.

Text and booleans are sliced by value, numbers of many values by quartile, dates by month,
missing values apart. The same data gives the same slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.components.evaluate.metrics import Integers
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import MissingError, ParameterError, did_you_mean
from kfp_suite.reports.formatting import number

MAX_VALUES = 20
"""Values of a column with slices of their own, the most frequent; the rest are one slice."""
MAX_SLICES = 60
MAX_COLUMNS = 3
BUCKETS = 4
_FEW_NUMBERS = 12

SliceColumns = tuple[str, ...]


@dataclass(frozen=True)
class Slice:
    """Some rows of a split, by their positions, ascending."""

    name: str
    columns: SliceColumns
    rows: Integers


def parse_slices(value: object, where: str = "slices") -> tuple[SliceColumns, ...]:
    """The slices asked for: each a column's name, or a list of up to three names.

    Raises:
        ParameterError: for anything else.
    """
    if not isinstance(value, (list, tuple)):
        raise ParameterError("is not allowed", where=where, got=value, expected="a list")
    found = []
    for item in value:
        columns = (item,) if isinstance(item, str) else item
        if (
            not isinstance(columns, (list, tuple))
            or not 0 < len(columns) <= MAX_COLUMNS
            or not all(isinstance(name, str) and name for name in columns)
            or len(set(columns)) < len(columns)
        ):
            raise ParameterError(
                "a slice is not allowed",
                where=where,
                got=item,
                expected=f"a column's name, or a list of up to {MAX_COLUMNS} different names",
            )
        found.append(tuple(columns))
    return tuple(dict.fromkeys(found))


def check_columns(slices: tuple[SliceColumns, ...], dataset: Dataset) -> list[str]:
    """The columns that `slices` read.

    Raises:
        MissingError: the dataset has no such column.
    """
    known = [column.name for column in dataset.manifest.columns]
    wanted = list(dict.fromkeys(name for columns in slices for name in columns))
    for name in wanted:
        if name not in known:
            raise MissingError(f"no column '{name}'", where="slices", fix=did_you_mean(name, known))
    return wanted


def cut(table: pa.Table, slices: tuple[SliceColumns, ...]) -> Iterator[Slice]:
    """The slices of `table`, in the order asked for; at most `MAX_SLICES` a request."""
    groups = {name: _group(name, table[name]) for name in dict.fromkeys(sum(slices, ()))}
    for columns in slices:
        yield from _combine(columns, groups)


@dataclass(frozen=True)
class _Groups:
    """A column cut up: a code a row, and what each code is called."""

    codes: Integers
    names: list[str]


def _combine(columns: SliceColumns, groups: Mapping[str, _Groups]) -> Iterator[Slice]:
    parts = [groups[name] for name in columns]
    codes = reduce(lambda all_, p: all_ * len(p.names) + p.codes, parts[1:], parts[0].codes)
    order = np.argsort(codes, kind="stable")
    present, starts, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    largest = np.sort(np.argsort(-sizes, kind="stable")[:MAX_SLICES])
    for i in largest:
        names, code = [], int(present[i])
        for part in reversed(parts):
            code, own = divmod(code, len(part.names))
            names.append(part.names[own])
        rows = np.sort(order[starts[i] : starts[i] + sizes[i]])
        yield Slice(", ".join(reversed(names)), columns, rows)


def _group(name: str, column: pa.ChunkedArray) -> _Groups:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        column = pc.strftime(column, "%Y-%m")
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if numeric and len(pc.unique(column.drop_null())) > _FEW_NUMBERS:
        return _by_quantile(name, column)
    return _by_value(name, column)


def _by_value(name: str, column: pa.ChunkedArray) -> _Groups:
    counted = pc.value_counts(column.drop_null())
    by_count = sorted(
        zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True),
        key=lambda pair: (-pair[1], pair[0]),
    )
    values = sorted(value for value, _ in by_count[:MAX_VALUES])
    codes = pc.index_in(column, value_set=pa.array(values, column.type))
    codes = np.asarray(pc.fill_null(codes, len(values)), dtype=np.int64)
    names = [f"{name} = {_shown(value)}" for value in values]
    missing = np.asarray(column.is_null())
    return _Groups(
        np.where(missing, len(values) + 1, codes),
        [*names, f"{name}: other values", f"{name} missing"],
    )


def _by_quantile(name: str, column: pa.ChunkedArray) -> _Groups:
    present = np.asarray(column.drop_null())
    at = np.arange(1, BUCKETS) / BUCKETS
    # Observed values, not interpolated ones: exact for integers, and free of rounding.
    edges = np.unique(np.quantile(present, at, method="inverted_cdf"))
    below = present[present < present.max()]
    edges = edges[edges < present.max()]
    edges = edges if len(edges) else below.max(keepdims=True)
    shown = [number(float(edge), 6) for edge in edges]
    names = [
        f"{name} ≤ {shown[0]}",
        *(f"{low} < {name} ≤ {high}" for low, high in pairwise(shown)),
        f"{name} > {shown[-1]}",
    ]
    codes = np.full(len(column), len(names), np.int64)
    codes[np.asarray(column.is_valid())] = np.searchsorted(edges, present, side="left")
    return _Groups(codes, [*names, f"{name} missing"])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
