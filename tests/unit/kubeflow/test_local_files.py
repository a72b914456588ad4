"""What only this machine has is in the store before a run on a cluster begins."""

from __future__ import annotations

import json
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from kfp_suite.contracts.digests import digest_file
from kfp_suite.contracts.errors import (
    DataError,
    IntegrityError,
    MissingError,
    ParameterError,
    TransientError,
)
from kfp_suite.kubeflow.arguments import cluster_arguments
from kfp_suite.kubeflow.local_files import bring
from kfp_suite.kubeflow.package import Package, open_package
from kfp_suite.local import staging
from kfp_suite.notebook.cluster import Kubeflow
from kfp_suite.stores.files import read_file
from kfp_suite.stores.sources import materialize, parse_sources, pin
from kfp_suite.stores.store import open_store
from kfp_suite.testing.kfp_backend.backend import KfpDouble
from tests.storage.conftest import s3  # noqa: F401
from tests.unit.kubeflow.conftest import Command
from tests.unit.kubeflow.test_submitting import sent

PENGUINS = "package://palmerpenguins/data/penguins.csv"


@pytest.fixture
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, which is not Amazon's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/models"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder with three files, one of which a folder leaves out."""
    folder = tmp_path / "rows"
    (folder / "north").mkdir(parents=True)
    (folder / "2026-01-01.csv").write_text("a\n1\n")
    (folder / "north" / "2026-01-02.csv").write_text("a\n2\n")
    (folder / "_notes.csv").write_text("b\n")
    return folder


@cache
def train_and_deploy() -> Package:
    return open_package("train_and_deploy")


def arguments(store: str, **given: Any) -> dict[str, Any]:
    """Of a run whose one source, unless another is given, is in a bucket."""
    usual = {"model_name": "late", "label": "a", "store": store}
    values = {**usual, "sources": {"others": "gs://b/others.csv"}, **given}
    return cluster_arguments(train_and_deploy(), None, values)


def content(uri: str, folder: Path) -> list[bytes]:
    """What a step on a cluster reads there."""
    source = pin("rows", parse_sources({"rows": uri})["rows"])
    return [file.read_bytes() for file in materialize("rows", source, folder)]


def test_the_examples_run_from_a_bucket(command: Command, kfp: KfpDouble, store: str) -> None:
    penguins = ("train_and_deploy", "--params", "penguins", "--param", f"store={store}")
    done = command("submit", *penguins)
    assert done.exit_code == 0, done.exception
    source = sent(kfp)["sources"]["penguins"]
    assert source["uri"].startswith(f"{store}/_sources/")
    assert source["uri"].endswith("/penguins.csv")
    assert source["null_values"] == ["NA"]
    assert (
        read_file(source["uri"])
        == staging.select(PENGUINS, Path(), "").files["penguins.csv"].read_bytes()
    )
    line = f"sources.penguins.uri: {PENGUINS} brought to {source['uri']} ("
    assert line in done.output
    again = command("submit", *penguins, "--json")
    (brought,) = json.loads(again.output)["brought"]
    assert (brought["uri"], brought["new"]) == (source["uri"], False)


def test_a_schedule_says_that_it_reads_a_copy(command: Command, kfp: KfpDouble, store: str) -> None:
    flights = ("retrain", "--params", "flights", "--param", f"store={store}")
    done = command("schedule", *flights, "--cron", "0 3 * * *")
    assert done.exit_code == 0, done.exception
    assert "every run of the schedule reads these copies" in done.output
    (one,) = kfp.state.recurring.values()
    assert all(
        source["uri"].startswith(store)
        for source in one["runtime_config"]["parameters"]["sources"].values()
    )
    again = command("schedule", *flights, "--cron", "0 3 * * *")
    assert "is scheduled like this already" in again.output


def test_a_notebook_brings_files_too(kfp: KfpDouble, store: str) -> None:
    run = Kubeflow(kfp.url).submit("train_and_deploy", "penguins", store=store)
    assert "penguins.csv brought to s3://" in run._repr_html_()


@pytest.mark.parametrize("source", ["", "/", "/**/*.csv", "/2026*.csv", "/2026-01-01.csv"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_folders_and_patterns_hold_there_what_they_hold_here(
    store: str, rows: Path, tmp_path: Path, source: str, scheme: str
) -> None:
    uri = f"{scheme}{rows}{source}"
    values, (brought,) = bring(arguments(store, sources={"rows": uri}))
    there = content(values["sources"]["rows"], tmp_path / "there")
    assert there == content(uri, tmp_path)
    assert brought.files == len(there)


def test_a_window_finds_its_file(store: str, rows: Path) -> None:
    values, (brought,) = bring(arguments(store, sources={"rows": f"{rows}/${{start}}.csv"}))
    address = values["sources"]["rows"]
    assert address.endswith("/${start}.csv")
    assert read_file(address.replace("${start}", "2026-01-01")) == b"a\n1\n"
    assert brought.files == 1


@pytest.mark.parametrize("name", ["module_file", "baseline_statistics"])
def test_single_files_are_brought(store: str, tmp_path: Path, name: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def fit(training): ...\n")
    values, _ = bring(arguments(store, **{name: str(file)}))
    assert read_file(values[name]) == file.read_bytes()
    with pytest.raises(MissingError, match=name):
        arguments(store, **{name: str(tmp_path / "other.py")})


def test_paths_start_where_a_local_run_has_them(
    store: str, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rows / "north")
    file = tmp_path / "mine.yaml"
    file.write_text("{sources: {first: rows/2026-01-01.csv, second: {uri: 2026-01-02.csv}}}")
    given = {"model_name": "late", "label": "a", "store": store}
    assigned = {**given, "sources.second.uri": "2026-01-02.csv"}
    values = cluster_arguments(train_and_deploy(), str(file), assigned)
    assert values["sources"] == {
        "first": str(rows / "2026-01-01.csv"),
        "second": {"uri": str(rows / "north" / "2026-01-02.csv")},
    }


def test_the_address_is_of_the_content(store: str, rows: Path) -> None:
    file = rows / "2026-01-01.csv"
    given = arguments(store, sources={"rows": str(file)})
    (first,), (again,) = bring(given)[1], bring(given)[1]
    assert (first.uri, first.new, again.uri, again.new) == (first.uri, True, first.uri, False)
    file.write_text("a\n3\n")
    (other,) = bring(given)[1]
    assert other.uri != first.uri
    assert (read_file(first.uri), read_file(other.uri)) == (b"a\n1\n", b"a\n3\n")


def test_what_was_interrupted_is_finished(store: str, rows: Path, tmp_path: Path) -> None:
    given = arguments(store, sources={"rows": str(rows)})
    selected = staging.select(str(rows), Path(), "")
    open_store(store).create(f"_sources/{selected.folder}/2026-01-01.csv", b"a\n1\n")
    values, (brought,) = bring(given)
    assert brought.new
    assert content(values["sources"]["rows"], tmp_path / "there") == [b"a\n1\n", b"a\n2\n"]


def test_another_object_at_the_address_is_not_taken_for_it(store: str, rows: Path) -> None:
    given = arguments(store, sources={"rows": str(rows)})
    selected = staging.select(str(rows), Path(), "")
    open_store(store).create(f"_sources/{selected.folder}/2026-01-01.csv", b"a\n")
    with pytest.raises(IntegrityError, match="another object is at the address"):
        bring(given)


def test_a_file_that_changes_meanwhile_is_not_brought(
    store: str, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(store, sources={"rows": str(rows / "2026-01-01.csv")})

    def written_after(path: Path) -> str:
        found = digest_file(path)
        path.write_text("a\n4\n")
        return found

    monkeypatch.setattr(staging, "digest_file", written_after)
    with pytest.raises(DataError, match="changed while it was read"):
        bring(given)
    assert list(open_store(store).list()) == []


@pytest.mark.parametrize("place", ["models", "file:///tmp/models", "./models"])
def test_a_store_of_this_machine_is_refused(command: Command, kfp: KfpDouble, place: str) -> None:
    words = ("train_and_deploy", "--params", "penguins", "--param", f"store={place}")
    for command_words in (("submit", *words), ("schedule", *words, "--every", "6h")):
        refused = command(*command_words).exception
        assert isinstance(refused, ParameterError)
        assert str(refused).startswith("store: only this machine has this")
        assert "--param store=gs://" in str(refused)
    assert kfp.requests == []


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("sources", {"rows": "nowhere/rows.csv"}),
        ("sources", {"rows": {"uri": "package://palmerpenguins/data/nothing.csv"}}),
        ("sources", {"rows": "package://no_such_package/rows.csv"}),
    ],
)
def test_what_is_not_here_is_said_at_once(store: str, name: str, place: Any) -> None:
    with pytest.raises(MissingError, match=r"^sources\.rows"):
        arguments(store, **{name: place})


def test_a_store_that_is_not_reached_says_how_to_go_on(
    command: Command, kfp: KfpDouble, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    penguins = ("train_and_deploy", "--params", "penguins", "--param", f"store={store}")
    refused = command("submit", *penguins).exception
    assert isinstance(refused, TransientError)
    assert "port-forward" in str(refused)
    assert "--param sources.penguins.uri=" in str(refused)
    assert not kfp.state.runs
