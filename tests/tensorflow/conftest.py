"""What the tests of networks share: made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tensorflow.training import CATEGORY, NUMBERS, WHEN, features, fit, write_dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dataset`."""
    folder = tmp_path_factory.mktemp("keras")
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def fitted(data: Path) -> Path:
    """A transform of numbers, words and times."""
    return features(data, data, *NUMBERS, CATEGORY, WHEN)


@pytest.fixture(scope="session")
def trained(data: Path, fitted: Path) -> Path:
    """The Model artifact of a classifier of two classes, in `data`; its logs beside it."""
    fit(data, fitted, data / "model", hyperparameters={"dropout": 0.2})
    return data / "model"
