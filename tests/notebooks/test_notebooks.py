"""Every notebook runs from top to bottom, offline, and is committed without outputs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.contract.component_readmes import COMPONENTS

NOTEBOOKS = sorted((COMPONENTS.parent / "notebooks").glob("*.ipynb"))
SECONDS_A_CELL = 180


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No way out but the loopback, and no settings of who runs the tests."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    # A user has no such setting: a warning of a library ends no notebook.
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)


def executed(path: Path, folder: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def html_of(notebook: Any) -> str:
    return "".join(
        output.data.get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "data" in output
    )


@pytest.mark.serving
@pytest.mark.timeout(600)
# Its own event loop leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    notebook = executed(path, tmp_path)
    shown = html_of(notebook)
    assert len(shown) > 500
    assert "<script" not in shown
    errors = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stderr"
    ]
    assert errors == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_as_it_was_written(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert notebook.cells[0].source.startswith("# ")
    text = "".join(cell.source for cell in notebook.cells)
    assert not re.search(re.escape(os.sep + "work"), text)


def test_the_quick_start_is_ten_cells_or_fewer() -> None:
    code = [
        cell for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells if cell.cell_type == "code"
    ]
    assert len(code) <= 10
    assert len(NOTEBOOKS) == 5
