"""The whole pipeline in containers, and a container whose exit code is always known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from kfp_suite.components.contracts.errors import KfpSuiteError
from kfp_suite.pipelines.runs.docker import run_container
from kfp_suite.pipelines.runs.images import BASE, DEBIAN, build

BAD = ["--param", "sql=SELECT spices FROM penguins"]
SOURCE = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from kfp_suite.pipelines.cli.main import main; main()"]

# Building takes a minute or two.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    try:
        found = docker.from_env()
    except docker.errors.DockerException:
        pytest.skip("no Docker daemon; to run this: apt-get install docker.io; dockerd &")
    yield found
    found.close()


@pytest.fixture(scope="session")
def image(client: Any) -> str:
    """The image of this source, on a base that can be had."""
    base = DEBIAN if shutil.which("mmdebstrap") else BASE
    try:
        return build("sklearn", base, str(SOURCE))
    except KfpSuiteError as error:
        pytest.skip(f"the image cannot be built here: {error}; kfp-suite images build")


def inside(client: Any, image: str, code: str, volumes: dict[str, Any]) -> int:
    return run_container(client, image, ["python3", "-c", code], volumes)


def test_every_exit_code_is_known(client: Any, image: str) -> None:
    codes = [run_container(client, image, ["sh", "-c", f"exit {n % 3}"], {}) for n in range(15)]
    assert codes == [n % 3 for n in range(15)]
    assert client.containers.list(all=True, filters={"ancestor": image}) == []


def test_the_root_is_read_only_and_files_are_the_users(
    client: Any, image: str, tmp_path: Path
) -> None:
    volumes = {str(tmp_path): {"bind": str(tmp_path), "mode": "rw"}}
    assert inside(client, image, "open('/opt/kfp-suite/x', 'w')", volumes) == 1
    assert inside(client, image, f"open('{tmp_path}/x', 'w')", volumes) == 0
    assert (tmp_path / "x").stat().st_uid == tmp_path.stat().st_uid


def test_the_image_runs_as_nobody_and_holds_no_installer(client: Any, image: str) -> None:
    assert client.images.get(image).attrs["Config"]["User"] == "65532:65532"
    assert inside(client, image, "import pip", {}) == 1
    assert inside(client, image, "import kfp_suite.components.ingest.executor", {}) == 0


def run(root: Path, runner: str) -> dict[str, Any]:
    arguments = ["run", "train_and_deploy", "--params", "penguins", "--no-serve", "--json"]
    done = subprocess.run(
        [*COMMAND, *arguments, "--root", str(root), "--runner", runner],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_containers_make_the_model_that_the_laptop_makes(image: str, tmp_path: Path) -> None:
    (tmp_path / "laptop").mkdir()
    contained = run(tmp_path / "containers", "docker")
    local = run(tmp_path / "laptop", "subprocess")
    assert contained["steps"].keys() == local["steps"].keys()
    assert contained["dataset_digest"] == local["dataset_digest"]
    assert contained["digest"] == local["digest"]


def test_bad_input_in_a_container_is_one_line(image: str, tmp_path: Path) -> None:
    arguments = ["run", "train_and_deploy", "--params", "penguins", "--no-serve"]
    done = subprocess.run(
        [*COMMAND, *arguments, "--root", str(tmp_path), "--runner", "docker", *BAD],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    last = [line for line in done.stderr.splitlines() if line.strip()][-1]
    assert last.startswith("error: ingest: sql: ")
