"""Local sources, copied below the run's root and named by their content.

DockerRunner mounts the root and nothing else, and a file that is edited while a run reads
it would give a model that nobody can make again: so steps see copies.
"""

from __future__ import annotations

import glob
import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.digests import PREFIX, digest_file, digest_value
from kfp_suite.components.contracts.errors import MissingError, ParameterError, store_error

PACKAGE = "package://"


def stage_sources(sources: Mapping[str, Any], base: Path, data: Path) -> dict[str, Any]:
    """Copy every local source below `data` and return the sources with the new paths.

    Args:
        sources: Source name to a URI, or to a mapping with a `uri`.
        base: The folder that relative paths start from: the parameter file's.
        data: The folder to copy to; a content that is there already is not copied again.

    Raises:
        MissingError: a path or pattern that matches no file.
    """
    staged: dict[str, Any] = {}
    for name, source in sources.items():
        if isinstance(source, dict) and isinstance(source.get("uri"), str):
            staged[name] = {**source, "uri": stage(source["uri"], base, data, f"sources.{name}")}
        elif isinstance(source, str):
            staged[name] = stage(source, base, data, f"sources.{name}")
        else:
            raise ParameterError(
                "not a source",
                where=f"sources.{name}",
                got=source,
                expected="a URI, or a mapping with a uri",
            )
    return staged


def stage(uri: str, base: Path, data: Path, where: str) -> str:
    """Copy one local file, folder or pattern below `data`; other URIs stay as they are.

    Raises:
        MissingError: nothing matches.
    """
    if "://" in uri and not uri.startswith((PACKAGE, "file://")):
        return uri
    path = (
        package_path(uri, where) if uri.startswith(PACKAGE) else base / uri.removeprefix("file://")
    )
    if path.is_file():
        return str(_copy({path.name: path}, data) / path.name)
    if path.is_dir():
        files = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.is_file()}
    else:
        pattern = str(path)
        files = {Path(p).name: Path(p) for p in sorted(_glob(pattern))}
    if not files:
        raise MissingError("no file matches", where=where, got=uri, fix="check the path")
    return str(_copy(files, data))


def package_path(uri: str, where: str) -> Path:
    """The path of `package://NAME/path`, a file that an installed package ships.

    The package is found, not imported.

    Raises:
        MissingError: the package is not installed, or has no such file.
    """
    name, _, inside = uri.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations or ".." in inside.split("/"):
        raise MissingError(
            f"package '{name}' is not installed", where=where, got=uri, fix=f"pip install {name}"
        )
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _glob(pattern: str) -> list[str]:
    return [p for p in glob.glob(pattern, recursive=True) if Path(p).is_file()]


def _copy(files: Mapping[str, Path], data: Path) -> Path:
    """Copy `files` (name to path) to a folder of `data` named by their content."""
    digest = digest_value({name: digest_file(path) for name, path in files.items()})
    target = data / digest.removeprefix(PREFIX)[:16]
    if target.is_dir():
        return target
    try:
        with whole_folder(target) as folder:
            for name, path in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
    except OSError as error:
        raise store_error(error, data) from error
    return target
