"""Compile the lists of what images install, from the extras of `pyproject.toml`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Container
from pathlib import Path

from kfp_suite.contracts.errors import MissingError
from kfp_suite.image_builder.client import call
from kfp_suite.image_builder.wheels import REQUIREMENTS, SHARED, SOURCES

# Distributions of the TFX family that have no wheel.
_SOURCES = ("pyfarmhash", "rouge-score")

EXCEPTIONS: dict[str, dict[str, str]] = {
    "tfx": {
        "absl-py": "tfx 1.21 takes none from 2 on",
        "attrs": "tfx 1.21 takes none from 26 on",
        "cachetools": "apache-beam 2.77 takes none from 7 on",
        "ipython": "tensorflow-model-analysis 0.52 takes none from 9 on",
        "kubernetes": "tfx 1.21 takes none from 27 on; its steps talk to no cluster",
        "numpy": "apache-beam 2.77 takes none from 2.5 on",
        "pillow": "apache-beam 2.77 takes none from 13 on",
        "pyarrow": "tfx 1.21 takes none from 19 on",
        "scikit-learn": "tfx 1.21 takes 1.5.2 alone",
        "tensorflow-serving-api": "tfx-bsl 1.21 takes none from 2.20 on",
    },
}
"""What a family has in another version than every other list, and why."""


def lock(family: str, project: Path, *, upgrade: bool) -> Path:
    """Compile the hash-locked list of a family, for Python 3.13 and glibc 2.40.

    What `requirements/dev.txt` has too is taken in its version, so that the tests run what the
    images run; `EXCEPTIONS` apart.

    Args:
        family: One of `FAMILIES`.
        project: The folder of `pyproject.toml` and `images/`.
        upgrade: Take the newest versions that fit; else only what must change changes.

    Raises:
        MissingError: uv is not installed, or the folder is not our source.
        RunError: nothing fits.
    """
    images = project / "images"
    target = images / family / REQUIREMENTS
    arguments = [f"--extra={family}", str(project / "pyproject.toml")]
    if family in ("tensorflow", "tfx"):
        arguments += [str(images / "tensorflow-cpu.in"), f"--override={images / 'overrides.txt'}"]
    with tempfile.TemporaryDirectory() as scratch:
        tested = Path(scratch) / "tested.txt"
        pins = read_pins(project / "requirements" / "dev.txt", without=EXCEPTIONS.get(family, ()))
        tested.write_text("\n".join(pins) + "\n")
        arguments.append(f"--constraint={tested}")
        _compile([*arguments, "-o", str(target)], project, upgrade=upgrade)
    _part_sources(target)
    return target


def read_pins(requirements: Path, without: Container[str] = ()) -> list[str]:
    """The pins of a hash-locked list, without their hashes.

    Args:
        requirements: As uv writes it.
        without: Distributions to leave out.

    Returns:
        `name==version`, with its marker if it has one, in the order of the list.

    Raises:
        MissingError: there is no such list.
    """
    if not requirements.is_file():
        raise MissingError(
            "no list of what the tests run with",
            where=str(requirements),
            fix="compile it first: make lock",
        )
    lines = (line.rstrip("\\ ") for line in requirements.read_text().splitlines())
    return [one for one in lines if one[:1].isalnum() and one.partition("==")[0] not in without]


def lock_shared(project: Path, *, upgrade: bool) -> None:
    """Compile the lists that every image has."""
    for name in SHARED:
        source = project / "images" / Path(name).with_suffix(".in")
        target = project / "images" / name
        _compile(
            ["--no-deps", "--allow-unsafe", str(source), "-o", str(target)],
            project,
            upgrade=upgrade,
        )


def _compile(arguments: list[str], project: Path, *, upgrade: bool) -> None:
    if not (project / "pyproject.toml").is_file() or not (project / "images").is_dir():
        raise MissingError(
            "not the source of kfp-suite", where=str(project), fix="run it where pyproject.toml is"
        )
    if shutil.which("uv") is None:
        raise MissingError("uv is not installed", where="images lock", fix="pip install uv")
    call(
        ["uv", "pip", "compile", "--quiet", "--python-version", "3.13", "--generate-hashes"]
        + ["--python-platform", "x86_64-manylinux_2_40", "--no-annotate", "--no-header"]
        + (["--upgrade"] if upgrade else [])
        + arguments,
        folder=project,
    )


def _part_sources(requirements: Path) -> None:
    """Move what has no wheel to a list of its own."""
    wheels: list[str] = []
    sources: list[str] = []
    current = wheels
    for line in requirements.read_text().splitlines():
        if line and not line[0].isspace():
            current = sources if line.partition("==")[0] in _SOURCES else wheels
        current.append(line)
    requirements.write_text("\n".join(wheels) + "\n")
    target = requirements.with_name(SOURCES)
    if sources:
        target.write_text("\n".join(sources) + "\n")
    else:
        target.unlink(missing_ok=True)
