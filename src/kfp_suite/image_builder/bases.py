"""What images are built on: a Debian with Python, and one with a compiler beside it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kfp_suite.contracts.canonical import canonical_json
from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.errors import MissingError, RunError
from kfp_suite.image_builder.archive import write_image
from kfp_suite.image_builder.client import Say, call, docker_client, say_nothing

OFFICIAL = "python:3.13-slim-trixie"
DEBIAN = "debian"
_SUITE = "trixie"
_RECIPE = "kfp-suite.recipe"
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


def bases(base: str, builder: str = "", *, reuse: bool = True, say: Say = say_nothing) -> Bases:
    """The images that `--base` and `--builder` name.

    Args:
        base: An image, or `debian`: made here of Debian's packages, as its builder is.
        builder: An image; by default the base without `-slim`, which for the official
            Python images is the one with a compiler.
        reuse: Whether an image that was made here of the same packages is taken as it is;
            else it is made anew, with what Debian has updated since.
        say: Called with a line of progress at a time.

    Raises:
        MissingError: mmdebstrap is not installed.
    """
    if base != DEBIAN:
        return Bases(base, builder or base.replace("-slim", ""))
    return Bases(
        debian_image("kfp-suite-base", _RUN, reuse=reuse, say=say),
        builder or debian_image("kfp-suite-builder", _BUILD, reuse=reuse, say=say),
    )


def debian_image(
    name: str, packages: tuple[str, ...], *, reuse: bool = True, say: Say = say_nothing
) -> str:
    """An image of Debian trixie with these packages; the same image for the same versions of
    them, on every machine and day.

    Args:
        name: Of the image.
        packages: What it has beside the essential ones.
        reuse: Whether one that was made here of these packages is taken as it is.
        say: Called with a line of progress at a time.

    Raises:
        MissingError: mmdebstrap is not installed.
    """
    tag = f"{name}:{_SUITE}"
    recipe = digest_bytes(canonical_json([_SUITE, packages, _LEFT_OUT]))
    if reuse and _recipe_of(tag) == recipe:
        say(f"{tag}: taken as it is; --no-cache makes it anew, with Debian's updates")
        return tag
    if shutil.which("mmdebstrap") is None:
        raise MissingError(
            "mmdebstrap is not installed", where="--base debian", fix="apt-get install mmdebstrap"
        )
    say(f"{tag}: made of Debian's packages, which takes a minute or two")
    with tempfile.TemporaryDirectory(prefix="kfp-suite-base-") as scratch:
        layer, image = Path(scratch) / "base.tar", Path(scratch) / "image.tar"
        call(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase"),
                f"--include={','.join(packages)}",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                *(_SUITE, str(layer)),
            ],
            environment={"SOURCE_DATE_EPOCH": "0"},
        )
        load_image(layer, image, tag, recipe)
    return tag


def load_image(layer: Path, archive: Path, tag: str, recipe: str) -> None:
    """Load an image of one layer into Docker.

    Args:
        layer: Its files, as a tar archive.
        archive: Where the image's archive is written.
        tag: Its tag.
        recipe: The digest of its packages.
    """
    client = docker_client()
    architecture = call([client, "version", "--format", "{{.Server.Arch}}"]).strip()
    labels = {_RECIPE: recipe}
    write_image(layer, archive, tag=tag, architecture=architecture, labels=labels)
    call([client, "load", "--input", str(archive)])


def _recipe_of(tag: str) -> str:
    """The digest of an image's packages; empty: there is no image, or it was not made here."""
    shown = f'{{{{index .Config.Labels "{_RECIPE}"}}}}'
    try:
        return call([docker_client(), "image", "inspect", "--format", shown, tag]).strip()
    except RunError:
        return ""
