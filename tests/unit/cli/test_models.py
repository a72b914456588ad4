"""Models: how they are called, and what is shown of their training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kfp_suite.components.contracts.errors import InputError, ParameterError
from kfp_suite.components.stores.folder import FolderStore
from kfp_suite.components.stores.versions import ModelStore, VersionManifest
from kfp_suite.pipelines.cli.models import _training, models
from kfp_suite.pipelines.cli.references import find_reference
from tests.unit.evaluate.cases import write_model

TRAINED = {"task": "auto", "threshold": 0.5, "hyperparameters": {"n_estimators": 400.0, "C": 0.5}}


@pytest.mark.parametrize(
    ("task", "threshold"), [("regression", False), ("multiclass", False), ("binary", True)]
)
def test_what_is_shown_of_training(task: str, threshold: bool, tmp_path: Path) -> None:
    write_model(tmp_path / "houses" / "1" / "model-1", task)
    recipe: dict[str, Any] = {"train": {**TRAINED, "class_weight": {}}}
    manifest = VersionManifest("houses", 1, "sha256:1", "model-1", {}, recipe, {}, {}, {})
    shown = _training(ModelStore(FolderStore(tmp_path)), manifest)
    assert json.dumps(shown["hyperparameters"]) == '{"n_estimators": 400, "C": 0.5}'
    assert shown["task"] == task
    assert ("threshold" in shown) is threshold
    assert "class_weight" not in shown


def test_a_model_of_local_runs_needs_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match="not a model reference"):
        find_reference("penguins")
    assert CliRunner().invoke(models, ["list"]).output == "no models in kfp-suite-runs/models\n"
    Path("kfp-suite-runs/models/penguins").mkdir(parents=True)
    assert find_reference("penguins") == ("kfp-suite-runs/models", "penguins", "")
    assert find_reference("penguins/2") == ("kfp-suite-runs/models", "penguins", "2")
    assert find_reference("gs://bucket/penguins/2") == ("gs://bucket", "penguins", "2")
    Path("penguins").mkdir()  # a store that is called as a model is
    assert find_reference("penguins/wings/2") == ("penguins", "wings", "2")


def test_what_is_no_store_is_not_one_without_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def refusal(store: str) -> str:
        refused = CliRunner().invoke(models, ["list", store]).exception
        assert isinstance(refused, InputError)
        return str(refused)

    assert refusal("nowhere") == "nowhere: no such folder; give the folder of a store"
    Path("empty").mkdir()
    assert CliRunner().invoke(models, ["list", "empty"]).output == "no models in empty\n"
    for store in ("wings", "kfp-suite-runs/models"):
        folder = Path(store) / "penguins" / "1"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    said = "a model, not a store; got wings/penguins; kfp-suite models show wings/penguins"
    assert refusal("wings/penguins") == said
    assert refusal("wings/penguins/").endswith("kfp-suite models show wings/penguins")
    assert refusal("penguins").endswith("kfp-suite models show penguins")
    assert (
        refusal("missing/penguins")
        == "missing/penguins: no such folder; give the folder of a store"
    )
