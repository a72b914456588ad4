"""A full disk and a read-only one: one line that says so, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kfp_suite.contracts.errors import StoreError
from tests.steps import STEPS

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a file system in memory with some options, and unmounts it."""
    with ExitStack() as stack:

        def make(options: str) -> Path:
            folder = tmp_path / "mounted"
            folder.mkdir()
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"cannot mount: {done.stderr.strip()}; to run this: sudo make test-all")
            stack.callback(lambda: subprocess.run(["umount", "--lazy", folder], check=True))
            return folder

        yield make


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_is_one_line(step: str, inputs: Path, mount: Mount) -> None:
    full = mount("size=64k")
    (full / "filler").write_bytes(b"\0" * 65536)
    with pytest.raises(StoreError) as caught:
        STEPS[step](inputs, full)
    message = str(caught.value)
    assert "\n" not in message
    assert "no space left; free space or choose another folder" in message
    assert [path.name for path in full.rglob("*") if path.is_file()] == ["filler"]


@pytest.mark.parametrize("step", ["ingest", "validate", "train", "evaluate", "push"])
def test_a_disk_that_fills_up_is_one_line(step: str, inputs: Path, mount: Mount) -> None:
    nearly = mount("size=16k")
    with pytest.raises(StoreError, match="no space left; free space or choose another folder"):
        STEPS[step](inputs, nearly)
    # A store's own folder for files that are being written stays, empty.
    left = [path for path in nearly.rglob("*") if path.name.startswith(".")]
    assert not [path for path in left if path.name != ".partial" or any(path.iterdir())]


@pytest.mark.parametrize("step", STEPS)
def test_a_read_only_folder_is_one_line(step: str, inputs: Path, mount: Mount) -> None:
    with pytest.raises(StoreError, match="permission denied; give write permission or choose"):
        STEPS[step](inputs, mount("ro"))


def test_a_run_on_a_full_disk_ends_in_one_line(mount: Mount, tmp_path: Path) -> None:
    command = "from kfp_suite.cli.main import main; main()"
    arguments = ["run", "train_and_deploy", "--params", "penguins", "--json", "--root"]
    root = mount("size=200k")
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments, root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    last = [line for line in done.stderr.splitlines() if line.strip()][-1]
    assert last.startswith("error: ")
    assert "no space left" in last
    assert str(root) in last
    assert json.loads(done.stdout)["status"] == "FAILED"
    assert not list(root.glob(".*"))
