"""The fixture of the evaluate tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluate.cases import CLASSES, Case, rows_of, write_dataset, write_model


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., Case]:
    """Makes a case: `case("binary", rows=500)`."""

    def make(task: str, rows: int = 600, **model: Any) -> Case:
        dataset = write_dataset(tmp_path / "dataset", {"test": rows_of(task, rows)})
        made = write_model(tmp_path / "model", task, CLASSES[task], **model)
        return Case(dataset, made, tmp_path)

    return make
