"""Build a family's image without a network, from wheels that were fetched by hash."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import ParameterError, RunError
from kfp_suite.image_builder.bases import Bases
from kfp_suite.image_builder.client import Say, build_image, call, docker_client, say_nothing
from kfp_suite.image_builder.families import image_name, tag
from kfp_suite.image_builder.sbom import bill_of_materials
from kfp_suite.image_builder.wheels import (
    build_wheel,
    fetch,
    fetch_extension,
    keep,
    lists_of,
    take,
)

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class BuildOptions:
    """How images are built.

    Attributes:
        source: What is installed as kfp-suite: a source folder, a wheel or a requirement.
        registry: Tags are given for it too; empty: none.
        wheelhouse: Where wheels are kept, or taken from; None: nowhere.
        offline: Fetch nothing: every file comes from the wheelhouse.
        extend: A user's own requirements, installed beside the family's; None: none.
        cache: Whether Docker may take layers that it built before.
    """

    source: str
    registry: str = ""
    wheelhouse: Path | None = None
    offline: bool = False
    extend: Path | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        if self.offline and self.wheelhouse is None:
            raise ParameterError(
                "an offline build needs wheels", where="--offline", fix="give --wheelhouse too"
            )
        if self.offline and self.extend is not None:
            raise ParameterError(
                "an extension has to be fetched", where="--extend", fix="leave out --offline"
            )


def build(
    family: str,
    bases: Bases,
    options: BuildOptions,
    sbom: Path | None = None,
    say: Say = say_nothing,
) -> str:
    """Build the image of a family, and return its tag.

    Args:
        family: One of `FAMILIES`.
        bases: The images that it is built on and in.
        options: Its content.
        sbom: A folder for its software bill of materials, CycloneDX as JSON; None: none.
        say: Called with a line of progress at a time.

    Raises:
        MissingError: a program, a wheelhouse or a file is not there.
        RunError: fetching or building failed; with the last lines printed.
    """
    client = docker_client()
    with tempfile.TemporaryDirectory(prefix="kfp-suite-image-") as scratch:
        context = Path(scratch)
        say(f"{family}: {'taking' if options.offline else 'fetching'} wheels")
        prepare(family, context, options)
        tags = [tag(family), *([tag(family, options.registry)] if options.registry else [])]
        arguments = {
            "BASE": bases.base,
            "BUILDER": bases.builder,
            "FAMILY": family,
            "VERSION": version("kfp-suite"),
            "SOURCE": _origin(options.source),
            "REVISION": _git(options.source, "rev-parse", "HEAD"),
            "SOURCE_DATE_EPOCH": "0",
        }
        say(f"{family}: building, which takes some minutes")
        try:
            build_image(
                client,
                [
                    *("--network", "none"),
                    *(() if options.cache else ("--no-cache",)),
                    *(part for name in tags for part in ("--tag", name)),
                    *(f"--build-arg={name}={value}" for name, value in arguments.items()),
                    str(context),
                ],
                say,
            )
        except RunError as error:
            if _is_there(client, bases.base) and _is_there(client, bases.builder):
                raise
            raise RunError(
                error.what,
                where=f"{family}, on {bases.base}",
                got=error.got,
                fix="if no registry answers: --base debian, made here of Debian's packages",
            ) from error
        if sbom is not None:
            content = bill_of_materials(family, tag(family), context, _packages(client, family))
            write_file(sbom / f"{image_name(family)}.cdx.json", content)
    return tag(family)


def prepare(family: str, context: Path, options: BuildOptions) -> None:
    """Fill a build context: `libraries/`, and kfp-suite itself in `suite/`."""
    libraries, suite = context / "libraries", context / "suite"
    for folder in (libraries, suite):
        folder.mkdir()
    with as_file(files("kfp_suite.images")) as source:
        shutil.copyfile(source / "Dockerfile", context / "Dockerfile")
        shutil.copyfile(source / "install.sh", libraries / "install.sh")
        for name, file in lists_of(source, family).items():
            (libraries / name).write_bytes(file.read_bytes())
    if options.offline:
        assert options.wheelhouse is not None
        take(options.wheelhouse, context)
        return
    fetch(libraries)
    build_wheel(options.source, suite)
    if options.wheelhouse is not None:
        keep(context, options.wheelhouse)
    if options.extend is not None:
        fetch_extension(options.extend, libraries, suite)


def _is_there(client: str, image: str) -> bool:
    try:
        call([client, "image", "inspect", "--format", "{{.Id}}", image])
    except RunError:
        return False
    return True


def _packages(client: str, family: str) -> list[tuple[str, str]]:
    """Name and version of every Debian package in an image."""
    inside = [client, "run", "--rm", "--network", "none", tag(family)]
    shown = "${Package}\t${Version}\n"
    said = call([*inside, "dpkg-query", "--show", "--showformat", shown])
    lines = (line.partition("\t") for line in said.splitlines())
    return [(name, number) for name, _, number in lines if name]


def _origin(source: str) -> str:
    """Where a source folder was cloned from, if others can clone it from there too."""
    url = _git(source, "remote", "get-url", "origin")
    # Not a folder, and nothing with a user's name and password in it.
    return url if url.startswith("https://") and "@" not in url else _UNKNOWN


def _git(source: str, *arguments: str) -> str:
    """What git says of a source folder; of anything else, `unknown`."""
    if not Path(source).is_dir() or shutil.which("git") is None:
        return _UNKNOWN
    try:
        return call(["git", "-C", source, *arguments]).strip()
    except RunError:
        return _UNKNOWN
