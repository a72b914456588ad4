"""The command: its exit codes and its one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from kfp_suite.cli.tables import print_whole
from tests.contract.pipeline_readme import GOLDEN

COMMAND = Path(sys.executable).with_name("kfp-suite")


def kfp_suite(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_help_names_every_command() -> None:
    done = kfp_suite("--help")
    assert done.returncode == 0
    for name in ("run", "serve", "compile", "list", "models", "runs", "reproduce", "doctor"):
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize(
    "name", ["run", "serve", "compile", "list", "models", "runs", "reproduce", "doctor"]
)
def test_every_command_has_help(name: str) -> None:
    done = kfp_suite(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: kfp-suite")


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['kfp-suite', '--help']\n"
        "from kfp_suite.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'kfp', 'numpy', 'pydantic', 'rich', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("run", "tarin_and_deploy"), 2, "error: no pipeline 'tarin_and_deploy'; did you mean"),
        (
            ("run", "train-and-deploy", "--params", "nothere.yaml"),
            2,
            "error: nothere.yaml: no such parameter file; known: ",
        ),
        (
            ("run", "train_and_deploy", "--params", "penguins", "--param", "seed=many"),
            2,
            "parameter 'seed' has the wrong type; got many; expected a whole number",
        ),
        (
            ("run", "train_and_deploy", "--param", "label=x"),
            2,
            "error: --param: missing parameter 'model_name'; "
            "set it in the parameter file or with --param model_name=VALUE",
        ),
        (("runs", "show", "nope"), 2, "no run 'nope'"),
        (("runs", "best", "--metric", "roc_auc"), 2, "error: kfp-suite-runs: no runs"),
        (("compile",), 2, "name the pipelines to compile, or give --all"),
        (("compile", "nope"), 2, "error: no pipeline 'nope'; known: "),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...], code: int, line: str, tmp_path: Path
) -> None:
    done = kfp_suite(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(("error: ", "Error: "))


def test_a_root_that_cannot_be_made_is_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = kfp_suite("run", "train_and_deploy", "--root", "file/x", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = kfp_suite("--debug", "run", "nope", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_list_names_pipelines_and_components() -> None:
    listed = json.loads(kfp_suite("list", "--json").stdout)
    assert "train_and_deploy" in {entry["name"] for entry in listed["pipelines"]}
    names = {entry["name"] for entry in listed["components"]}
    assert {"ingest", "validate", "transform", "train", "evaluate", "push", "deploy"} <= names
    assert all(entry["summary"].endswith(".") for group in listed.values() for entry in group)


def test_compile_writes_the_pipeline(tmp_path: Path) -> None:
    done = kfp_suite("compile", "--all", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
    assert done.stdout.splitlines() == [f"out/{name}.yaml" for name in names]
    assert (tmp_path / "out" / "train_and_deploy.yaml").read_text().startswith("# PIPELINE")


def test_doctor_answers_as_json() -> None:
    done = kfp_suite("doctor", "--json")
    answer = json.loads(done.stdout)
    assert answer["able"]["local"] is True
    assert done.returncode == 0
    assert {finding["area"] for finding in answer["findings"]} == {
        "local",
        "docker",
        "cluster",
        "kubeflow",
    }


def test_a_table_is_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    table = Table("run", "digest", box=None)
    table.add_row("train-and-deploy-2026-11-23-16-23-37-778655", "sha256:c56be9b1df85")
    print_whole(table)
    out = capsys.readouterr().out
    assert "train-and-deploy-2026-11-23-16-23-37-778655" in out
    assert "sha256:c56be9b1df85" in out


@pytest.mark.parametrize(
    ("given", "used"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "active")]
)
def test_threads_that_wait_leave_the_cpu_to_others(given: dict[str, str], used: str) -> None:
    code = "import os, kfp_suite.cli.main; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given
    )
    assert done.stdout == f"{used}\n"
