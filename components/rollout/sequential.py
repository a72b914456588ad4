"""Is the candidate worse? A test that may be looked at any number of times.

Two streams of yes or no (an error, a slow answer, a wrong prediction), one of each version.
The evidence against a hypothesis is a mixture over all pairs of rates, divided by the
largest likelihood that the hypothesis reaches: universal inference (Wasserman, Ramdas,
Balakrishnan 2020, PNAS 117(29)), whose running version is an e-process. So the chance that
the evidence ever exceeds 1/alpha while the hypothesis is true is at most alpha, however
often one looks (Ville's inequality), and nothing has to be decided in advance.

Rates are expected to be small: the mixture is Beta(0.1, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_A, _B = 0.1, 1.0
_HALVINGS = 80
_MAX_EXPONENT = 700.0


@dataclass(frozen=True)
class Counts:
    """How many of how many: `bad` of `total`."""

    bad: int = 0
    total: int = 0

    @property
    def rate(self) -> float:
        """The share, 0 if there are none."""
        return self.bad / self.total if self.total else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.bad + other.bad, self.total + other.total)


def evidence_of_harm(stable: Counts, candidate: Counts, margin: float) -> float:
    """The e-value against "the candidate's rate is at most the stable one's plus margin"."""
    return _evidence(stable, candidate, margin, below=True)


def evidence_of_safety(stable: Counts, candidate: Counts, margin: float) -> float:
    """The e-value against "the candidate's rate is at least the stable one's plus margin"."""
    return _evidence(stable, candidate, margin, below=False)


def confidence(evidence: float) -> float:
    """How sure an e-value makes one: 1 - 1/e, at least 0."""
    return max(0.0, 1.0 - 1.0 / evidence) if evidence > 0 else 0.0


def _evidence(stable: Counts, candidate: Counts, margin: float, *, below: bool) -> float:
    mixed = _log_mixture(stable) + _log_mixture(candidate)
    inside = candidate.rate <= stable.rate + margin
    if not candidate.total or inside == below:
        best = _log_likelihood(stable, stable.rate) + _log_likelihood(candidate, candidate.rate)
    else:
        best = _best_on_the_line(stable, candidate, margin)
    return math.exp(min(mixed - best, _MAX_EXPONENT))


def _log_mixture(counts: Counts) -> float:
    good = counts.total - counts.bad
    return _log_beta(counts.bad + _A, good + _B) - _log_beta(_A, _B)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(counts: Counts, rate: float) -> float:
    good = counts.total - counts.bad
    if (counts.bad and rate <= 0) or (good and rate >= 1):
        return -math.inf
    found = counts.bad * math.log(rate) if counts.bad else 0.0
    return found + (good * math.log1p(-rate) if good else 0.0)


def _best_on_the_line(stable: Counts, candidate: Counts, margin: float) -> float:
    """The largest likelihood where the rates differ by exactly `margin`: concave in the
    stable rate, so its slope is halved to its zero."""
    low, high = 0.0, 1.0 - margin

    def slope(rate: float) -> float:
        found = 0.0
        for counts, at in ((stable, rate), (candidate, rate + margin)):
            good = counts.total - counts.bad
            found += counts.bad / at if counts.bad and at > 0 else (math.inf if counts.bad else 0)
            found -= good / (1 - at) if good and at < 1 else (math.inf if good else 0)
        return found

    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if slope(middle) > 0:
            low = middle
        else:
            high = middle
    rate = (low + high) / 2
    return _log_likelihood(stable, rate) + _log_likelihood(candidate, rate + margin)
