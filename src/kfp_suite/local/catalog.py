"""What can be run: pipelines and components, found by their files.

Summaries are read from the sources, so that listing them imports nothing.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.errors import MissingError, did_you_mean


@dataclass(frozen=True)
class Entry:
    """A pipeline or a component: its name, its one-line summary and its module."""

    name: str
    summary: str
    module: str


def pipelines() -> dict[str, Entry]:
    """The pipelines of the suite, by name."""
    folder = _folder("kfp_suite.pipelines")
    return {
        path.stem: _entry(path, path.stem, f"kfp_suite.pipelines.{path.stem}")
        for path in sorted(folder.glob("*.py"))
        if path.stem != "__init__"
    }


def components() -> dict[str, Entry]:
    """The components of the suite, by name."""
    package = "kfp_suite.components"
    folder = _folder(package)
    found = {}
    for path in sorted(folder.rglob("component.py")):
        module = ".".join((package, *path.relative_to(folder).with_suffix("").parts))
        name = _component_in(path)
        found[name] = _entry(path, name, module)
    return found


def load(entry: Entry) -> Any:
    """The kfp pipeline or component of an entry."""
    return getattr(importlib.import_module(entry.module), entry.name)


def step_names(pipeline: Any) -> list[str]:
    """The steps of a kfp pipeline, as a run names them, each after those it needs.

    Args:
        pipeline: The kfp pipeline.
    """
    spec = pipeline.pipeline_spec
    return list(dict.fromkeys(_steps(spec, spec.root)))


def _steps(spec: Any, component: Any) -> Iterator[str]:
    from kfp.local.graph_utils import topological_sort_tasks

    for task in reversed(topological_sort_tasks(component.dag.tasks)):
        name = component.dag.tasks[task].component_ref.name
        if spec.components[name].WhichOneof("implementation") == "dag":
            yield from _steps(spec, spec.components[name])
        else:
            yield name.removeprefix("comp-")


def find_pipeline(name: str) -> Entry:
    """The pipeline called `name`; hyphens and underscores are the same.

    Raises:
        MissingError: with the near miss.
    """
    known = pipelines()
    key = name.replace("-", "_")
    if key not in known:
        raise MissingError(f"no pipeline '{name}'", fix=did_you_mean(key, known))
    return known[key]


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


def _component_in(path: Path) -> str:
    """The name of the one component that a file defines."""
    return next(n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef))


def _entry(path: Path, name: str, module: str) -> Entry:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return Entry(name, (ast.get_docstring(node) or "").split("\n", 1)[0], module)
    raise AssertionError(f"{path} defines no function '{name}'")
