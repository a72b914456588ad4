"""Loss of precision in 32-bit floats: with 24 bits, 1,700,000,001 equals 1,700,000,050.

Features are 32-bit floats, and some estimators take labels as such. A rounding matters not by
its size but in relation to the spread of the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfp_suite.contracts.errors import DataError

MAX_LOSS = 1e-3
"""The largest rounding that is let pass, in standard deviations of the values."""


@dataclass
class Rounding:
    """The largest rounding of a column to 32 bits, and the column's standard deviation; of as
    many parts as are added."""

    largest: float = 0.0
    _shift: float = 0.0
    _count: int = 0
    _sum: float = 0.0
    _squares: float = 0.0

    def add(self, values: Any) -> None:
        """Take a part of the column; values that are not finite are left out."""
        values = np.asarray(values, np.float64)
        known = values[np.isfinite(values)]
        if not len(known):
            return
        rounded = known.astype(np.float32).astype(np.float64)
        self.largest = max(self.largest, float(np.abs(rounded - known).max()))
        if not self._count:
            self._shift = float(known[0])
        shifted = known - self._shift
        self._count += len(known)
        self._sum += float(shifted.sum())
        self._squares += float((shifted * shifted).sum())

    @property
    def deviation(self) -> float:
        """The standard deviation; 0 if nothing was added."""
        if not self._count:
            return 0.0
        mean = self._sum / self._count
        return float(np.sqrt(max(0.0, self._squares / self._count - mean * mean)))

    @property
    def loss(self) -> float:
        """The largest rounding in standard deviations; 0 for a constant."""
        return self.largest / self.deviation if self.deviation else 0.0

    def __str__(self) -> str:
        return f"a rounding of {self.largest:.3g}, a standard deviation of {self.deviation:.3g}"


def rounding_of(values: Any) -> Rounding:
    """The rounding of an array to 32-bit floats."""
    found = Rounding()
    found.add(values)
    return found


def check_features(parts: Iterable[Mapping[str, Any]]) -> None:
    """Check that rounding features to 32 bits is small in relation to their spread.

    Args:
        parts: Of the rows, part by part: each feature's values in 64 bits, by its name.

    Raises:
        DataError: a feature loses more than `MAX_LOSS`, naming it.
    """
    found: dict[str, Rounding] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, Rounding()).add(values)
    for name, rounding in found.items():
        if rounding.loss > MAX_LOSS:
            raise DataError(
                "the values are too close together for 32-bit floats, which features are",
                where=f"feature '{name}'",
                got=rounding,
                expected=f"a rounding of at most {MAX_LOSS:g} standard deviations",
                fix="add the step 'scale', or subtract a constant in ingest's SQL",
            )
