"""What a model itself says of requests, found out once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.infra_validate import executor
from kfp_suite.components.infra_validate.expecting import expected_answers
from kfp_suite.contracts.sample import Sample


@contextmanager
def answered_once() -> Iterator[None]:
    """Let infra_validate start its process for a model's own answers once for the same question.

    The process takes seconds of CPU to import what the model needs. An error is not kept, and
    another time limit is another question.
    """
    found: dict[tuple[Any, ...], Sample] = {}

    def answers(
        model: Path,
        dataset: Path | None,
        requests: Path | None,
        split: str,
        rows: int,
        timeout: float,
    ) -> Sample:
        recorded = requests.read_bytes() if requests else None
        question = (model, dataset, recorded, split, rows, timeout)
        if question not in found:
            found[question] = expected_answers(model, dataset, requests, split, rows, timeout)
        return found[question]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "expected_answers", answers)
        yield
