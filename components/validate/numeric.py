"""The values of a numeric column and how often each occurs, in bounded memory.

While a column has few distinct values (up to the cap), every value is counted: quantiles,
histograms, mean and deviation are then exact. When there are more, values are counted by
the leading bits of the double that holds them: the fewest low bits are dropped for which
the bins fit the cap, so bins are relatively narrow for wide ranges and absolutely narrow for
narrow ones. How many bits are dropped, and each count, depend only on which values there
are and how often, so partial counts merge in any order to the same result.

Mean and deviation stay exact (see `exact`), as do minimum, maximum, zeros, NaN and
infinities; the number of distinct values becomes an estimate (see `distinct`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kfp_suite.components.validate.distinct import DistinctCount, mix
from kfp_suite.components.validate.exact import (
    UNIT_BITS,
    exact_sum,
    exact_sum_of_squares,
    ratio,
    units_of,
)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_ALWAYS_DENSE = 4096
_EXACT_DOUBLE = 1 << 53


@dataclass
class Moments:
    """Sum and sum of squares, exactly: in units of 2**-1074 and 2**-2148."""

    total: int = 0
    squares: int = 0

    def add(self, values: Integers | Floats) -> None:
        doubles = values.astype(np.float64, copy=False)
        if values.dtype.kind == "i":
            large = (values >= _EXACT_DOUBLE) | (values <= -_EXACT_DOUBLE)
            if large.any():
                numbers = values[large].astype(object)
                self.total += int(numbers.sum()) << UNIT_BITS
                self.squares += int((numbers * numbers).sum()) << 2 * UNIT_BITS
                doubles = doubles[~large]
        self.total += exact_sum(doubles)
        self.squares += exact_sum_of_squares(doubles)

    def add_counted(self, values: Integers | Floats, counts: Integers) -> None:
        units, unit_bits = units_of(values)
        total = squares = 0
        for unit, count in zip(units, counts.tolist(), strict=True):
            total += unit * count
            squares += unit * unit * count
        self.total += total << UNIT_BITS - unit_bits
        self.squares += squares << 2 * (UNIT_BITS - unit_bits)

    def merge(self, other: Moments) -> None:
        self.total += other.total
        self.squares += other.squares

    def mean(self, count: int) -> float:
        return ratio(self.total, count, UNIT_BITS)

    def std_dev(self, count: int) -> float:
        """The population standard deviation, as TFDV reports it."""
        variance = ratio(
            self.squares * count - self.total * self.total, count * count, 2 * UNIT_BITS
        )
        return math.sqrt(variance)


@dataclass
class NumericColumn:
    """The partial statistics of a column of integers or doubles.

    Attributes:
        integral: Values are int64 (also dates, timestamps and booleans); else float64.
        cap: The most distinct values (or bins) that are kept.
        level: 0: `keys` are the values themselves; n: doubles without their n - 1 low bits.
        keys: Sorted, in the order of the values.
        counts: The rows of each key.
    """

    integral: bool
    cap: int
    rows: int = 0
    missing: int = 0
    nans: int = 0
    negative_infinities: int = 0
    positive_infinities: int = 0
    zeros: int = 0
    minimum: int | float | None = None
    maximum: int | float | None = None
    level: int = 0
    keys: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    counts: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    coarse_moments: Moments = field(default_factory=Moments)
    coarse_distinct: DistinctCount = field(default_factory=DistinctCount)

    def update(self, values: Integers | Floats, missing: int) -> None:
        """Add rows: their present values, and how many were missing."""
        self.rows += len(values) + missing
        self.missing += missing
        if not self.integral:
            values = self._finite(values.astype(np.float64, copy=False)) + 0.0  # -0.0 counts as 0.0
        if not len(values):
            return
        low, high = values.min().item(), values.max().item()
        self.minimum = low if self.minimum is None else min(self.minimum, low)
        self.maximum = high if self.maximum is None else max(self.maximum, high)
        if self.level:
            self.zeros += len(values) - int(np.count_nonzero(values))
            self.coarse_moments.add(values)
            self.coarse_distinct.add(mix(self._key(values, 0)))
        self._add_keys(*_count_keys(self._key(values, self.level)))

    def merge(self, other: NumericColumn) -> None:
        """Add the rows of `other` (which may change)."""
        self.rows += other.rows
        self.missing += other.missing
        self.nans += other.nans
        self.negative_infinities += other.negative_infinities
        self.positive_infinities += other.positive_infinities
        self.minimum = _least(self.minimum, other.minimum)
        self.maximum = _greatest(self.maximum, other.maximum)
        self._coarsen(other.level)
        other._coarsen(self.level)
        self.zeros += other.zeros
        self.coarse_moments.merge(other.coarse_moments)
        self.coarse_distinct.merge(other.coarse_distinct)
        self._add_keys(other.keys, other.counts)

    @property
    def exact(self) -> bool:
        """Every distinct value is counted."""
        return self.level == 0

    @property
    def finite(self) -> int:
        """Rows with a finite value."""
        return (
            self.rows
            - self.missing
            - self.nans
            - self.negative_infinities
            - self.positive_infinities
        )

    def num_zeros(self) -> int:
        if not self.exact:
            return self.zeros
        return int(self.counts[self.values() == 0].sum())

    def distinct(self) -> int:
        """The number of distinct finite values; an estimate if not `exact`."""
        return len(self.keys) if self.exact else self.coarse_distinct.estimate()

    def moments(self) -> Moments:
        if not self.exact:
            return self.coarse_moments
        moments = Moments()
        moments.add_counted(self.values(), self.counts)
        return moments

    def values(self) -> Integers | Floats:
        """The distinct values in order (`exact`), else the least value of each bin."""
        if self.exact and self.integral:
            return self.keys
        lows: Floats = _double(self.keys << max(self.level - 1, 0))
        return lows

    def order_statistics(self, ranks: Integers) -> Floats:
        """The values at 1-based `ranks` among the finite ones, in order.

        Inside a bin, its rows are taken as evenly spread.
        """
        cumulative = np.cumsum(self.counts)
        at = np.searchsorted(cumulative, ranks)
        if self.exact:
            return self.values()[at].astype(np.float64)
        lows, highs = self.bounds()
        within = (ranks - (cumulative[at] - self.counts[at]) - 0.5) / self.counts[at]
        spread: Floats = lows[at] + within * (highs[at] - lows[at])
        spread[ranks == 1] = lows[0]
        spread[ranks == self.finite] = highs[-1]
        return spread

    def rows_up_to(self, values: Floats) -> tuple[Floats, Floats]:
        """The fewest and the most rows whose finite value is at most each of `values`.

        The two are equal unless a value lies inside a bin.
        """
        rows = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.float64)
        lows, highs = self.bounds() if len(self.keys) else (np.empty(0), np.empty(0))
        fewest = rows[np.searchsorted(highs, values, side="right")]
        return fewest, rows[np.searchsorted(lows, values, side="right")]

    def median(self) -> float:
        """The middle of the finite values: of an even number, the mean of the middle two."""
        middle = np.array([(self.finite + 1) // 2, self.finite // 2 + 1])
        low, high = self.order_statistics(middle).tolist()
        return float(low / 2 + high / 2 if low != high else low)

    def bounds(self) -> tuple[Floats, Floats]:
        """The least and the greatest value that each key may stand for."""
        if self.exact:
            values = self.values().astype(np.float64)
            return values, values
        assert self.minimum is not None
        assert self.maximum is not None
        shift = self.level - 1
        lows = _double(self.keys << shift)
        highs = _double((self.keys << shift) | ((1 << shift) - 1))
        least, greatest = float(self.minimum), float(self.maximum)
        # The widest bins reach past the greatest double, where bits are NaN: fmin skips it.
        return (
            np.fmin(np.fmax(lows, least), greatest),
            np.fmax(np.fmin(highs, greatest), least),
        )

    def _finite(self, values: Floats) -> Floats:
        finite = np.isfinite(values)
        if finite.all():
            return values
        self.nans += int(np.isnan(values).sum())
        self.positive_infinities += int((values == np.inf).sum())
        self.negative_infinities += int((values == -np.inf).sum())
        return values[finite]

    def _key(self, values: Integers | Floats, level: int) -> Integers:
        if self.integral and level == 0:
            return values.astype(np.int64, copy=False)
        return _ordered_bits(values.astype(np.float64, copy=False)) >> max(level - 1, 0)

    def _add_keys(self, keys: Integers, counts: Integers) -> None:
        if len(self.keys):
            keys, counts = _merge_counts(self.keys, self.counts, keys, counts)
        self.keys, self.counts = keys, counts
        if len(keys) > self.cap:
            self._coarsen(self._level_that_fits())

    def _level_that_fits(self) -> int:
        """The lowest level at which no more than `cap` keys are left."""
        keys, level = self.keys, self.level
        if level == 0:
            keys, level = np.unique(self._key(self.values(), 1)), 1
        # Neighbours fall into one bin once their highest differing bit is dropped.
        differ = (keys[1:] ^ keys[:-1]).view(np.uint64)
        differ &= ~(differ >> np.uint64(1))  # so that no rounding to double adds a bit
        bits = np.frexp(differ.astype(np.float64))[1].astype(np.int64)
        kept = np.cumsum(np.bincount(bits, minlength=65)[::-1])[::-1]  # neighbours apart by >= b
        drop = next(d for d in range(65) if (kept[d + 1] if d < 64 else 0) + 1 <= self.cap)
        return level + drop

    def _coarsen(self, level: int) -> None:
        if level <= self.level:
            return
        if self.level == 0:
            values = self.values()
            self.zeros = int(self.counts[values == 0].sum())
            self.coarse_moments.add_counted(values, self.counts)
            self.coarse_distinct.add(mix(self.keys))
            keys = self._key(values, level)
        else:
            keys = self.keys >> (level - self.level)
        starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
        self.level = level
        self.keys = keys[starts]
        self.counts = np.add.reduceat(self.counts, starts) if len(starts) else self.counts


def _count_keys(keys: Integers) -> tuple[Integers, Integers]:
    """The distinct keys in order, and how often each occurs."""
    low = int(keys.min())
    if int(keys.max()) - low < max(_ALWAYS_DENSE, 4 * len(keys)):
        dense = np.bincount(keys - low)
        distinct = np.flatnonzero(dense)
        return distinct + low, dense[distinct]
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _merge_counts(
    keys: Integers, counts: Integers, more: Integers, more_counts: Integers
) -> tuple[Integers, Integers]:
    at = np.searchsorted(keys, more)
    known = keys[np.minimum(at, len(keys) - 1)] == more
    counts = counts.copy()
    counts[at[known]] += more_counts[known]
    if known.all():
        return keys, counts
    new = ~known
    return np.insert(keys, at[new], more[new]), np.insert(counts, at[new], more_counts[new])


def _ordered_bits(values: Floats) -> Integers:
    """The bits of doubles as integers of the same order."""
    bits = np.ascontiguousarray(values).view(np.int64)
    ordered: Integers = bits ^ ((bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))
    return ordered


def _double(ordered: Integers) -> Floats:
    """The inverse of `_ordered_bits`."""
    bits: Integers = ordered ^ ((ordered >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))
    return bits.view(np.float64)


def _least(a: int | float | None, b: int | float | None) -> int | float | None:
    return b if a is None else a if b is None else min(a, b)


def _greatest(a: int | float | None, b: int | float | None) -> int | float | None:
    return b if a is None else a if b is None else max(a, b)
