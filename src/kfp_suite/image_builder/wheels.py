"""Wheels for an image, fetched by hash with the machine's own pip and its settings.

So a mirror, a proxy or a private certificate authority needs no word in a Dockerfile, and
no trace of it stays in a layer.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.resources.abc import Traversable
from pathlib import Path

from kfp_suite.contracts.errors import MissingError
from kfp_suite.image_builder.client import call

_PYTHON = "3.13"
_GLIBC = (40, 39, 36, 35, 34, 31, 28, 27, 24, 17, 12, 5)
_PLATFORMS = [
    f"--platform={name}_x86_64"
    for name in (*(f"manylinux_2_{n}" for n in _GLIBC), "manylinux2014", "manylinux2010")
]
FOR_THE_IMAGE = ["--only-binary=:all:", f"--python-version={_PYTHON}", *_PLATFORMS]
_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
_NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "kfp-suite-runs")
SHARED = ("executor.txt", "builder.txt")
REQUIREMENTS = "requirements.txt"
SOURCES = "sources.txt"
"""Requirements that come as source distributions: compiled in the build."""


def lists_of(folder: Traversable, family: str) -> dict[str, Traversable]:
    """The hash-locked lists of a family, by the name they have in a build context."""
    found = {name: folder / name for name in SHARED}
    found[REQUIREMENTS] = folder / family / REQUIREMENTS
    if (folder / family / SOURCES).is_file():
        found[SOURCES] = folder / family / SOURCES
    return found


def fetch(context: Path) -> None:
    """Fill `wheels/` and `sources/` beside the lists with what those name.

    Raises:
        RunError: pip failed.
    """
    for name in (*SHARED, REQUIREMENTS):
        _download(
            FOR_THE_IMAGE,
            context / name,
            context / "wheels",
        )
    if (context / SOURCES).exists():
        _download(["--no-binary=:all:"], context / SOURCES, context / "sources")


def fetch_extension(requirements: Path, libraries: Path, suite: Path) -> None:
    """Add to `suite` the wheels of a user's own requirements and of what those need,
    in the versions of the family's list where that names them.

    Raises:
        MissingError: no such file.
        RunError: pip failed, for instance because the two contradict each other.
    """
    if not requirements.is_file():
        raise MissingError("no such file", where="--extend", got=str(requirements))
    with tempfile.TemporaryDirectory(prefix="kfp-suite-extend-") as scratch:
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text("\n".join(pinned(libraries / REQUIREMENTS)) + "\n")
        everything = Path(scratch) / "wheels"
        files = ["-d", str(everything), "-c", str(constraints), "-r", str(requirements)]
        call([*_PIP, "download", *FOR_THE_IMAGE, *files])
        for wheel in everything.iterdir():
            if not (libraries / "wheels" / wheel.name).exists():
                shutil.move(wheel, suite / wheel.name)


def pinned(requirements: Path | Traversable) -> list[str]:
    """The lines `name==version` of a hash-locked list."""
    lines = requirements.read_text().splitlines()
    return [line.split(" ")[0] for line in lines if "==" in line and line[0].isalnum()]


def build_wheel(source: str, wheels: Path) -> None:
    """The wheel of kfp-suite; of a copy, where it is a folder: a build leaves files behind.

    Raises:
        RunError: pip failed.
    """
    with tempfile.TemporaryDirectory(prefix="kfp-suite-source-") as copy:
        if Path(source).is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True, ignore=_NOT_SOURCE)
            source = copy
        call(
            [*_PIP, "wheel", "--no-deps", "-w", str(wheels), source],
            environment={"SOURCE_DATE_EPOCH": "315532800"},
        )


_PARTS = ("libraries/wheels", "libraries/sources", "suite")


def keep(context: Path, wheelhouse: Path) -> None:
    """Copy what was fetched for a build to a wheelhouse, for a build that fetches nothing."""
    for part in _PARTS:
        if (context / part).is_dir():
            (wheelhouse / part).mkdir(parents=True, exist_ok=True)
            for file in (context / part).iterdir():
                shutil.copyfile(file, wheelhouse / part / file.name)


def take(wheelhouse: Path, context: Path) -> None:
    """Fill a build context with those files of a wheelhouse that its lists name.

    Raises:
        MissingError: there is no such wheelhouse.
    """
    if not (wheelhouse / _PARTS[0]).is_dir():
        raise MissingError(
            "no wheelhouse",
            where="--wheelhouse",
            got=str(wheelhouse),
            fix="fill one where there is a network: kfp-suite images fetch",
        )
    compiled = (context / "libraries" / SOURCES).exists()
    for part in _PARTS:
        if (wheelhouse / part).is_dir() and (compiled or not part.endswith("sources")):
            shutil.copytree(
                wheelhouse / part, context / part, copy_function=_link, dirs_exist_ok=True
            )


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _download(options: list[str], requirements: Path, folder: Path) -> None:
    files = ["-d", str(folder), "-r", str(requirements)]
    call([*_PIP, "download", "--no-deps", "--require-hashes", *options, *files])
