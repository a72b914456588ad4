"""Images of the families, built from locked wheels and without a network.

Wheels are fetched first, by hash, with the machine's own pip and its settings; the build
itself reaches nothing. So a mirror, a proxy or a private certificate authority needs no
word in a Dockerfile, and no trace of it stays in a layer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

from kfp_suite.components.contracts.errors import MissingError, RunError, did_you_mean

FAMILIES = ("sklearn",)
BASE = "python:3.13-slim-trixie"
DEBIAN = "debian"
DEBIAN_IMAGE = "kfp-suite-base:trixie"
_PYTHON = "3.13"
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 12, 5)]
_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
_NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "kfp-suite-runs")
_CLIENTS = ("docker", "/usr/bin/docker")


def tag(family: str) -> str:
    """The tag that the components of a family name."""
    return f"kfp-suite-python-{family}:{version('kfp-suite')}"


def build(family: str, base: str, source: str) -> str:
    """Build the image of a family, and return its tag.

    Args:
        family: One of `FAMILIES`.
        base: An image with Python 3.13, or `debian`: one made of Debian's packages here.
        source: What is installed as kfp-suite: a source folder, a wheel or a requirement.

    Raises:
        MissingError: an unknown family, or a program that is not there.
        RunError: fetching or building failed; with the last line said.
    """
    if family not in FAMILIES:
        raise MissingError(
            f"unknown family '{family}'", where="images", fix=did_you_mean(family, FAMILIES)
        )
    client = _client()
    if base == DEBIAN:
        base = debian_base(client)
    with tempfile.TemporaryDirectory(prefix="kfp-suite-image-") as scratch:
        context = Path(scratch)
        with as_file(files("kfp_suite.images")) as folder:
            for name in ("Dockerfile", "executor.txt", f"{family}/requirements.txt"):
                shutil.copyfile(folder / name, context / Path(name).name)
            _fetch(context / "wheels", _locked(folder, family))
        with tempfile.TemporaryDirectory(prefix="kfp-suite-source-") as copy:
            _build_wheel(source, Path(copy), context / "wheels")
        _run(
            [
                client,
                "build",
                "--quiet",
                "--network",
                "none",
                "--tag",
                tag(family),
                "--build-arg",
                f"BASE={base}",
                "--build-arg",
                f"FAMILY={family}",
                "--build-arg",
                f"VERSION={version('kfp-suite')}",
                str(context),
            ],
            environment={"DOCKER_BUILDKIT": "1"},
        )
    return tag(family)


def debian_base(client: str) -> str:
    """An image of Debian trixie with Python alone, from Debian's packages; byte-identical
    for the same packages.

    Raises:
        MissingError: mmdebstrap is not installed.
    """
    if shutil.which("mmdebstrap") is None:
        raise MissingError(
            "mmdebstrap is not installed", where="--base debian", fix="apt-get install mmdebstrap"
        )
    with tempfile.TemporaryDirectory(prefix="kfp-suite-base-") as scratch:
        archive = Path(scratch) / "base.tar"
        _run(
            ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,ca-certificates"]
            + [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "locale")]
            + ["--dpkgopt=path-include=/usr/share/doc/*/copyright", "trixie", str(archive)],
            environment={"SOURCE_DATE_EPOCH": "0"},
        )
        _run([client, "import", str(archive), DEBIAN_IMAGE])
    return DEBIAN_IMAGE


def _locked(folder: Path, family: str) -> list[Path]:
    return [
        folder / family / "requirements.txt",
        folder / "executor.txt",
        folder / "installer.txt",
    ]


def _build_wheel(source: str, copy: Path, wheels: Path) -> None:
    """The wheel of kfp-suite; of a copy, where it is a folder: a build leaves files behind."""
    if Path(source).is_dir():
        shutil.copytree(source, copy, dirs_exist_ok=True, ignore=_NOT_SOURCE)
        source = str(copy)
    _run([*_PIP, "wheel", "--no-deps", "-w", str(wheels), source])


def _fetch(wheels: Path, requirements: list[Path]) -> None:
    platforms = [f"--platform={platform}" for platform in _PLATFORMS]
    for file in requirements:
        _run(
            [
                *_PIP,
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
                f"--python-version={_PYTHON}",
                *platforms,
                "-d",
                str(wheels),
                "-r",
                str(file),
            ]
        )


def _client() -> str:
    """The first Docker client that has BuildKit, which the first on the path may not.

    Raises:
        MissingError: there is none, or no daemon answers.
    """
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "Dockerfile").write_text("FROM scratch\n")
        for client in _CLIENTS:
            if shutil.which(client) is None:
                continue
            done = subprocess.run(  # noqa: S603 - one of two names
                [client, "build", "--quiet", empty],
                capture_output=True,
                check=False,
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
            )
            if done.returncode == 0:
                return client
    raise MissingError(
        "no Docker client with BuildKit answers",
        where="images",
        fix="install Docker (Debian: apt-get install docker.io) and start its daemon",
    )


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(  # noqa: S603 - commands of our own
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise RunError(
            f"{Path(command[0]).name} failed", where="images", got=said[-1] if said else "no word"
        )
