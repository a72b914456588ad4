"""Every notebook runs from top to bottom, offline, and is committed without outputs."""

from __future__ import annotations

import os
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from kfp_suite.testing.kfp_backend.backend import KfpDouble, running
from tests.contract.component_readmes import COMPONENTS

NOTEBOOKS = sorted((COMPONENTS.parent / "notebooks").glob("*.ipynb"))
SECONDS_A_CELL = 400
# What a reader has to find below the cells, as patterns in the text.
SHOWN = {
    "1_quick_start": [
        r"✓ succeeded",
        r"penguin-species version 1 ",
        r"Dataset 344 rows, 8 columns",
        r"Data validation 344 rows",
        r"Valid nothing contradicts the schema",
        r"Features .* bill_length_mm",
        r"Evaluation of species .* Blessed",
        r"version 1 \{ \"predictions\": \[ \"Chinstrap\" \]",
        r"train · cached",
        r"accuracy 0\.\d+ \(.*\) is below 0\.999",
        r"ingest transform train True$",
    ],
    "2_one_component": [
        r" sha256:[0-9a-f]{64} \{'eval': \d+, 'test': \d+, 'train': \d+\}",
        r"Dataset 2,000 rows, 4 columns",
        r"\{'plan': '\w+', 'minutes': [\d.]+, 'churned': (True|False), 'id': \d+\}",
        r"valid: False",
        r"Data validation .* Not valid .* plan ✕ error",
    ],
    "3_your_own_component": [
        r" 0\.2\d+ ",
        r"no label column 'specie'; did you mean 'species'\?",
        r"\['is-balanced', 'is-balanced', 'transform', 'transform', 'transform'\]",
        r"# PIPELINE DEFINITION # Name: only-if-balanced",
    ],
    "4_on_kubeflow": [
        r"train-and-deploy, version \S+, uploaded: http://127\.0\.0\.1:\d+/#/pipelines/details/",
        r"train-and-deploy, version \S+, is there already",
        r"train-and-deploy \d{4}-\d\d-\d\d .*: http://127\.0\.0\.1:\d+/#/runs/details/",
        r"state ✓ succeeded",
        r"unknown parameter 'lable'.*did you mean 'label'",
        r"schedule retrain when cron 0 0 3 \* \* \* is scheduled",
        r"is changed",
    ],
    "5_ask_an_endpoint": [
        r"version 1 \{ \"predictions\": \[ \"Adelie\", \"\w+\" \]",
        r"bill_length_mm",
        r"\{'name': 'penguin-species'",
        r"'model': 'sha256:[0-9a-f]{64}', 'dataset': 'sha256:[0-9a-f]{64}'",
        r"'seed': 0, 'estimator': 'hist_gradient_boosting'",
        r"# Predicts `species`",
        r"Search 8 trials for f1_macro",
        r"\('champion', 1, 'answered in train-and-deploy-",
    ],
}


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
    # kfp's own runner, which two notebooks use, splits the interpreter's path at a space.
    (tmp_path / "environment").symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "environment" / "bin" / "python"))
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


def read(notebook: Any) -> str:
    """What a reader sees below the cells: pages as their text, and what was printed."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            text = data.get("text/html") or data.get("text/markdown") or data["text/plain"]
            found.append(re.sub(r"<[^>]+>", " ", unescape(unescape(text))))
    return re.sub(r"\s+", " ", " ".join(found))


def test_the_quick_start_is_ten_cells() -> None:
    cells = nbformat.read(NOTEBOOKS[0], as_version=4).cells
    assert cells[0].source.partition("\n\n")[2].startswith("In ten cells: ")
    assert sum(cell.cell_type == "code" for cell in cells) == 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One working folder for all: what one notebook leaves is there for the next."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.serving
@pytest.mark.timeout(1200)
# Its own event loop leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("time", "path"),
    # The fourth starts a double of its own, and leaves nothing.
    [("first", path) for path in NOTEBOOKS]
    + [("again", path) for path in reversed(NOTEBOOKS) if not path.stem.startswith("4_")],
    ids=lambda value: getattr(value, "stem", value),
)
def test_it_runs_from_top_to_bottom(time: str, path: Path, folder: Path) -> None:
    notebook = executed(path, folder)
    shown = html_of(notebook)
    assert "<script" not in shown
    text = read(notebook)
    missing = [wanted for wanted in SHOWN[path.stem] if not re.search(wanted, text)]
    assert missing == [], text[:5000]
    errors = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stderr"
    ]
    assert errors == []


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_on_your_kubeflow_nothing_starts_before_you_say_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem == "4_on_kubeflow")
    with running(KfpDouble()) as yours:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", yours.url)
        with pytest.raises(CellExecutionError, match="say which bucket your runs read and write"):
            executed(path, tmp_path)
        assert yours.requests == []


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
