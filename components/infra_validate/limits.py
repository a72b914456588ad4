"""What a candidate may cost, and what it was seen to cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kfp_suite.contracts.errors import ParameterError


@dataclass(frozen=True)
class Limits:
    """Each inclusive; 0: not limited, but still measured.

    Attributes:
        start_seconds: From the start of the server to its first readiness; it is also the
            time after which a server that hangs is given up.
        p50_ms: The median of the latencies, in milliseconds.
        p99_ms: Their 99th percentile.
        memory_mb: What the server and its children held at most, in megabytes; on a cluster,
            what our server says that it holds, and no other is measured. Where it cannot be
            measured, a limit is not kept.
        expected_seconds: That the model itself may take to answer all the rows, in a process of
            its own, after which it is given up.
        difference: From the model's own answers: of a probability, or of a predicted number
            relative to it.
        request_seconds: After which an answer does not count.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    start_seconds: float = 120.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    memory_mb: float = 0.0
    difference: float = 1e-4
    request_seconds: float = 30.0
    expected_seconds: float = 300.0

    def __post_init__(self) -> None:
        for name in ("p50_ms", "p99_ms", "memory_mb", "difference"):
            if getattr(self, name) < 0:
                raise ParameterError(
                    "out of range",
                    where=f"limits.{name}",
                    got=getattr(self, name),
                    expected="0 or more",
                )
        for name in ("start_seconds", "request_seconds", "expected_seconds"):
            if getattr(self, name) <= 0:
                raise ParameterError(
                    "out of range",
                    where=f"limits.{name}",
                    got=getattr(self, name),
                    expected="above 0",
                )


@dataclass(frozen=True)
class Figures:
    """What was measured; `difference` None: an answer could not be compared at all, `memory_mb`
    None: the memory could not be measured. `left_out`: rows that were not asked for, since a
    server that takes features has no word for a missing number."""

    start_seconds: float
    requests: int
    p50_ms: float
    p99_ms: float
    difference: float | None
    memory_mb: float | None
    left_out: int = 0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] if ordered else 0.0


def reasons(figures: Figures, limits: Limits) -> list[str]:
    """Why it is not blessed; empty if it is."""
    found = []
    if limits.memory_mb and figures.memory_mb is None:
        found.append(
            f"the memory was not measured, so nobody knows that it is at most "
            f"{limits.memory_mb:,.1f} MB"
        )
    for name, got, most, unit in (
        ("the start", figures.start_seconds, limits.start_seconds, "s"),
        ("the median latency", figures.p50_ms, limits.p50_ms, "ms"),
        ("the 99th percentile of the latency", figures.p99_ms, limits.p99_ms, "ms"),
        ("the memory", figures.memory_mb, limits.memory_mb, "MB"),
    ):
        if most and got is not None and got > most:
            found.append(f"{name} is {got:,.1f} {unit}; at most {most:,.1f} {unit}")
    if figures.difference is None:
        found.append("it answers another class, or a value that is not a number")
    elif figures.difference > limits.difference:
        found.append(
            f"its answers differ by {figures.difference:.2g} from the model's own; "
            f"at most {limits.difference:.2g}"
        )
    return found
