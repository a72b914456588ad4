"""The verdict on a candidate: worse, good, or not known yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from kfp_suite.components.rollout.measuring import Observed
from kfp_suite.components.rollout.sequential import (
    Counts,
    confidence,
    evidence_of_harm,
    evidence_of_safety,
)
from kfp_suite.contracts.errors import ParameterError

Verdict = Literal["worse", "good", "unknown"]
_P99 = 0.99
# What 99 % of an endpoint's answers keep, a handful of them does not tell.
_ANSWERS_FOR_P99 = 200


@dataclass(frozen=True)
class Limits:
    """What a candidate may cost, and how sure the judge has to be.

    Attributes:
        confidence: Of a verdict, over the whole rollout: 0.95 is wrong once in twenty.
        error_margin: How much more of its answers may be errors (500 and above).
        refusal_margin: How much more of the requests it may refuse (400 to 499); 0: as many
            as may be errors.
        latency_seconds: What is slow; 0: slower than 99 % of the stable version's answers.
        latency_margin: How much more of its answers may be slow.
        quality_margin: How much more of its predictions may be wrong.
        min_requests: Answers of the candidate before a step may end.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    confidence: float = 0.95
    error_margin: float = 0.01
    refusal_margin: float = 0.0
    latency_seconds: float = 0.0
    latency_margin: float = 0.05
    quality_margin: float = 0.02
    min_requests: int = 50

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ParameterError(
                "out of range",
                where="limits.confidence",
                got=self.confidence,
                expected="0.5 to 0.9999",
            )
        for name in ("error_margin", "latency_margin", "quality_margin"):
            if not 0 < getattr(self, name) < 1:
                raise ParameterError(
                    "out of range",
                    where=f"limits.{name}",
                    got=getattr(self, name),
                    expected="above 0 and below 1",
                )
        refusals = 0 <= self.refusal_margin < 1
        if self.latency_seconds < 0 or self.min_requests < 1 or not refusals:
            raise ParameterError(
                "out of range",
                where="limits",
                got=asdict(self),
                expected="latency_seconds and refusal_margin 0 or more, min_requests 1 or more",
            )


@dataclass(frozen=True)
class Criterion:
    """One thing that is compared: rates of both versions, and how sure the judge is.

    `worse` and `good` are confidences, 0 to 1, that the candidate's rate is above, or below,
    the stable one's plus `margin`.
    """

    name: str
    stable: Counts
    candidate: Counts
    margin: float
    worse: float
    good: float

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.candidate.rate:.2%} of {self.candidate.total:,} "
            f"against {self.stable.rate:.2%} of {self.stable.total:,}"
        )


@dataclass(frozen=True)
class Judgement:
    """The verdict and what it rests on: the criteria, or `ailing`, what its servers say."""

    verdict: Verdict
    criteria: tuple[Criterion, ...]
    ailing: str = ""

    @property
    def why(self) -> str:
        """The verdict in words."""
        if self.ailing:
            return f"its servers fail: {self.ailing}"
        if self.verdict == "worse":
            bad = max(self.criteria, key=lambda c: c.worse)
            return f"worse by {bad} (allowed: {bad.margin:.0%} more; {bad.worse:.2%} sure)"
        if self.verdict == "good":
            least = min(self.criteria, key=lambda c: c.good)
            return f"not worse: {least} (at least {least.good:.2%} sure)"
        least = min(self.criteria, key=lambda c: c.good)
        return f"not decided: {least} ({least.good:.0%} sure that it is good)"

    def to_json(self) -> dict[str, Any]:
        """As `rollout.json` holds it."""
        return {"verdict": self.verdict, "criteria": [asdict(c) for c in self.criteria]}


def judge(
    stable: Observed, candidate: Observed, limits: Limits, latency_seconds: float
) -> Judgement:
    """Compare two versions by what they have done so far.

    Args:
        stable: What the stable version did.
        candidate: What the candidate did.
        limits: What is allowed.
        latency_seconds: What is slow; 0: nobody knows yet, so no candidate is good.
    """
    unknown = f"slow answers (fewer than {_ANSWERS_FOR_P99} of the version before to tell)"
    slow = (unknown, Counts(), Counts())
    if latency_seconds:
        told_apart = min(latency_seconds, stable.bound_from(latency_seconds))
        slow = (
            f"slower than {told_apart * 1000:g} ms",
            stable.slower_than(latency_seconds),
            candidate.slower_than(latency_seconds),
        )
    refusals = limits.refusal_margin or limits.error_margin
    pairs = [
        ("errors", stable.errors, candidate.errors, limits.error_margin),
        ("refused requests", stable.refused, candidate.refused, refusals),
        (*slow, limits.latency_margin),
    ]
    if candidate.wrong.total and stable.wrong.total:
        pairs.append(("wrong predictions", stable.wrong, candidate.wrong, limits.quality_margin))
    criteria = tuple(
        Criterion(
            name,
            before,
            after,
            margin,
            confidence(evidence_of_harm(before, after, margin)),
            confidence(evidence_of_safety(before, after, margin)),
        )
        for name, before, after, margin in pairs
    )
    # A false alarm may come from any of them.
    alarm = 1 - (1 - limits.confidence) / len(criteria)
    if any(criterion.worse >= alarm for criterion in criteria):
        return Judgement("worse", criteria)
    if all(criterion.good >= limits.confidence for criterion in criteria):
        return Judgement("good", criteria)
    return Judgement("unknown", criteria)


def slow_from(stable: Observed, limits: Limits) -> float:
    """What is slow: the limit that was given, else the smallest bound that 99 % of the
    stable version's answers keep, or the largest bound; 0 if there are too few to tell."""
    if limits.latency_seconds:
        return limits.latency_seconds
    answered = [b for b in stable.bounds if stable.slow[b].total >= _ANSWERS_FOR_P99]
    kept = (bound for bound in answered if stable.slow[bound].rate <= 1 - _P99)
    return next(kept, answered[-1] if answered else 0.0)


def told(observed: Mapping[str, Observed], version: int) -> Observed:
    """What a version did; nothing, where nobody has counted anything."""
    return observed.get(str(version), Observed())
