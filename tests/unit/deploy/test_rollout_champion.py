"""Two endpoints of one model share its champion: one that rolls back leaves it to the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.run_record import RunRecord
from kfp_suite.local.conclusion import conclude
from kfp_suite.local.history import PastRun
from kfp_suite.stores.aliases import by_hand
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
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


def written(folder: Path, number: str) -> dict[str, Any]:
    """What a rollout left for the run record."""
    found: dict[str, Any] = json.loads((folder / number / "rollout" / "endpoint.json").read_text())
    return found


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
@pytest.mark.parametrize("by", ["rollback", "alias"])
def test_a_champion_that_somebody_moved_away_stays_away(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path, by: str
) -> None:
    """The endpoint still serves version 2, so there is nothing to compare it with."""
    models.set_alias("wings", CHAMPION, 1, "it served")
    assert roll(models, double, tmp_path / "first").promoted
    assert models.aliases("wings")[CHAMPION] == 2
    if by == "rollback":
        models.rollback("wings")
    else:
        models.set_alias("wings", CHAMPION, 1, by_hand("it is slow"))
    reason = "rollback from 2" if by == "rollback" else "set by hand: it is slow"
    for number in ("second", "third"):
        outcome = roll(models, double, tmp_path / number)
        assert (outcome.promoted, outcome.measured, outcome.share) == (False, False, 100)
        assert outcome.why == (
            "version 2 serves already, and is no longer the champion; version 1 is "
            f"({reason}); nothing was measured, and nothing was changed"
        )
        assert models.aliases("wings")[CHAMPION] == 1
        assert live(double).stable.version == 2
        run = PastRun(
            RunRecord(
                "r", "", "progressive_delivery", "SUCCEEDED", endpoint=written(tmp_path, number)
            ),
            {},
        )
        conclusion = conclude(run, tmp_path / "runs" / "r")
        assert (conclusion.outcome, conclusion.reasons) == ("not promoted", (outcome.why,))
        store = models.store.uri
        assert conclusion.next_steps == {
            "roll out the champion": "kfp-suite run progressive_delivery --param model_name=wings "
            f"--param store={store} --param version=champion --param target=cluster "
            "--param namespace=models",
            "make it the champion again": f"kfp-suite models alias {store}/wings/2 champion",
        }
    models.set_alias("wings", CHAMPION, 2, by_hand(""))
    assert roll(models, double, tmp_path / "fourth").promoted
