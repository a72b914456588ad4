"""What images are built on: a Debian with Python, and one with a compiler beside it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kfp_suite.components.contracts.errors import MissingError
from kfp_suite.pipelines.images.client import call, docker_client

OFFICIAL = "python:3.13-slim-trixie"
DEBIAN = "debian"
_SUITE = "trixie"
_RUN = ("python3", "ca-certificates")
# What nobody reads in a container.
_LEFT_OUT = (
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
)
_BUILD = (*_RUN, "python3-venv", "binutils", "g++", "python3-dev")


@dataclass(frozen=True)
class Bases:
    """The image that a family's is built on, and the one that it is built in: the same
    Python, with binutils and a compiler."""

    base: str
    builder: str


def bases(base: str, builder: str = "") -> Bases:
    """What `--base` and `--builder` name.

    Args:
        base: An image, or `debian`: made here of Debian's packages, as its builder is.
        builder: An image; by default the base without `-slim`, which for the official
            Python images is the one with a compiler.

    Raises:
        MissingError: mmdebstrap is not installed.
    """
    if base != DEBIAN:
        return Bases(base, builder or base.replace("-slim", ""))
    return Bases(
        debian_image("kfp-suite-base", _RUN), builder or debian_image("kfp-suite-builder", _BUILD)
    )


def debian_image(name: str, packages: tuple[str, ...]) -> str:
    """An image of Debian trixie with these packages; byte-identical for the same versions.

    Raises:
        MissingError: mmdebstrap is not installed.
    """
    if shutil.which("mmdebstrap") is None:
        raise MissingError(
            "mmdebstrap is not installed", where="--base debian", fix="apt-get install mmdebstrap"
        )
    tag = f"{name}:{_SUITE}"
    with tempfile.TemporaryDirectory(prefix="kfp-suite-base-") as scratch:
        archive = Path(scratch) / "base.tar"
        call(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase"),
                f"--include={','.join(packages)}",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                *(_SUITE, str(archive)),
            ],
            environment={"SOURCE_DATE_EPOCH": "0"},
        )
        call([docker_client(), "import", str(archive), tag])
    return tag
