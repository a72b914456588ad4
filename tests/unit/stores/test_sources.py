"""Sources: which files and objects a URI names, each once, none left out without a word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.contracts.errors import InputError
from kfp_suite.stores.matching import fixed_prefix, matching_names
from kfp_suite.stores.sources import local_files, parse_sources, pin

NAMES = (
    "a-b.csv",
    "a.csv",
    "a/1.csv",
    "a/b/2.csv",
    "a/b/3.tsv",
    "a/_temporary/0/4.csv",
    "a/.checkpoints/5.csv",
    "_SUCCESS",
    ".hidden.csv",
    "x[1].csv",
    "x1.csv",
)
FOLDERS = ("", "a/", "a/b/")
"""As objects, these are what a bucket's browser makes for a folder."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("i\n1\n")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ["a-b.csv", "a.csv", "a/1.csv", "a/b/2.csv", "a/b/3.tsv", "x1.csv", "x[1].csv"]),
        ("/", ["a-b.csv", "a.csv", "a/1.csv", "a/b/2.csv", "a/b/3.tsv", "x1.csv", "x[1].csv"]),
        ("/a", ["a/1.csv", "a/b/2.csv", "a/b/3.tsv"]),
        ("/*.csv", ["a-b.csv", "a.csv", "x1.csv", "x[1].csv"]),
        ("/?.csv", ["a.csv"]),
        ("/a/*", ["a/1.csv"]),
        ("/*/*.csv", ["a/1.csv"]),
        ("/**/*.csv", ["a-b.csv", "a.csv", "a/1.csv", "a/b/2.csv", "x1.csv", "x[1].csv"]),
        ("/**/b/*", ["a/b/2.csv", "a/b/3.tsv"]),
        ("/a/**", ["a/1.csv", "a/b/2.csv", "a/b/3.tsv"]),
        ("/x[0-9].csv", ["x1.csv"]),
        ("/.*.csv", [".hidden.csv"]),
        ("/a/_*/**/*.csv", ["a/_temporary/0/4.csv"]),
        ("/*.parquet", []),
    ],
)
def test_a_folder_and_a_bucket_have_the_same_files(
    path: str, expected: list[str], data: Path
) -> None:
    objects = [f"data/{name}" for name in (*NAMES, *FOLDERS, "a_$folder$")]
    listed = [name for name in objects if name.startswith(fixed_prefix(f"data{path}".rstrip("/")))]
    in_bucket = matching_names(listed, f"data{path}".rstrip("/"))
    assert in_bucket == [f"data/{name}" for name in expected]
    if expected:
        found = list(local_files(f"{data}{path}", "sources.t").values())
    else:
        with pytest.raises(InputError, match="no file matches"):
            local_files(f"{data}{path}", "sources.t")
        found = []
    assert found == [data / name for name in expected]


@pytest.mark.parametrize("name", ["x[1].csv", "_SUCCESS", ".hidden.csv"])
def test_a_name_in_full_is_that_file(name: str, data: Path) -> None:
    assert local_files(str(data / name), "sources.t") == {name: data / name}


def test_a_bracket_in_a_folder_is_no_pattern(data: Path) -> None:
    folder = data.rename(data.with_name("data [1]"))
    assert list(local_files(str(folder / "a"), "t")) == ["1.csv", "b/2.csv", "b/3.tsv"]
    assert list(local_files(f"{folder}/a/*.csv", "t")) == ["1.csv"]
    assert list(local_files("a/*.csv", "t", folder)) == ["1.csv"]


@pytest.mark.parametrize("uri", ["*.csv", "./*.csv", "file://*.csv"])
def test_a_pattern_without_a_folder_starts_at_the_base(
    uri: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ["a-b.csv", "a.csv", "x1.csv", "x[1].csv"]
    assert list(local_files(uri, "t", data)) == expected
    monkeypatch.chdir(data)
    assert list(local_files(uri, "t")) == expected


@pytest.mark.parametrize("uri", ["", "/**/*.csv", "/**"])
def test_each_file_is_read_once_through_links(uri: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "2024").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in (data / "2024" / "a.csv", tmp_path / "elsewhere" / "b.csv", tmp_path / "c.csv"):
        path.write_text("i\n1\n")
    for link, target in (("latest", "."), ("1", "2024"), ("2025", "../elsewhere"), ("z", "2024")):
        (data / link).symlink_to(target)
    (data / "c.csv").symlink_to("../c.csv")
    (data / "d.csv").symlink_to("2024/a.csv")
    assert list(local_files(f"{data}{uri}", "t")) == ["2024/a.csv", "2025/b.csv", "c.csv"]
    assert list(local_files(f"{data}/latest/latest/*/a.csv", "t").values()) == [
        data / "latest" / "latest" / "2024" / "a.csv"
    ]


@pytest.mark.parametrize(
    ("uri", "is_meant"),
    [
        ("", True),
        ("/2023", True),
        ("/**/*.csv", True),
        ("/*/*.csv", True),
        ("/*.csv", False),
        ("/a/*", False),
    ],
)
def test_a_link_to_nothing_is_said_where_it_is_meant(uri: str, is_meant: bool, data: Path) -> None:
    (data / "2023").symlink_to("/mnt/nowhere/2023")
    if not is_meant:
        assert local_files(f"{data}{uri}", "t")
        return
    with pytest.raises(InputError) as caught:
        local_files(f"{data}{uri}", "sources.t")
    assert str(caught.value) == (
        f"sources.t: {data}/2023: a link that leads to nothing; got a link to "
        "/mnt/nowhere/2023; mount or restore what it leads to, or remove it"
    )


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Without the rights of root, who may read everything; `folder` may be read."""
    if os.getuid() != 0:
        yield
        return
    for parent in (folder, *folder.parents):  # pytest's folders are for their owner alone
        if parent.owner() == "root" and parent.stat().st_mode & 5 != 5:
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["a/b/2.csv", "a/b"])
def test_what_may_not_be_read_is_named(name: str, data: Path) -> None:
    path = data / name
    path.chmod(0)
    spec = parse_sources({"t": {"uri": str(data), "format": "csv"}})["t"]
    try:
        with as_nobody(data), pytest.raises(InputError) as caught:
            pin("t", spec)
    finally:
        path.chmod(0o755)
    assert str(caught.value).endswith(
        f"{path}: permission denied; give the user who runs this permission to read it"
    )


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"t": ""}, "sources.t.uri: no URI"),
        ({"t": {"uri": "  "}}, "sources.t.uri: no URI"),
        ({"T": "a.csv", "t": "b.csv"}, "sources: two names that SQL takes for one; got T, t"),
    ],
)
def test_a_source_that_is_none_is_one_line(sources: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_sources(sources)
    assert str(caught.value).startswith(message)
    with pytest.raises(InputError, match="no path"):
        local_files("", "sources.t", Path())


def test_capital_letters_in_a_suffix_tell_the_format(tmp_path: Path) -> None:
    import gzip
    import zipfile

    (tmp_path / "A.CSV").write_text("i\n1\n")
    (tmp_path / "B.CSV.GZ").write_bytes(gzip.compress(b"i\n2\n"))
    with zipfile.ZipFile(tmp_path / "C.Csv.ZIP", "w") as archive:
        archive.writestr("C.CSV", "i\n3\n")
    pinned = {"t": pin("t", parse_sources({"t": str(tmp_path)})["t"])}
    assert pinned["t"].format == "csv"
    split = {"by": "hash", "eval": 0, "test": 0}
    dataset = ingest(
        IngestParameters(split=split), pinned, tmp_path / "out" / "d", tmp_path / "out" / "p"
    )
    assert dataset.table("train")["i"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://reader:hunter2@db/shop",
        "postgresql://db/shop?user=reader&password=hunter2",
        "mysql://reader:hunter2@db/shop",
        "s3://key:hunter2@bucket/rows.csv",
    ],
)
def test_a_password_in_a_source_is_refused_before_anything_is_sent(uri: str) -> None:
    """Kubeflow shows and keeps every parameter of a run, so resolve would refuse it too late."""
    with pytest.raises(InputError, match=r"^sources\.rows\.uri: a password in a") as refused:
        parse_sources({"rows": {"uri": uri, "query": "SELECT 1"}})
    assert "hunter2" not in str(refused.value)


def test_a_source_that_is_no_uri_is_an_error_of_ours() -> None:
    with pytest.raises(InputError, match=r"^sources\.rows\.uri: not a URI: Invalid IPv6 URL$"):
        parse_sources({"rows": "https://[::1"})
