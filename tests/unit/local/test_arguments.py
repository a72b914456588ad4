"""What a local run is called with: where paths start from, and what is not given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfp_suite.local.arguments import run_arguments
from kfp_suite.local.catalog import find_pipeline, load
from kfp_suite.local.local import Root, open_root


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A parameter file in a folder beside the working folder; both hold rows.csv."""
    for name in ("given", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_text(f"x,y\n{name},1\n")
    monkeypatch.chdir(tmp_path / "here")
    file = tmp_path / "given" / "p.yaml"
    file.write_text("model_name: m\nlabel: y\nstore: null\nsources: {a: rows.csv, b: rows.csv}\n")
    return file


def arguments(file: Path, assigned: dict[str, Any]) -> dict[str, Any]:
    root = open_root(Path("../here/../runs"))
    return run_arguments(load(find_pipeline("train_and_deploy")), file, assigned, root)


@pytest.mark.parametrize("name", ["sources.a", "sources.a.uri"])
def test_a_path_starts_from_where_it_is_written(file: Path, name: str) -> None:
    source = arguments(file, {name: "rows.csv"})["sources"]
    first = source["a"] if name == "sources.a" else source["a"]["uri"]
    assert Path(first).read_text() == "x,y\nhere,1\n"
    assert Path(source["b"]).read_text() == "x,y\ngiven,1\n"


def test_a_store_that_is_not_given_is_the_root_s(file: Path, tmp_path: Path) -> None:
    assert arguments(file, {})["store"] == str(tmp_path / "runs" / "models")
    assert arguments(file, {"store": "../s"})["store"] == str(tmp_path / "s")


def test_the_cache_is_another_when_a_library_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    before = Root(tmp_path).cache
    (tmp_path / "scikit_learn-9.9.9.dist-info").mkdir()
    assert Root(tmp_path).cache != before
