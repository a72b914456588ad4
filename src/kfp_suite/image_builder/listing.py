"""What images this machine has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

from kfp_suite.contracts.errors import RunError
from kfp_suite.image_builder.client import call, docker_client
from kfp_suite.image_builder.families import FAMILIES, tag
from kfp_suite.image_builder.wheels import REQUIREMENTS, pinned


@dataclass(frozen=True)
class Listed:
    """A family's image: `digest` and `bytes` are None if it is not built."""

    family: str
    steps: str
    image: str
    packages: int
    digest: str | None = None
    bytes: int | None = None
    revision: str | None = None


def images() -> list[Listed]:
    """Every family, with its image if there is one.

    Raises:
        MissingError: no Docker client answers.
    """
    client = docker_client()
    found = []
    for family, steps in FAMILIES.items():
        packages = len(pinned(files("kfp_suite.images") / family / REQUIREMENTS))
        known = Listed(family, steps, tag(family), packages)
        try:
            (image,) = json.loads(call([client, "image", "inspect", tag(family)]))
        except RunError:
            found.append(known)
            continue
        labels = image["Config"].get("Labels") or {}
        revision = labels.get("org.opencontainers.image.revision")
        found.append(
            Listed(family, steps, tag(family), packages, image["Id"], image["Size"], revision)
        )
    return found
