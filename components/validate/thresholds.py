"""The largest differences allowed between two sets of statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from kfp_suite.components.validate.distances import Metric
from kfp_suite.contracts.errors import ParameterError, did_you_mean


@dataclass(frozen=True)
class Thresholds:
    """The largest distances allowed, from 0 to 1; None: reported only.

    Attributes:
        l_infinity: For strings and integer codes.
        jensen_shannon: For numbers, booleans, dates and timestamps.
        missing: For every column: the difference between the shares of rows without a value
            (null or NaN).
        columns: For single columns, whichever distance they have. Null: nothing about the
            column is an anomaly, not even that it is gone.
    """

    l_infinity: float | None = None
    jensen_shannon: float | None = None
    missing: float | None = None
    columns: dict[str, float | None] = field(default_factory=dict)
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        limits = (self.l_infinity, self.jensen_shannon, self.missing, *self.columns.values())
        return any(limit is not None for limit in limits)

    def exempts(self, column: str) -> bool:
        """Whether the column was excepted from all limits."""
        return column in self.columns and self.columns[column] is None

    def of(self, column: str, metric: Metric) -> float | None:
        """The threshold of a column."""
        if self.exempts(column):
            return None
        if metric == "missing":
            return self.missing
        if column in self.columns:
            return self.columns[column]
        return self.l_infinity if metric == "l_infinity" else self.jensen_shannon

    def check(self, known: Iterable[str], where: str) -> None:
        """Refuse thresholds outside 0 to 1 and of unknown columns.

        Raises:
            ParameterError: naming the threshold.
        """
        known = list(known)
        limits = {
            "l_infinity": self.l_infinity,
            "jensen_shannon": self.jensen_shannon,
            "missing": self.missing,
        }
        for name, limit in (*limits.items(), *self.columns.items()):
            if limit is not None and not 0 <= limit <= 1:
                raise ParameterError(
                    f"the threshold '{name}' is out of range",
                    where=where,
                    got=limit,
                    expected="0 to 1",
                )
        for name in self.columns:
            if name not in known:
                raise ParameterError(
                    f"a threshold for an unknown column '{name}'",
                    where=where,
                    fix=did_you_mean(name, known),
                )
