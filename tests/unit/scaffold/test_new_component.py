"""A new component passes the checks at once: in a checkout of the suite, and in a project."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_suite.components.contracts.errors import AlreadyExistsError, ParameterError
from kfp_suite.pipelines.cli.main import cli
from kfp_suite.pipelines.scaffold.component import new_component
from tests.contract.component_readmes import COMPONENTS

ROOT = COMPONENTS.parent
NAMES = ["a", "row_count", "zzz_with_a_long_name"]


def ruff(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--config", str(ROOT / "pyproject.toml"), "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_in_the_suite_it_is_formatted_listed_and_layered(checkout: Path, name: str) -> None:
    made = new_component(name, checkout)
    assert made.folder == checkout / "components" / name
    assert made.test == checkout / "tests" / "unit" / name / f"test_{name}.py"
    ruff(checkout, "check")
    ruff(checkout, "format", "--check")
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    assert made.package in packages
    assert packages == sorted(packages)
    stages = project["tool"]["importlinter"]["contracts"][1]["layers"][0].split(" | ")
    assert made.package in stages


@pytest.mark.parametrize("name", NAMES)
def test_in_a_project_its_own_test_passes_and_it_compiles(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(cli, ["new", "component", name, "--into", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    assert f"python -m pytest {tmp_path}/tests/test_{name}.py" in done.output
    ruff(tmp_path, "format", "--check")
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/test_{name}.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in tested.stdout, tested.stdout
    code = (
        f"from kfp import compiler; from {name}.component import {name}; "
        f"compiler.Compiler().compile({name}, 'compiled.yaml')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
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
