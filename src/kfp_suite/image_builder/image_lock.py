"""Which image exactly: digests of pushed images, and pipelines that name them.

An image cannot contain its own digest, so a pipeline compiled with a lock tells each step
its image's, in an environment variable; it becomes part of the model's lineage. Steps that make
endpoints are told the images of the model servers, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.environment import IMAGE_DIGEST_VARIABLE, code_digest
from kfp_suite.contracts.errors import ContractError, MissingError
from kfp_suite.contracts.manifests import read_manifest
from kfp_suite.image_builder.client import call, docker_client
from kfp_suite.image_builder.families import family_of, tag
from kfp_suite.kserve.images import IMAGE_VARIABLES

FORMAT_VERSION = 1
_MAKE_ENDPOINTS = ("deploy", "rollout", "infra_validate")


@dataclass(frozen=True)
class ImageLock:
    """Each family's image.

    Attributes:
        images: The image of each family, as `registry/name@sha256:…`.
        code: The digest of the suite's code that it was built of, by family; a lock that was
            written by hand has none.
    """

    images: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def push(family: str, registry: str) -> str:
    """Push a family's image, and return how it is called there: by its digest.

    Raises:
        RunError: the registry did not take it.
    """
    client, name = docker_client(), tag(family, registry)
    call([client, "push", "--quiet", name])
    digests = json.loads(
        call([client, "image", "inspect", "--format", "{{json .RepoDigests}}", name])
    )
    repository = name.rpartition(":")[0]
    for digest in digests:
        if digest.startswith(f"{repository}@"):
            return str(digest)
    raise ContractError("the registry gave no digest", where=name, got=digests)


def write_lock(path: Path, pushed: Mapping[str, str]) -> None:
    """Write a lock; families that were not pushed now stay as they were in it."""
    known = read_lock(path) if path.exists() else ImageLock()
    code = known.code | dict.fromkeys(pushed, code_digest())
    write_json(path, asdict(ImageLock({**known.images, **pushed}, code)))


def read_lock(path: Path) -> ImageLock:
    """Read a lock.

    Raises:
        MissingError: there is none.
        ContractError: it is not one.
    """
    return read_manifest(
        path, ImageLock, format_version=FORMAT_VERSION, fix="kfp-suite images build --push"
    )


def adapted(file: Path | None) -> Callable[[dict[str, Any], dict[str, Any]], None] | None:
    """What makes a compiled pipeline name the images of a lock; None without one.

    Raises:
        MissingError, ContractError: as `read_lock`.
    """
    if file is None:
        return None
    lock = read_lock(file)
    return lambda spec, _: apply_lock(spec, lock, file)


def apply_lock(spec: dict[str, Any], lock: ImageLock, where: Path) -> None:
    """Make a compiled pipeline name its images by digest, and tell each step its own.

    Raises:
        MissingError: a family that the pipeline needs is not in the lock.
        ContractError: its image was built of other code than this: the pipeline would import
            what the image does not have.
    """
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor.get("container")
        family = family_of(container["image"]) if container else None
        if family is None:
            continue
        if family not in lock.images:
            raise MissingError(
                f"no image of family '{family}' in the lock",
                where=where,
                fix=f"kfp-suite images build {family} --push --registry REGISTRY --lock {where}",
            )
        if lock.code.get(family, code_digest()) != code_digest():
            raise ContractError(
                f"the image of family '{family}' was built of other code than this kfp-suite",
                where=where,
                got=lock.code[family],
                expected=code_digest(),
                fix=f"kfp-suite images build {family} --push --registry REGISTRY --lock {where}",
            )
        container["image"] = lock.images[family]
        digest = lock.images[family].partition("@")[2]
        told = {IMAGE_DIGEST_VARIABLE: digest}
        if _function(container) in _MAKE_ENDPOINTS:
            served = IMAGE_VARIABLES.items()
            told |= {name: lock.images[one] for one, name in served if one in lock.images}
        kept = [one for one in container.get("env", ()) if one["name"] not in told]
        given = [{"name": name, "value": value} for name, value in told.items()]
        container["env"] = [*kept, *given]


def _function(container: Mapping[str, Any]) -> str:
    """The component that a container runs; empty if it is another's."""
    arguments = [*container.get("args", ()), ""]
    before = "--function_to_execute"
    return str(arguments[arguments.index(before) + 1]) if before in arguments else ""
