"""Requests with the model's own predictions, to compare an endpoint's answers with.

`sample_request.json` and `sample_answer.json` of a Model artifact hold two rows of train;
whoever asks an endpoint needs no library of the model's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kfp_suite.contracts.errors import MissingError
from kfp_suite.contracts.model import SAMPLE_ANSWER, SAMPLE_REQUEST
from kfp_suite.contracts.parameters import parse


@dataclass(frozen=True)
class Sample:
    """Rows, and the model's own answers, each as JSON has them.

    `records` are raw rows, as requests hold them. `features`, of shape (rows, features),
    are what the estimator takes, and `scores` what it gives: shape (rows, classes), or
    (rows,); a value that is not a number is None. `predictions`, shape (rows,), and
    `probabilities`, shape (rows, classes) or empty, are what the model gives: calibrated
    and decided.
    """

    records: tuple[dict[str, Any], ...]
    predictions: tuple[Any, ...] = ()
    probabilities: tuple[tuple[float, ...], ...] = ()
    features: tuple[tuple[float | None, ...], ...] = ()
    scores: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def picked(self, rows: Sequence[int]) -> Sample:
        """Some of its rows."""

        def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[row] for row in rows) if values else ()

        return Sample(
            some(self.records),
            some(self.predictions),
            some(self.probabilities),
            some(self.features),
            some(self.scores),
        )

    @property
    def request(self) -> dict[str, Any]:
        """The content of `sample_request.json`."""
        return {"instances": list(self.records)}

    @property
    def answer(self) -> dict[str, Any]:
        """The content of `sample_answer.json`."""
        return {
            "predictions": self.predictions,
            "probabilities": self.probabilities,
            "features": self.features,
            "scores": self.scores,
        }


def read_sample(read: Callable[[str], bytes]) -> Sample:
    """The sample of a Model artifact, without answers where an older one has none.

    Args:
        read: Gives the bytes of a file of the artifact, or raises MissingError.
    """
    records = tuple(json.loads(read(SAMPLE_REQUEST))["instances"])
    try:
        answer = json.loads(read(SAMPLE_ANSWER))
    except MissingError:
        return Sample(records)
    return parse(Sample, {"records": records, **answer}, SAMPLE_ANSWER)
