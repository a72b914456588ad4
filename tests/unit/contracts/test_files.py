"""Files and folders appear whole or not at all; digests cover content."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_suite.contracts.atomic import remove_leftovers, whole_file, whole_folder
from kfp_suite.contracts.canonical import (
    canonical_json,
    read_json,
    write_file,
    write_json,
)
from kfp_suite.contracts.digests import (
    check_files,
    digest_bytes,
    digest_file,
    digest_files,
    digest_value,
    files_below,
)
from kfp_suite.contracts.errors import (
    ContractError,
    IntegrityError,
    MissingError,
    StoreError,
)
from kfp_suite.stores.folder import FolderStore

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_equal_values_have_equal_canonical_bytes(value: dict[str, object]) -> None:
    reordered = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(reordered)
    assert digest_value(value) == digest_value(reordered)


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_write_json_round_trips_and_leaves_nothing_beside(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"é": [1, None]})
    assert read_json(tmp_path / "a" / "b.json") == {"é": [1, None]}
    assert os.listdir(tmp_path / "a") == ["b.json"]


def test_reading_what_is_not_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ContractError, match=r"x\.json: not valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(MissingError, match=r"y\.json: no such file"):
        read_json(tmp_path / "y.json")


def test_a_full_disk_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space left; free space or choose another folder"):
        write_file(tmp_path / "x", b"abc")
    assert os.listdir(tmp_path) == []


def test_a_whole_folder_replaces_what_was_there(tmp_path: Path) -> None:
    final = tmp_path / "out"
    final.mkdir()
    (final / "old").touch()
    with whole_folder(final) as folder:
        (folder / "new").touch()
    assert os.listdir(final) == ["new"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    final = tmp_path / "out"
    final.mkdir()
    (final / "old").touch()
    with pytest.raises(RuntimeError, match="boom"), whole_folder(final) as folder:
        (folder / "new").touch()
        raise RuntimeError("boom")
    assert os.listdir(final) == ["old"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_kill_leaves_no_output_and_the_next_try_succeeds(tmp_path: Path) -> None:
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, pathlib, sys\n"
            "from kfp_suite.contracts.atomic import whole_folder\n"
            "with whole_folder(pathlib.Path(sys.argv[1])) as folder:\n"
            "    (folder / 'half').touch()\n"
            "    os.kill(os.getpid(), 9)\n",
            str(tmp_path / "out"),
        ],
        check=False,
    )
    assert killed.returncode == -9
    assert not (tmp_path / "out").exists()
    with whole_folder(tmp_path / "out") as folder:
        (folder / "whole").touch()
    assert os.listdir(tmp_path / "out") == ["whole"]
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127])
def test_a_name_may_be_as_long_as_file_systems_allow(tmp_path: Path, name: str) -> None:
    write_file(tmp_path / name, b"x")
    FolderStore(tmp_path / "store").create(f"folder/{name}", b"x")
    assert (tmp_path / "store" / "folder" / name).read_bytes() == b"x"
    (tmp_path / name).unlink()
    with whole_folder(tmp_path / name) as folder:
        (folder / "whole").touch()
    assert sorted(os.listdir(tmp_path)) == sorted(["store", name])


_WRITERS = """
import pathlib, sys
from kfp_suite.contracts.atomic import whole_file, whole_folder
final, own = pathlib.Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    with whole_folder(final / "folder") as folder:
        for name in "ab":
            (folder / name).write_text(f"{own} {number}")
    with whole_file(final / "file") as file:
        file.write(f"{own} {number}".encode())
"""


def test_writers_at_once_leave_the_whole_output_of_one(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITERS, str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n")
    assert [writer.returncode for writer in writers] == [0] * 4
    a, b = ((tmp_path / "folder" / name).read_text() for name in "ab")
    assert a == b
    assert (tmp_path / "file").read_text().endswith(" 39")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_the_siblings_of_living_writers_stay(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as first:
        (first / "first").touch()
        with whole_folder(tmp_path / "out") as second:
            (second / "second").touch()
        with whole_file(tmp_path / "out.json") as file:
            file.write(b"{}")
            remove_leftovers(tmp_path / "out.json")
        assert os.listdir(first) == ["first"]
    assert os.listdir(tmp_path / "out") == ["first"]
    assert sorted(os.listdir(tmp_path)) == ["out", "out.json"]


def test_digests_of_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"abc")
    assert digest_file(tmp_path / "d" / "x") == digest_bytes(b"abc")
    assert files_below(tmp_path) == ["d/x"]
    recorded = digest_files(tmp_path, files_below(tmp_path))
    check_files(tmp_path, recorded)
    (tmp_path / "d" / "x").write_bytes(b"abd")
    with pytest.raises(IntegrityError, match="the bytes do not match the recorded digest"):
        check_files(tmp_path, recorded)
