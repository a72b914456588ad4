"""The end of a local run: its endpoint answers, and only then is its version champion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.contracts.errors import AlreadyExistsError
from kfp_suite.contracts.run_record import PUSHED, RunRecord
from kfp_suite.local.checking import checked_endpoint
from kfp_suite.local.local import LocalRun
from kfp_suite.stores.versions import ModelStore

AT = "2026-02-03T04:05:06+00:00"


def deployed(models: ModelStore, version: int, folder: Path) -> LocalRun:
    """A run that ended with this version deployed on this machine."""
    pushed = {"store": models.store.uri, "model": "wings", "version": version}
    (folder / "pushed").mkdir(parents=True)
    (folder / "pushed" / PUSHED).write_text(json.dumps(pushed))
    endpoint = deploy(DeployParameters(), folder / "pushed", folder / "endpoint")
    record = RunRecord(folder.name, "1", "train_and_deploy", "SUCCEEDED", endpoint=endpoint)
    return LocalRun(folder, True, (), record, {}, AT, AT)


def test_of_two_runs_at_once_the_first_to_answer_is_champion(
    models: ModelStore, tmp_path: Path
) -> None:
    before = models.aliases("wings").get("champion", "none")
    one, two = (deployed(models, i, tmp_path / str(i)) for i in (1, 2))
    with checked_endpoint(two) as checked:
        assert checked.found["version"] == 2
    assert models.aliases("wings")["champion"] == 2
    with (
        pytest.raises(AlreadyExistsError, match=f"got version 2; expected version {before}"),
        checked_endpoint(one),
    ):
        pass
    assert models.aliases("wings")["champion"] == 2
    # Who deploys after it has seen it.
    with checked_endpoint(deployed(models, 1, tmp_path / "again")):
        assert models.aliases("wings")["champion"] == 1
