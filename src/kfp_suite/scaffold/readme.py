"""A component's README, from its signature, its docstring and its metadata."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any


def readme(component: Any, module: str, metadata: Mapping[str, Any], root: str) -> str:
    """The README of a component.

    Args:
        component: As `dsl.component` made it.
        module: Where it is imported from.
        metadata: What its `metadata.yaml` says.
        root: The way from its folder to what its links start from: `../../`.
    """
    from docstring_parser import parse

    spec = component.component_spec
    doc = parse(inspect.getdoc(component.python_func) or "")
    described = {p.arg_name: " ".join((p.description or "").split()) for p in doc.params}
    lines = [f"# {component.python_func.__name__}", "", doc.short_description or "", ""]
    if doc.long_description:
        lines += [doc.long_description, ""]
    lines += ["```python", f"from {module} import {component.python_func.__name__}", "```", ""]
    if inputs := spec.inputs or {}:
        lines += ["## Inputs", "", "| name | type | default | what it is |", "|---|---|---|---|"]
        lines += [
            f"| `{n}` | {_type(i.type)} | {_default(i)} | {_cell(described.get(n, ''))} |"
            for n, i in inputs.items()
        ]
        lines.append("")
    lines += ["## Outputs", "", "| name | type | what it is |", "|---|---|---|"]
    returned = " ".join((doc.returns.description or "").split()) if doc.returns else ""
    lines += [
        f"| `{n}` | {_type(o.type)} | {_cell(described.get(n, '') or returned)} |"
        for n, o in (spec.outputs or {}).items()
    ]
    about = dict(_about(metadata, spec.implementation.container.image, root))
    lines += [
        "",
        "## About",
        "",
        "| | |",
        "|---|---|",
        *(f"| {k} | {v} |" for k, v in about.items()),
    ]
    return "\n".join([*lines, ""])


def _about(metadata: Mapping[str, Any], image: str, root: str) -> Iterator[tuple[str, str]]:
    needs = metadata["dependencies"]
    kubeflow = [f"Kubeflow {one['name']} {one['version']}" for one in needs["kubeflow"]]
    yield "stability", metadata["stability"]
    yield "image", f"`{image}`"
    yield "needs", "; ".join([*kubeflow, *needs.get("external_services", [])])
    yield "tags", ", ".join(metadata["tags"])
    if documentation := metadata.get("links", {}).get("documentation"):
        yield "read more", f"[{documentation}]({root}{documentation})"


def _type(name: str) -> str:
    return name.removeprefix("system.").split("@")[0]


def _default(spec: Any) -> str:
    if not spec.optional:
        return "required"
    return f"`{json.dumps(spec.default)}`" if spec.default is not None else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
