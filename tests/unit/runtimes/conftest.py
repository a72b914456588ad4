"""Models that layouts are made of: trained once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.serving.conftest import publish


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two models that take the same, as the versions 3 and 10."""
    folder = tmp_path_factory.mktemp("runtimes")
    models = ModelStore(FolderStore(folder / "store"))
    publish(models, "wings", folder / "3", "logistic_regression")
    publish(models, "wings", folder / "10", "decision_tree")
    return {version: folder / str(version) / "model" for version in (3, 10)}
