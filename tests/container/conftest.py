"""Images of this source, built once; and a daemon, or the reason why there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.image_builder.bases import DEBIAN, OFFICIAL, Bases, bases
from kfp_suite.image_builder.build import BuildOptions, build
from kfp_suite.image_builder.families import tag
from kfp_suite.local.docker import run_container

SOURCE = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from kfp_suite.cli.main import main; main()"]
BUILT = "KFP_SUITE_IMAGES_BUILT"
"""Set by `.ci/run`, which has just built every image of this very source."""

Image = Callable[[str], str]
Inside = Callable[..., int]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Building takes minutes; and one worker builds, however many there are."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    try:
        found = docker.from_env()
    except docker.errors.DockerException:
        pytest.skip("no Docker daemon; to run this: apt-get install docker.io; dockerd &")
    yield found
    found.close()


@pytest.fixture(scope="session")
def found_bases(client: Any) -> Bases:
    """A base that can be had here."""
    made = Bases("kfp-suite-base:trixie", "kfp-suite-builder:trixie")
    if os.environ.get(BUILT) and client.images.list(made.base) and client.images.list(made.builder):
        return made
    try:
        return bases(DEBIAN if shutil.which("mmdebstrap") else OFFICIAL)
    except KfpSuiteError as error:
        pytest.skip(f"no base image here: {error}")


@pytest.fixture(scope="session")
def image(client: Any, request: pytest.FixtureRequest) -> Image:
    """The image of a family of this source: its tag."""
    done: dict[str, str] = {}

    def of(family: str) -> str:
        if os.environ.get(BUILT) and client.images.list(tag(family)):
            done[family] = tag(family)
        if family not in done:
            base: Bases = request.getfixturevalue("found_bases")
            done[family] = build(family, base, BuildOptions(str(SOURCE)))
        return done[family]

    return of


@pytest.fixture(scope="session")
def inside(client: Any) -> Inside:
    """Run Python in an image, as DockerRunner runs a step: the exit code."""

    def run(image: str, code: str, volumes: dict[str, Any] | None = None) -> int:
        return run_container(
            client, image, ["python3", "-c", code], volumes or {}, network_mode="none"
        )

    return run


def kfp_suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user gives it."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def run(root: Path, runner: str, pipeline: str, params: str, *more: str) -> dict[str, Any]:
    """A run that succeeds: its JSON. Containers have no network."""
    if runner == "docker":
        more = ("--network", "none", *more)
    done = kfp_suite(
        "run", pipeline, "--params", params, "--no-serve", "--json",
        "--root", str(root), "--runner", runner, *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
