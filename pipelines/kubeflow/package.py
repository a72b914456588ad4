"""A compiled pipeline with its name, its parameters, and a version that is its content."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from kfp_suite.components.contracts.digests import PREFIX, digest_value
from kfp_suite.components.contracts.errors import ContractError, store_error
from kfp_suite.pipelines.runs.catalog import find_pipeline
from kfp_suite.pipelines.runs.compilation import Adaptation, compile_pipeline
from kfp_suite.pipelines.runs.parameters import Parameter

_SUFFIXES = (".yaml", ".yml")
_TYPES = {
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
    """

    name: str
    description: str
    content: str
    digest: str
    version: str
    parameters: Mapping[str, Parameter]


def open_package(pipeline: str, adapt: Adaptation | None = None) -> Package:
    """A pipeline of the suite by name, or a compiled one by the path of its file.

    Args:
        pipeline: `train_and_deploy`, or `mine.yaml`.
        adapt: Changes what is compiled; a file stays as it is.

    Raises:
        MissingError: there is no such pipeline or file.
        ContractError: the file is not a compiled pipeline.
    """
    if pipeline.endswith(_SUFFIXES):
        try:
            content = Path(pipeline).read_text()
        except OSError as error:
            raise store_error(error, pipeline) from error
        return _package(content, pipeline, "")
    with tempfile.TemporaryDirectory(prefix="kfp-suite-compile-") as folder:
        content = compile_pipeline(find_pipeline(pipeline), Path(folder), adapt).read_text()
    return _package(content, pipeline, f"{metadata.version('kfp-suite')}-")


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
    kind = _TYPES.get(given["parameterType"], "Any")
    return Parameter(name, kind, not optional, given.get("defaultValue"))
