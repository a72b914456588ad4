"""Exact quantiles in bounded memory, for any order of rows.

Few values are kept and sorted. More than `LIMIT` are counted by the leading bits of a key
that sorts as the numbers do, and the buckets that hold the wanted ranks are looked at
again in further passes: at most three more, of a few megabytes each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kfp_suite.features.values import Floats

LIMIT = 1 << 20
_DIGITS = 4  # of 16 bits
_BUCKETS = 1 << 16

Keys = npt.NDArray[np.uint64]


def _keys(x: Floats) -> Keys:
    bits = (x + 0.0).view(np.int64)  # -0.0 becomes 0.0
    return bits.view(np.uint64) ^ ((bits >> 63).view(np.uint64) | np.uint64(1 << 63))


def _number(key: int) -> float:
    bits = key ^ (1 << 63) if key >> 63 else key ^ (1 << 64) - 1
    return float(np.uint64(bits).view(np.float64))


class _Target:
    """A rank being looked for: `remaining` inside the keys that start with `prefix`."""

    def __init__(self, rank: int) -> None:
        self.remaining = rank
        self.prefix = 0
        self.value: float | None = None


class Quantiles:
    """Exact quantiles by linear interpolation, as `numpy.quantile` defines them.

    Call `update` with every finite value, then `finish_pass`; if that is False, give
    every value once more. Afterwards `values` are the quantiles, in the requested order.
    """

    def __init__(self, quantiles: Sequence[float], limit: int = LIMIT) -> None:
        self.quantiles = tuple(quantiles)
        self.count = 0
        self.values: list[float] = []
        self._limit = limit
        self._level = 0
        self._kept: list[Floats] = []
        self._kept_rows = 0
        self._targets: dict[int, _Target] = {}
        self._counts: dict[int, npt.NDArray[np.int64]] = {}
        self._collected: dict[int, list[Keys]] = {}

    def update(self, x: Floats) -> None:
        """Add finite values, in any cut and order."""
        if self._level == 0:
            self.count += len(x)
            if not self._counts:
                self._kept.append(x.copy())
                self._kept_rows += len(x)
                if self._kept_rows > self._limit:
                    self._counts = {0: np.zeros(_BUCKETS, np.int64)}
                    kept, self._kept = self._kept, []
                    for part in kept:
                        self._count(0, _keys(part))
                return
            self._count(0, _keys(x))
            return
        keys = _keys(x)
        leading = keys >> np.uint64(64 - 16 * self._level)
        for prefix in self._counts:
            self._count(prefix, keys[leading == prefix])
        for prefix, parts in self._collected.items():
            parts.append(keys[leading == prefix])

    def _count(self, prefix: int, keys: Keys) -> None:
        digit = (keys >> np.uint64(48 - 16 * self._level)) & np.uint64(_BUCKETS - 1)
        self._counts[prefix] += np.bincount(digit.astype(np.int64), minlength=_BUCKETS)

    def finish_pass(self) -> bool:
        """End a pass over the values; True when `values` are known."""
        if self._level == 0:
            self._targets = {rank: _Target(rank) for rank in self._ranks()}
            if not self._counts:
                kept = np.sort(np.concatenate([*self._kept, np.empty(0)]) + 0.0)
                self._kept = []
                for rank, target in self._targets.items():
                    target.value = float(kept[rank])
        self._choose_from_collected()
        self._descend()
        if any(target.value is None for target in self._targets.values()):
            return False
        self.values = [self._interpolate(q) for q in self.quantiles] if self.count else []
        return True

    def _choose_from_collected(self) -> None:
        for prefix, parts in self._collected.items():
            keys = np.sort(np.concatenate(parts))
            for target in self._open_targets():
                if target.prefix == prefix:
                    target.value = _number(int(keys[target.remaining]))
        self._collected = {}

    def _descend(self) -> None:
        counts, self._counts = self._counts, {}
        self._level += 1
        for target in self._open_targets():
            cumulative = np.cumsum(counts[target.prefix])
            digit = int(np.searchsorted(cumulative, target.remaining, side="right"))
            inside = int(counts[target.prefix][digit])
            target.remaining -= int(cumulative[digit]) - inside
            target.prefix = target.prefix << 16 | digit
            if self._level == _DIGITS:
                target.value = _number(target.prefix)
            elif inside <= self._limit:
                self._collected.setdefault(target.prefix, [])
            else:
                self._counts.setdefault(target.prefix, np.zeros(_BUCKETS, np.int64))

    def _open_targets(self) -> list[_Target]:
        return [target for target in self._targets.values() if target.value is None]

    def _ranks(self) -> set[int]:
        positions = [(self.count - 1) * q for q in self.quantiles] if self.count else []
        return {r for p in positions for r in (math.floor(p), math.ceil(p))}

    def _interpolate(self, q: float) -> float:
        position = (self.count - 1) * q
        below, above = (self._targets[r].value for r in (math.floor(position), math.ceil(position)))
        assert below is not None and above is not None
        return below + (above - below) * (position - math.floor(position))
