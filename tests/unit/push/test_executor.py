"""Push: a blessed model becomes a version, once; one that is not stays out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kfp_suite.components.push.executor import PushParameters, push
from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHALLENGER, ModelStore
from tests.steps import STEPS, write_source


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_source(folder)
    for name, run in STEPS.items():
        if name not in ("push", "deploy"):
            run(folder, folder)
    return folder


def judged(made: Path, folder: Path, **verdict: object) -> Path:
    """A copy of the evaluation with another verdict."""
    shutil.copytree(made / "evaluation", folder / "evaluation")
    file = folder / "evaluation" / "evaluation.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | verdict))
    return folder / "evaluation"


def test_a_version_carries_its_verdict_and_its_run(made: Path, tmp_path: Path) -> None:
    run = {"name": "run-1", "id": "7", "pipeline": "p"}
    parameters = PushParameters(str(tmp_path / "store"), "rows", run=run)
    found = push(parameters, made / "model", made / "evaluation", tmp_path / "pushed")
    models = ModelStore(FolderStore(tmp_path / "store"))
    manifest = models.manifest("rows", found.version)
    assert manifest.run == run
    assert manifest.evaluation["blessed"] is True
    assert manifest.digest == found.digest
    assert models.aliases("rows") == {CHALLENGER: 1}
    pushed = json.loads((tmp_path / "pushed" / "pushed.json").read_text())
    assert (pushed["version"], pushed["store"]) == (1, str(tmp_path / "store"))


def test_a_model_that_is_not_blessed_stays_out_unless_asked_for(made: Path, tmp_path: Path) -> None:
    evaluation = judged(made, tmp_path, blessed=False, reasons=["roc_auc 0.5 is below 0.7"])
    store = tmp_path / "store"
    with pytest.raises(KfpSuiteError, match=r"rows: the model is not blessed; got roc_auc 0\.5 is"):
        push(PushParameters(str(store), "rows"), made / "model", evaluation, tmp_path / "out")
    assert not store.exists()
    assert not (tmp_path / "out").exists()
    parameters = PushParameters(str(store), "rows", require_blessed=False)
    assert push(parameters, made / "model", evaluation, tmp_path / "out").version == 1


def test_the_verdict_of_another_model_is_refused(made: Path, tmp_path: Path) -> None:
    evaluation = judged(made, tmp_path, model_digest="sha256:other")
    with pytest.raises(KfpSuiteError, match="the evaluation is of another model"):
        push(
            PushParameters(str(tmp_path / "store"), "rows"),
            made / "model",
            evaluation,
            tmp_path / "out",
        )


def test_a_model_that_was_touched_is_refused(made: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(made / "model", model)
    (model / "estimator.skops").write_bytes(b"other")
    with pytest.raises(KfpSuiteError, match=r"estimator\.skops"):
        push(
            PushParameters(str(tmp_path / "store"), "rows"),
            model,
            made / "evaluation",
            tmp_path / "out",
        )
    assert ModelStore(FolderStore(tmp_path / "store")).models() == []
