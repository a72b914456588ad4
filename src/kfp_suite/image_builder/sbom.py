"""A software bill of materials: what is in an image, as CycloneDX 1.6 in JSON."""

from __future__ import annotations

import email
import re
import uuid
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from kfp_suite.contracts.digests import PREFIX, digest_bytes, digest_file
from kfp_suite.image_builder.wheels import REQUIREMENTS, SOURCES, pinned

_SHORT = 120


def bill_of_materials(
    family: str, image: str, context: Path, packages: list[tuple[str, str]]
) -> bytes:
    """The bill of an image built from the wheels of `context`.

    Args:
        family: The family.
        image: Its tag.
        context: The build context.
        packages: Name and version of the Debian packages.
    """
    components = [_of_wheel(wheel) for wheel in _wheels(context)]
    components += [_of_source(line, context / "libraries") for line in _sources(context)]
    components += [
        _component(name, version, PackageURL("deb", "debian", name, version))
        for name, version in packages
    ]
    bom = Bom(components=components)
    # The same content has the same number and the same date.
    content = digest_bytes("\n".join(sorted(str(c.purl) for c in components)).encode())
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, content)
    whole = Component(
        name=image,
        type=ComponentType.CONTAINER,
        description=f"KFP Suite: {family}",
        bom_ref=image,
    )
    bom.metadata.component = whole
    bom.metadata.timestamp = datetime.fromtimestamp(0, UTC)
    bom.register_dependency(whole, components)
    text: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(
        indent=2
    )
    return text.encode() + b"\n"


def _wheels(context: Path) -> list[Path]:
    """What was installed: a wheelhouse may hold wheels of other families too."""
    libraries = context / "libraries"
    lists = (REQUIREMENTS, "executor.txt")
    wanted = {_plain(line) for name in lists for line in pinned(libraries / name)}
    found = sorted((libraries / "wheels").glob("*.whl"))
    return [
        *(wheel for wheel in found if _plain("==".join(wheel.name.split("-")[:2])) in wanted),
        *sorted((context / "suite").glob("*.whl")),
    ]


def _sources(context: Path) -> list[str]:
    """What was compiled, as `name==version`."""
    lines = context / "libraries" / SOURCES
    return pinned(lines) if lines.exists() else []


def _of_source(requirement: str, libraries: Path) -> Component:
    name, _, version = requirement.partition("==")
    archive = next(
        file
        for file in (libraries / "sources").iterdir()
        if _plain(file.name).startswith(_plain(f"{name}-{version}"))
    )
    return _component(
        name, version, PackageURL("pypi", None, name, version), hashes=[_sha256(archive)]
    )


def _sha256(file: Path) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest_file(file).removeprefix(PREFIX))


def _plain(requirement: str) -> str:
    """A name and version that `-`, `_`, `.` and capitals do not tell apart."""
    return re.sub("[-_.]+", "-", requirement).lower()


def _of_wheel(wheel: Path) -> Component:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    licence = str(metadata.get("License-Expression") or metadata.get("License") or "")
    licences = []
    if licence and len(licence) < _SHORT and "\n" not in licence:
        licences = [LicenseFactory().make_from_string(licence)]
    name, version = str(metadata["Name"]), str(metadata["Version"])
    return _component(
        name,
        version,
        PackageURL("pypi", None, name.lower(), version),
        licenses=licences,
        hashes=[_sha256(wheel)],
    )


def _component(name: str, version: str, purl: PackageURL, **more: Any) -> Component:
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        **more,
    )
