"""A compiled pipeline with its name, its parameters, and a version that is its content."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from kfp_suite.contracts.digests import PREFIX, digest_value
from kfp_suite.contracts.errors import ContractError, ParameterError, store_error
from kfp_suite.image_builder.families import family_of
from kfp_suite.local.catalog import find_pipeline
from kfp_suite.local.compilation import Adaptation, adapt_content, compile_pipeline
from kfp_suite.local.parameters import Parameter

_SUFFIXES = (".yaml", ".yml")
TYPES = {
    "STRING": "String",
    "NUMBER_INTEGER": "Integer",
    "NUMBER_DOUBLE": "Float",
    "BOOLEAN": "Boolean",
    "STRUCT": "Dict",
    "LIST": "List",
}


@dataclass(frozen=True)
class Package:
    """A pipeline as KFP takes it.

    Attributes:
        name: As the UI shows it.
        description: The same.
        content: YAML.
        digest: Of what the YAML says: `sha256:…`.
        version: Of the package that made it and of its content: `0.1.0-3f2a…`.
        parameters: By name.
        images: What its steps run in.
        spec: What `content` says.
        platform: What Kubernetes alone knows of it; empty if there is nothing.
    """

    name: str
    description: str
    content: str
    digest: str
    version: str
    parameters: Mapping[str, Parameter]
    images: tuple[str, ...]
    spec: Mapping[str, Any] = field(repr=False)
    platform: Mapping[str, Any] = field(repr=False)

    @property
    def has_our_steps(self) -> bool:
        """Whether a step runs in an image of the suite. Without one, a parameter called `store`,
        `sources` or `target` has a meaning of its own."""
        return any(family_of(image) for image in self.images)


def open_package(pipeline: str, adapt: Adaptation | None = None) -> Package:
    """A pipeline of the suite by name, or a compiled one by the path of its file.

    Args:
        pipeline: `train_and_deploy`, or `mine.yaml`.
        adapt: Changes what is, or was, compiled.

    Raises:
        MissingError: there is no such pipeline or file.
        ContractError: the file is not a compiled pipeline.
    """
    if is_file(pipeline):
        try:
            content = Path(pipeline).read_text()
        except OSError as error:
            raise store_error(error, pipeline) from error
        found = _package(content, pipeline, "")
        return _package(adapt_content(content, adapt), pipeline, "") if adapt else found
    with tempfile.TemporaryDirectory(prefix="kfp-suite-compile-") as folder:
        content = compile_pipeline(find_pipeline(pipeline), Path(folder), adapt).read_text()
    return _package(content, pipeline, f"{metadata.version('kfp-suite')}-")


def is_file(pipeline: str) -> bool:
    """Whether a compiled file is named, and no pipeline of the suite."""
    return pipeline.endswith(_SUFFIXES)


def check_images(package: Package) -> None:
    """Refuse the suite's images by the names that they have where they were built.

    Raises:
        ParameterError: a cluster would look for them in vain.
    """
    local = [image for image in package.images if family_of(image) and not _is_pulled(image)]
    if local:
        raise ParameterError(
            "images that no registry has",
            where=package.name,
            got=", ".join(local),
            expected="images that were pushed, named in an image lock",
            fix="kfp-suite images build --push --registry HOST/TEAM, then --image-lock "
            "image-lock.json here (or KFP_SUITE_IMAGE_LOCK, but for a compiled file); where "
            "the nodes have them already, as on kind, --allow-local-images",
        )


def _is_pulled(image: str) -> bool:
    """Whether a node finds it: by its digest, or in a registry that is named."""
    host, slash, _ = image.partition("/")
    return "@sha256:" in image or bool(slash and (set(".:") & set(host) or host == "localhost"))


def _images(spec: Mapping[str, Any]) -> tuple[str, ...]:
    executors = spec.get("deploymentSpec", {}).get("executors", {}).values()
    return tuple(sorted({one["container"]["image"] for one in executors if "container" in one}))


def _package(content: str, where: str, made_by: str) -> Package:
    try:
        documents = list(yaml.safe_load_all(content))
        info, root = documents[0]["pipelineInfo"], documents[0]["root"]
        inputs = root.get("inputDefinitions", {}).get("parameters", {})
        digest = digest_value(documents)
        return Package(
            name=info["name"],
            description=info.get("description", ""),
            content=content,
            digest=digest,
            version=made_by + digest.removeprefix(PREFIX)[:12],
            parameters={name: _parameter(name, one) for name, one in inputs.items()},
            images=_images(documents[0]),
            spec=documents[0],
            platform=documents[1] if len(documents) > 1 else {},
        )
    except (yaml.YAMLError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ContractError(
            "not a compiled pipeline",
            where=where,
            got=f"{type(error).__name__}: {error}",
            expected="what `kfp-suite compile` or kfp's compiler writes",
        ) from error


def _parameter(name: str, given: Mapping[str, Any]) -> Parameter:
    optional = given.get("isOptional", False) or "defaultValue" in given
    kind = TYPES.get(given["parameterType"], "Any")
    default = given.get("defaultValue")
    if kind == "Integer" and default is not None:
        default = int(default)  # the compiler writes 1.0
    return Parameter(name, kind, not optional, default)
