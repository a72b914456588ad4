"""A new component passes the checks at once: in a checkout of the suite, and in a project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_suite.cli.main import cli
from kfp_suite.contracts.errors import AlreadyExistsError, ParameterError
from kfp_suite.scaffold.component import new_component
from tests.contract.component_readmes import COMPONENTS

ROOT = COMPONENTS.parent
NAMES = ["a", "row_count", "zzz_with_a_long_name"]


def passes(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ruff(folder: Path, *arguments: str) -> None:
    passes(folder, "-m", "ruff", *arguments, "--config", str(ROOT / "pyproject.toml"), ".")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_in_the_suite_it_is_formatted(checkout: Path, name: str) -> None:
    made = new_component(name, checkout)
    assert made.folder == checkout / "components" / name
    assert made.test == checkout / "tests" / "unit" / name / f"test_{name}.py"
    ruff(checkout, "check")
    ruff(checkout, "format", "--check")


def test_in_the_suite_every_check_passes_at_once(checkout: Path) -> None:
    """Types, imports, the page, the metadata and its own test, in a copy of the suite that is
    found before the one that is installed."""
    copied = shutil.ignore_patterns("__pycache__")
    for folder in ("components", "pipelines", "images", "src", "tests/contract", "tests/doubles"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=copied, symlinks=True)
    for file in ("tests/conftest.py", "tests/steps.py"):
        shutil.copyfile(ROOT / file, checkout / file)
    made = new_component("row_count", checkout)
    first = str(checkout / "src")

    contract = passes(
        checkout,
        "-m",
        "pytest",
        "tests/contract/test_definitions.py",
        "-k",
        "row_count",
        PYTHONPATH=first,
    )
    assert "3 passed" in contract
    assert "3 passed" in passes(checkout, "-m", "pytest", str(made.test), PYTHONPATH=first)
    packages = ("-p", made.package, "-p", "tests.unit.row_count")
    passes(checkout, "-m", "mypy", *packages, PYTHONPATH=first, MYPYPATH=first)
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    assert "0 broken" in passes(checkout, "-c", lint, PYTHONPATH=first)


@pytest.mark.parametrize("name", NAMES)
def test_in_a_project_its_own_test_passes_and_it_compiles(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(cli, ["new", "component", name, "--into", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    assert f"python -m pytest {tmp_path}/tests/test_{name}.py" in done.output
    ruff(tmp_path, "format", "--check")
    page = (tmp_path / name / "README.md").read_text()
    assert f"from {name}.component import {name}" in page
    assert f"| `{name}_output` | Artifact | A folder with `{name}.json`:" in page
    own = ("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/test_{name}.py")
    assert "3 passed" in passes(tmp_path, *own)
    code = (
        f"from kfp import compiler; from {name}.component import {name}; "
        f"compiler.Compiler().compile({name}, 'compiled.yaml')"
    )
    passes(tmp_path, "-c", code)
    assert "install" not in (tmp_path / "compiled.yaml").read_text()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    made = new_component("row_count", tmp_path)
    (made.folder / "executor.py").write_text("mine")
    with pytest.raises(AlreadyExistsError, match="choose another name"):
        new_component("row_count", tmp_path)
    assert (made.folder / "executor.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["Row", "row-count", "class", "../row", "", "r" * 21])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="not a component's name"):
        new_component(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
