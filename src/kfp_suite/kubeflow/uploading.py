"""A pipeline in the UI: a version a content, and the same content once."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as api

from kfp_suite.contracts.errors import AlreadyExistsError, MissingError
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.package import Package


@dataclass(frozen=True)
class Uploaded:
    """A version of a pipeline there; `new`: it was not there before."""

    pipeline_id: str
    version_id: str
    name: str
    version: str
    new: bool
    link: str


def upload(backend: Backend, package: Package, version: str = "") -> Uploaded:
    """Upload a pipeline, or a new version of it.

    Args:
        backend: Where.
        package: The pipeline.
        version: Its name; empty: the package's version and the content's digest, unless the
            content is there already, whatever it is called.

    Raises:
        AlreadyExistsError: a version of this name holds another content.
        KfpSuiteError: see `Backend.call`.
    """
    name = version or package.version
    pipeline_id = find_pipeline_id(backend, package.name)
    there = version_named(backend, pipeline_id, name) if pipeline_id else None
    if there is None and pipeline_id and not version:
        there = _version_of(backend, pipeline_id, package.digest)
    new = there is None
    if pipeline_id is None:
        pipeline_id = _create(backend, package)
    if there is None:
        there = _upload(backend, package, pipeline_id, name)
    # Also after an upload: somebody else may have been faster, with the same name.
    if package.digest not in (there.description or ""):
        raise AlreadyExistsError(
            f"pipeline '{package.name}' has another version '{name}'",
            where=backend.host,
            got=there.description or "no digest in its description",
            expected=package.digest,
            fix="give another --version, or none",
        )
    link = backend.link(f"pipelines/details/{pipeline_id}/version/{there.pipeline_version_id}")
    called = there.display_name
    return Uploaded(pipeline_id, there.pipeline_version_id, package.name, called, new, link)


def find_pipeline_id(backend: Backend, name: str) -> str | None:
    """The identifier of a pipeline by its name, None if there is none."""
    found = backend.pages(
        f"pipeline '{name}'",
        lambda token: backend.client.pipelines.pipeline_service_list_pipelines(
            namespace=backend.namespace, page_token=token, page_size=100, filter=equal(name)
        ),
        "pipelines",
    )
    return next((str(one.pipeline_id) for one in found if one.display_name == name), None)


def version_named(backend: Backend, pipeline_id: str, name: str) -> Any:
    """A version of a pipeline by its name, None if there is none."""
    found = versions(backend, pipeline_id, filter=equal(name))
    return next((one for one in found if one.display_name == name), None)


def _version_of(backend: Backend, pipeline_id: str, digest: str) -> Any:
    """The newest version with a content, None if there is none."""
    found = versions(backend, pipeline_id, sort_by="created_at desc")
    return next((one for one in found if (one.description or "").endswith(digest)), None)


def latest_version(backend: Backend, pipeline_id: str) -> Any:
    """The version that was made last. Raises MissingError."""
    found = next(iter(versions(backend, pipeline_id, sort_by="created_at desc")), None)
    if found is None:
        raise MissingError("a pipeline without a version", where=backend.host, got=pipeline_id)
    return found


def versions(backend: Backend, pipeline_id: str, **more: Any) -> list[Any]:
    """The versions of a pipeline."""
    return list(
        backend.pages(
            f"versions of {pipeline_id}",
            lambda token: backend.client.list_pipeline_versions(
                pipeline_id, page_token=token, page_size=100, **more
            ),
            "pipeline_versions",
        )
    )


def _create(backend: Backend, package: Package) -> str:
    """The pipeline itself: an upload alone would name its first version as the pipeline."""
    body = api.V2beta1Pipeline(
        display_name=package.name, description=package.description, namespace=backend.namespace
    )

    def send() -> str:
        made = backend.client.pipelines.pipeline_service_create_pipeline(pipeline=body)
        return str(made.pipeline_id)

    what = f"pipeline '{package.name}'"
    try:
        return backend.create(what, send, lambda: find_pipeline_id(backend, package.name))
    except AlreadyExistsError:  # somebody else was faster
        found = find_pipeline_id(backend, package.name)
        if found is None:
            raise
        return found


def _upload(backend: Backend, package: Package, pipeline_id: str, name: str) -> Any:
    with tempfile.TemporaryDirectory(prefix="kfp-suite-upload-") as folder:
        file = Path(folder) / f"{package.name}.yaml"
        file.write_text(package.content)
        try:
            return backend.create(
                f"version '{name}' of '{package.name}'",
                lambda: backend.client.upload_pipeline_version(
                    str(file),
                    name,
                    pipeline_id=pipeline_id,
                    description=f"{package.description}\n\n{package.digest}".strip(),
                ),
                lambda: version_named(backend, pipeline_id, name),
            )
        except AlreadyExistsError:
            found = version_named(backend, pipeline_id, name)
            if found is None:
                raise
            return found


def equal(name: str) -> str:
    """A filter of a listing: what is displayed under a name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})
