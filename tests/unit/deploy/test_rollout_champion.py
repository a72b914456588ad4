"""Two endpoints of one model share its champion: one that rolls back leaves it to the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kfp_suite.components.stores.folder import FolderStore
from kfp_suite.components.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble
from tests.serving.conftest import publish
from tests.unit.deploy.fleet import Conduct, Fleet
from tests.unit.deploy.rolling import live, roll


@pytest.fixture
def models(store: ModelStore, tmp_path: Path) -> ModelStore:
    """Version 3 serves elsewhere, and is the champion."""
    shutil.copytree(Path(store.store.uri), tmp_path / "store")
    found = ModelStore(FolderStore(tmp_path / "store"))
    publish(found, "wings", tmp_path / "3", "hist_gradient_boosting")
    found.set_alias("wings", CHAMPION, 3, "it serves in production")
    return found


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_a_rollback_leaves_another_endpoints_champion(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    served.conduct["2"] = Conduct(errors=0.3)
    for number in ("first", "again"):
        outcome = roll(models, double, tmp_path / number)
        assert outcome.why.startswith("version 2 rolled back: worse by errors")
        assert live(double).stable.version == 1
        assert models.aliases("wings")[CHAMPION] == 3


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_a_champion_that_is_rolled_back_is_champion_no_more(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    models.set_alias("wings", CHAMPION, 2, "by hand")
    served.conduct["2"] = Conduct(errors=0.3)
    assert not roll(models, double, tmp_path).promoted
    assert models.aliases("wings")[CHAMPION] == 1
