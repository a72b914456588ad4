"""From data to coordinates: ranges, round ticks and linear scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kfp_suite.reports.formatting import fixed, number

Range = tuple[float, float]


def finite_range(values: Iterable[float | None], *, include_zero: bool = False) -> Range:
    """The smallest range that holds the finite values; never of zero width."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if include_zero:
        finite.append(0.0)
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        pad = abs(low) * 0.05 or 0.5
        low, high = low - pad, high + pad
    return float(low), float(high)


def round_ticks(low: float, high: float, about: int = 5, *, whole: bool = False) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten inside [low, high].

    Args:
        low: The smallest value shown.
        high: The largest value shown, above `low`.
        about: How many ticks are wanted.
        whole: Whether only integers make sense on this axis.
    """
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """One label a tick, all with the same number of decimals."""
    if len(ticks) < 2:
        return [number(t) for t in ticks]
    step, size = ticks[1] - ticks[0], max(abs(t) for t in ticks)
    if size >= 1e7 or size < 1e-3:
        return [number(t, 3) for t in ticks]
    decimals = next((d for d in range(9) if abs(round(step, d) - step) < 1e-6 * step), 9)
    return [fixed(t, decimals) for t in ticks]


def rounded_out(bounds: Range, about: int = 5) -> Range:
    """`bounds`, widened to the next ticks."""
    low, high = bounds
    ticks = round_ticks(low, high, about)
    if len(ticks) < 2:
        return bounds
    step = ticks[1] - ticks[0]
    return (
        math.floor(low / step + 1e-9) * step,
        math.ceil(high / step - 1e-9) * step,
    )


@dataclass(frozen=True)
class Scale:
    """A linear map of `domain` onto the coordinates `start` to `end`."""

    domain: Range
    start: float
    end: float

    def __call__(self, value: float) -> float:
        low, high = self.domain
        share = (min(max(value, low), high) - low) / (high - low)
        return self.start + share * (self.end - self.start)
