"""Percentile bootstrap intervals of every metric, for one model or several on the same rows.

Rows are drawn with replacement (Efron 1979); several models see the same draws, so their
differences are paired. Draws come from a seed and a name, so that one slice's interval
does not depend on which others were asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kfp_suite.components.evaluate.metrics import SHARES, Floats, Scored

_BLOCK_CELLS = 1_000_000
"""Weights held at once (resamples times rows): 8 MB."""
_MIN_DEFINED = 0.5


@dataclass(frozen=True)
class Estimate:
    """A metric's value and its confidence interval; None if undefined, with the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, float | str | None]:
        """The mapping evaluation.json holds, rounded to 10 significant digits."""
        found: dict[str, float | str | None] = {
            "value": round_figure(self.value),
            "low": round_figure(self.low),
            "high": round_figure(self.high),
        }
        return found | {"reason": self.reason} if self.reason else found


@dataclass(frozen=True)
class Measured:
    """The metrics of a model on some rows: estimates, and the draws they rest on."""

    estimates: dict[str, Estimate]
    draws: dict[str, Floats]


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Args:
        resamples: Bootstrap resamples, at least 1; 0 for no intervals.
        confidence: The coverage of an interval, between 0 and 1.
        seed: Of the draws.
    """

    resamples: int = 200
    confidence: float = 0.95
    seed: int = 0

    def weights(self, rows: int, name: str) -> Iterator[Floats]:
        """Counts of each row in each resample, in blocks of shape (some, rows)."""
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        generator = np.random.default_rng([self.seed, key])
        done = 0
        while done < self.resamples:
            block = min(max(1, _BLOCK_CELLS // rows), self.resamples - done)
            drawn = generator.integers(0, rows, (block, rows))
            drawn += np.arange(block)[:, None] * rows
            counts = np.bincount(drawn.ravel(), minlength=block * rows)
            yield counts.reshape(block, rows).astype(np.float64)
            done += block

    def interval(self, draws: Floats) -> tuple[float | None, float | None]:
        """The percentile interval; None if fewer than half the draws are defined."""
        defined = draws[~np.isnan(draws)]
        if not len(draws) or len(defined) < _MIN_DEFINED * len(draws):
            return None, None
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(defined, [tail, 1 - tail])
        return float(low), float(high)

    def exact_interval(self, value: float, rows: int) -> tuple[float, float]:
        """The interval of a share of 0 or 1, which is the same in every resample.

        Clopper and Pearson's (1934): of `rows` of which none was wrong, a share of errors p is
        likely enough while (1 - p)^rows is at least half of what the interval leaves out.

        Args:
            value: 0 or 1; another value is its own interval.
            rows: How many rows the share is of, at least 1.
        """
        edge = ((1 - self.confidence) / 2) ** (1 / max(rows, 1))
        if value == 1:
            return edge, 1.0
        if value == 0:
            return 0.0, 1.0 - edge
        return value, value


def measure(models: Sequence[Scored], resampling: Resampling, name: str) -> list[Measured]:
    """Measure models on the same rows under the same draws.

    Args:
        models: Scored splits of equal rows, in the same order of rows.
        resampling: How many draws, and of which seed.
        name: Of the rows: `all`, or the slice.
    """
    rows = models[0].rows
    plain = [scored.measure(np.ones((1, rows))) for scored in models]
    parts: list[list[dict[str, Floats]]] = [[] for _ in models]
    for weights in resampling.weights(rows, name):
        for found, scored in zip(parts, models, strict=True):
            found.append(scored.measure(weights))
    measured = []
    for scored, values, blocks in zip(models, plain, parts, strict=True):
        draws = {
            metric: np.concatenate([block[metric] for block in blocks] or [np.empty(0)])
            for metric in values
        }
        estimates = {}
        for metric, value in values.items():
            if np.isnan(value[0]):
                estimates[metric] = Estimate(None, reason=scored.why_undefined(metric))
            else:
                point = float(value[0])
                low, high = resampling.interval(draws[metric])
                if low is not None and low == high == point and metric in SHARES:
                    low, high = resampling.exact_interval(point, scored.support(metric))
                estimates[metric] = Estimate(point, low, high)
        measured.append(Measured(estimates, draws))
    return measured


def round_figure(value: float | None) -> float | None:
    """`value` to 10 significant digits: what a reader needs, the same on every machine."""
    return None if value is None else float(f"{value:.10g}")
