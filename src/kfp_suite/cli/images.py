"""kfp-suite images."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import click
from rich.table import Table

from kfp_suite.cli.tables import print_whole
from kfp_suite.image_builder.bases import DEBIAN, OFFICIAL, bases
from kfp_suite.image_builder.families import FAMILIES, check_families

_FAMILIES = f"[{'|'.join(FAMILIES)}]..."
_families = click.argument("families", nargs=-1, metavar=_FAMILIES)
_source = click.option(
    "--source",
    default=None,
    help="What to install as kfp-suite: a source folder, a wheel or a requirement.  "
    "[default: this folder if it is the source, else this version]",
)


@click.group("images")
def images() -> None:
    """The container images that steps run in."""


@images.command("build")
@_families
@click.option(
    "--base",
    default=OFFICIAL,
    show_default=True,
    help=f"An image with Python 3.13, or `{DEBIAN}`: made here of Debian's packages.",
)
@click.option(
    "--builder",
    default="",
    help="The base with binutils, a compiler and Python's headers.  [default: the base "
    "without -slim]",
)
@click.option("--registry", default="", help="Tag the images for this registry too.")
@click.option("--push", is_flag=True, help="Push them there, and lock their digests.")
@click.option(
    "--lock",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("image-lock.json"),
    show_default=True,
    help="Where the digests of pushed images are written, for compile --image-lock.",
)
@click.option(
    "--wheelhouse",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Keep what is fetched here; with --offline, take it from here.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing: every wheel is in the wheelhouse.")
@click.option(
    "--no-cache", is_flag=True, help="Take no layer and no Debian base that was built before."
)
@click.option(
    "--extend",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Your own requirements.txt: libraries that your modules import.",
)
@click.option(
    "--sbom",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Write a software bill of materials (CycloneDX) of each image into this folder.",
)
@_source
def build_images(
    families: tuple[str, ...],
    base: str,
    builder: str,
    registry: str,
    push: bool,
    lock: Path,
    wheelhouse: Path | None,
    offline: bool,
    no_cache: bool,
    extend: Path | None,
    sbom: Path | None,
    source: str | None,
) -> None:
    """Build the images of FAMILIES, or of all, from locked wheels and without a network."""
    from kfp_suite.contracts.errors import ParameterError
    from kfp_suite.image_builder import image_lock
    from kfp_suite.image_builder.build import BuildOptions, build

    chosen = check_families(families)
    if push and not registry:
        raise ParameterError("where to?", where="--push", fix="give --registry too")
    options = BuildOptions(
        source=source or _default_source(),
        registry=registry,
        wheelhouse=wheelhouse,
        offline=offline,
        extend=extend,
        cache=not no_cache,
    )

    def say(line: str) -> None:
        click.echo(line, err=True)

    found = bases(base, builder, reuse=not no_cache, say=say)
    for family in chosen:
        click.echo(build(family, found, options, sbom, say))
        if push:
            reference = image_lock.push(family, registry)
            image_lock.write_lock(lock, {family: reference})
            click.echo(f"  pushed as {reference}")


@images.command("fetch")
@_families
@click.option(
    "--wheelhouse",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("wheelhouse"),
    show_default=True,
    help="The folder to fill.",
)
@_source
def fetch_wheels(families: tuple[str, ...], wheelhouse: Path, source: str | None) -> None:
    """Fetch every wheel that the images of FAMILIES need, for `build --offline` elsewhere."""
    from kfp_suite.image_builder.build import BuildOptions, prepare

    for family in check_families(families):
        with tempfile.TemporaryDirectory(prefix="kfp-suite-fetch-") as context:
            options = BuildOptions(source or _default_source(), wheelhouse=wheelhouse)
            prepare(family, Path(context), options)
    click.echo(f"{len(list(wheelhouse.rglob('*.whl')))} wheels in {wheelhouse}")


@images.command("lock")
@_families
@click.option("--upgrade", is_flag=True, help="Take the newest versions that fit.")
def lock_images(families: tuple[str, ...], upgrade: bool) -> None:
    """Compile the hash-locked lists in images/ from pyproject.toml (needs uv)."""
    from kfp_suite.image_builder.locking import lock, lock_shared

    project = Path.cwd()
    lock_shared(project, upgrade=upgrade)
    for family in check_families(families):
        click.echo(lock(family, project, upgrade=upgrade).relative_to(project))


@images.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_images(as_json: bool) -> None:
    """What each family is for, and its image on this machine."""
    from kfp_suite.image_builder.listing import images as known

    found = known()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("family", "image", "digest", "size", "packages", "steps"):
        table.add_column(name, justify="right" if name in ("size", "packages") else "left")
    for one in found:
        size = f"{one.bytes / 1e6:,.0f} MB" if one.bytes is not None else "not built"
        digest = (one.digest or "").removeprefix("sha256:")[:12]
        table.add_row(one.family, one.image, digest, size, str(one.packages), one.steps)
    print_whole(table)


def _default_source() -> str:
    if Path("pyproject.toml").is_file() and Path("components").is_dir():
        return "."
    return f"kfp-suite=={version('kfp-suite')}"
