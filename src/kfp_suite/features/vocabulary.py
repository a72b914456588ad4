"""How often each distinct value occurs, and the vocabulary that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from kfp_suite.features.operation import TooManyValuesError
from kfp_suite.features.values import Categories, Floats

K = TypeVar("K", str, float)

MAX_DISTINCT = 1_000_000
"""More distinct values than this are not counted: hash them, or bucketize."""


class Counts(dict[K, int]):
    """Occurrences by value; `add` keeps it within `MAX_DISTINCT`."""

    def add(self, values: Iterable[K], counts: Iterable[int]) -> None:
        """Add occurrences.

        Raises:
            TooManyValuesError: the distinct values do not fit.
        """
        for value, count in zip(values, counts, strict=True):
            self[value] = self.get(value, 0) + count
        if len(self) > MAX_DISTINCT:
            raise TooManyValuesError

    def ranked(self, min_count: int = 1, limit: int | None = None) -> list[K]:
        """The values by falling count, then in order (texts by code point)."""
        kept = [(value, count) for value, count in self.items() if count >= min_count]
        kept.sort(key=lambda item: (-item[1], item[0]))
        return [value for value, _ in kept[:limit]]


def add_categories(counts: Counts[str], column: Categories) -> None:
    """Count a column's texts; missing ones are not counted."""
    if column.values:
        found = np.bincount(column.codes + 1, minlength=len(column.values) + 1)[1:]
        present = np.flatnonzero(found).tolist()
        counts.add([column.values[i] for i in present], found[present].tolist())


def add_numbers(counts: Counts[float], column: Floats) -> None:
    """Count a column's numbers; missing ones are not counted."""
    values, found = np.unique(column[~np.isnan(column)], return_counts=True)
    counts.add((values + 0.0).tolist(), found.tolist())
