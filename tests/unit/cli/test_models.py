"""Models: how they are called, and what is shown of their training."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kfp_suite.cli.models import _training, models
from kfp_suite.cli.references import find_reference
from kfp_suite.contracts.errors import InputError, MissingError, ParameterError
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore, VersionManifest
from tests.storage.test_versions import write_model as published_model
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


def test_of_a_module_what_it_returned_is_shown(tmp_path: Path) -> None:
    """And not the estimator that it replaces, which nobody trained."""
    path = write_model(tmp_path / "houses" / "1" / "model-1", "binary") / "model.json"
    content = json.loads(path.read_text())
    content["recipe"]["module_digest"] = "sha256:2"
    content["notes"]["returned"] = "VotingClassifier"
    path.write_text(json.dumps(content))
    recipe: dict[str, Any] = {"train": {**TRAINED, "estimator": "ridge"}}
    manifest = VersionManifest("houses", 1, "sha256:1", "model-1", {}, recipe, {}, {}, {})
    shown = _training(ModelStore(FolderStore(tmp_path)), manifest)
    assert shown["estimator"] == "VotingClassifier, of the user's module"


def test_a_model_of_local_runs_needs_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingError, match="no model 'penguins'"):
        CliRunner().invoke(models, ["show", "penguins"], catch_exceptions=False)
    with pytest.raises(MissingError, match="no version 2 of 'penguins'"):
        CliRunner().invoke(models, ["show", "penguins/2"], catch_exceptions=False)
    with pytest.raises(ParameterError, match="not a model reference"):
        find_reference("/penguins")
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


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store below a path with a space, with two versions; champion is 2."""
    uri = tmp_path / "my store"
    opened = ModelStore(FolderStore(uri))
    for version in (1, 2):
        folder = published_model(tmp_path / f"m{version}", b"%d" % version)
        opened.publish("late", folder, evaluation={}, run={}, parameters={})
        opened.set_alias("late", "champion", version, "answered")
    return str(uri)


def test_a_run_without_a_name_is_shown_by_its_id(tmp_path: Path) -> None:
    """As the runs of a schedule are."""
    opened = ModelStore(FolderStore(tmp_path / "store"))
    for model, run in (
        ("named", {"name": "nightly", "id": "4f"}),
        ("late", {"name": "", "id": "4f"}),
    ):
        folder = published_model(tmp_path / model, model.encode())
        opened.publish(model, folder, evaluation={}, run=run, parameters={})
    for model, shown in (("named", "nightly"), ("late", "4f")):
        result = CliRunner().invoke(
            models, ["show", f"{tmp_path / 'store'}/{model}/1"], catch_exceptions=False
        )
        line = next(row for row in result.output.splitlines() if "by run" in row)
        assert shown in line


def said(*words: str) -> list[str]:
    """The lines of a command that succeeds."""
    done = CliRunner().invoke(models, words, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output.splitlines()


def test_an_alias_that_moves_says_what_stays_and_how_that_follows(store: str) -> None:
    rollout = ["kfp-suite", "run", "progressive_delivery", "--param", "model_name=late"]
    rollout += ["--param", f"store={store}", "--param", "version=1"]
    stays = "endpoints of deploy and rollout stay on the version that they serve"
    for moved in (
        ("rollback", f"{store}/late"),
        ("rollback", f"{store}/late"),  # the second changes nothing, and says the same
        ("alias", f"{store}/late/1", "champion", "--reason", "it is slow"),
        ("alias", f"{store}/late/1", "spare"),
    ):
        first, second, here, cluster = said(*moved)
        assert first.startswith(f"late: {moved[2] if len(moved) > 2 else 'champion'} is version 1")
        follows = f"what serves {store}/late follows it; " if moved[-1] != "spare" else ""
        assert second == follows + stays
        assert shlex.split(here.partition(":")[2]) == [*rollout, "--param", "manifest=FILE"]
        assert shlex.split(cluster.partition(":")[2]) == [
            *rollout, "--param", "target=cluster", "--param", "namespace=NAMESPACE"
        ]  # fmt: skip
    said("alias", f"{store}/late/2", "champion", "--reason", "it is fast")
    said("alias", f"{store}/late/1", "champion")
    moves = said("alias", f"{store}/late", "champion", "--history")
    assert [move.split(maxsplit=1)[1].lstrip() for move in moves] == [
        "version 1  answered",
        "version 2  answered",
        "version 1  rollback from 2",
        "version 2  set by hand: it is fast",
        "version 1  set by hand",
    ]


def test_what_is_not_there_is_one_line_however_it_is_asked_for(tmp_path: Path, store: str) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere", store):
        for words in (
            ("show", f"{place}/none"),
            ("verify", f"{place}/none"),
            ("best", f"{place}/none", "--metric", "rmse"),
            ("rollback", f"{place}/none"),
            ("alias", f"{place}/none", "champion"),
            ("alias", f"{place}/none/1", "champion"),
        ) * 2:
            refused = CliRunner().invoke(models, words)
            assert isinstance(refused.exception, InputError), words
            assert refused.output == ""
            line = str(refused.exception)
            assert line.startswith(f"{place}: no "), words
            assert line.endswith("known: late" if place == store else "known: none"), words
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_what_else_lies_in_a_store_changes_no_answer(store: str) -> None:
    asked = (
        ("list", store, "--json"),
        ("verify", f"{store}/late"),
        ("alias", f"{store}/late", "champion", "--history"),
    )
    before = [said(*words) for words in asked]
    for name in (
        "desktop.ini",
        ".DS_Store",
        "lost+found/x",
        "late/.DS_Store",
        "late/notes/1/manifest.json",
        "late/01/manifest.json",
        "late/1/.DS_Store",
        "late/_numbers/.nfs0001",
        "late/_numbers/x.json",
        "late/_aliases/champion/3.json.bak",
        "late/_aliases/champion/latest.json",
        "late/_aliases/notes.txt",
        "Not A Model/1/manifest.json",
    ):
        (Path(store) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(store) / name).write_text("not ours")
    assert [said(*words) for words in asked] == before
    assert (
        said("rollback", f"{store}/late")[0]
        == "late: champion is version 1 again (rollback from 2)"
    )


def test_a_version_that_cannot_be_read_hides_no_other(store: str) -> None:
    for name, content in (("late/3", '{"format_version": 99}'), ("other/1", "not JSON")):
        (Path(store) / name).mkdir(parents=True)
        (Path(store) / name / "manifest.json").write_text(content)
    listed = json.loads(said("list", store, "--json")[0])
    assert [(one["model"], one["version"], "digest" in one) for one in listed] == [
        ("late", 1, True),
        ("late", 2, True),
        ("late", 3, False),
        ("other", 1, False),
    ]
    assert f"{store}/late/3/manifest.json: unknown version format" in listed[2]["error"]
    done = CliRunner().invoke(models, ["list", store])
    assert done.stdout.count("sha256:") == 2
    assert done.stdout.count("unreadable") == 2
    assert done.stderr.splitlines() == [listed[2]["error"], listed[3]["error"]]
    for reference in ("late/3", "other", "other/1"):
        refused = CliRunner().invoke(models, ["show", f"{store}/{reference}"]).exception
        assert isinstance(refused, InputError)
