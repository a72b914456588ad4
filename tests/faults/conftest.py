"""The inputs of every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.steps import STEPS, write_source


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of every step, each made from those before."""
    folder = tmp_path_factory.mktemp("inputs")
    write_source(folder)
    for run in STEPS.values():
        run(folder, folder)
    return folder
