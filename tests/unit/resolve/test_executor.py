"""Resolve: a text changes exactly when what it names does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_suite.components.resolve.executor import Resolved, resolve
from kfp_suite.contracts.errors import IntegrityError, KfpSuiteError
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.pins import pinned_sources
from kfp_suite.stores.versions import CHAMPION, ModelStore
from tests.steps import STEPS, write_source


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_source(folder)
    for run in STEPS.values():
        run(folder, folder)
    return folder


def pins(folder: Path, **more: str) -> Resolved:
    source = folder / "rows.csv"
    given = {"module_file": "", "store": "", "model_name": "rows"} | more
    return resolve({"rows": str(source)}, output=folder / "pins", **given)


def test_the_same_content_is_the_same_text(tmp_path: Path) -> None:
    write_source(tmp_path)
    first = pins(tmp_path)
    write_source(tmp_path)
    assert pins(tmp_path) == first
    rows = tmp_path / "rows.csv"
    rows.write_text(rows.read_text() + "401,1.0,a,false\n")
    assert pins(tmp_path).sources != first.sources
    assert json.loads((tmp_path / "pins" / "pins.json").read_text())["module"] is None


def test_a_module_is_pinned_by_its_digest(tmp_path: Path) -> None:
    write_source(tmp_path)
    module = tmp_path / "ours.py"
    module.write_text("def fit(training): ...\n")
    first = json.loads(pins(tmp_path, module_file=str(module)).module)
    module.write_text("def fit(training): return None\n")
    second = json.loads(pins(tmp_path, module_file=str(module)).module)
    assert first["uri"] == second["uri"]
    assert first["digest"] != second["digest"]


def test_the_champion_is_pinned_by_version_and_manifest(made: Path, tmp_path: Path) -> None:
    models = ModelStore(FolderStore(made / "store"))
    assert pins(made, store=str(made / "store")).champion == ""
    models.set_alias("rows", CHAMPION, 1, "test")
    champion = json.loads(pins(made, store=str(made / "store")).champion)
    assert champion == {
        "uri": models.uri("rows", 1),
        "version": 1,
        "manifest_digest": models.manifest_digest("rows", 1),
    }


def test_the_pins_of_many_files_are_a_short_text_that_holds_them(tmp_path: Path) -> None:
    folder, store = tmp_path / "rows", str(tmp_path / "store")
    folder.mkdir()
    for number in range(1_500):
        (folder / f"{number}.csv").write_text("a\n1\n")
    first = resolve({"rows": str(folder)}, "", store, "rows", tmp_path / "pins").sources
    assert len(first) < 500
    assert len(pinned_sources(first)["rows"].objects) == 1_500
    assert resolve({"rows": str(folder)}, "", store, "rows", tmp_path / "again").sources == first
    for_people = json.loads((tmp_path / "pins" / "pins.json").read_text())["sources"]
    assert len(for_people["rows"]["objects"]) == 1_500
    (folder / "1.csv").write_text("a\n2\n")
    second = resolve({"rows": str(folder)}, "", store, "rows", tmp_path / "again").sources
    assert second != first
    assert ModelStore(FolderStore(Path(store))).models() == []
    (file,) = (Path(json.loads(second)["uri"]),)
    file.write_text(file.read_text().replace("rows", "else"))
    with pytest.raises(IntegrityError, match="the file has changed since the run began"):
        pinned_sources(second)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "sources: no source; expected a name and a URI"),
        ({"my rows": "a.csv"}, "sources: not a source name; got my rows"),
        ({"rows": {"url": "a.csv"}}, "did you mean 'uri'?"),
        ({"rows": "nowhere.csv"}, "sources.rows: no file matches; got nowhere.csv"),
        ({"rows": {"uri": "nowhere.csv", "query": "SELECT 1"}}, "files have no query"),
        ({"rows": {"uri": "a.csv", "encoding": "utf-99"}}, "encoding: not an encoding"),
    ],
)
def test_a_bad_source_is_one_line(sources: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(KfpSuiteError) as caught:
        resolve(sources, "", "", "", tmp_path / "pins")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pins").exists()
