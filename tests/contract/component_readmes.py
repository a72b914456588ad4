"""Every component's README, made from its signature, docstring and `metadata.yaml`.

`python -m tests.contract.component_readmes` (make readmes) writes them; a test holds them
fresh.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import yaml
from docstring_parser import parse

from kfp_suite.pipelines.runs.catalog import Entry, components, load

COMPONENTS = Path(__file__).resolve().parents[2] / "components"


def folder_of(entry: Entry) -> Path:
    """The folder of a component."""
    return COMPONENTS.joinpath(*entry.module.split(".")[2:-1])


def readme_file(entry: Entry) -> Path:
    """Where the README of a component is: beside its interface."""
    return folder_of(entry) / "README.md"


def metadata(entry: Entry) -> dict[str, Any]:
    """What `metadata.yaml` says of a component: as the field's catalogue has it."""
    found = yaml.safe_load((folder_of(entry) / "metadata.yaml").read_text())
    assert isinstance(found, dict)
    return found


def readme(entry: Entry) -> str:
    """The README of one component."""
    name, component = entry.name, load(entry)
    spec = component.component_spec
    doc = parse(inspect.getdoc(component.python_func) or "")
    described = {p.arg_name: " ".join((p.description or "").split()) for p in doc.params}
    lines = [f"# {name}", "", doc.short_description or "", ""]
    if doc.long_description:
        lines += [doc.long_description, ""]
    lines += [
        "```python",
        f"from {entry.module} import {name}",
        "```",
        "",
    ]
    inputs = spec.inputs or {}
    if inputs:
        lines += ["## Inputs", "", "| name | type | default | what it is |", "|---|---|---|---|"]
        lines += [
            f"| `{n}` | {_type(i.type)} | {_default(i)} | {_cell(described.get(n, ''))} |"
            for n, i in inputs.items()
        ]
        lines.append("")
    outputs = spec.outputs or {}
    lines += ["## Outputs", "", "| name | type | what it is |", "|---|---|---|"]
    returned = " ".join((doc.returns.description or "").split()) if doc.returns else ""
    lines += [
        f"| `{n}` | {_type(o.type)} | {_cell(described.get(n, '') or returned)} |"
        for n, o in outputs.items()
    ]
    return "\n".join([*lines, "", *_about(entry, spec.implementation.container.image), ""])


def _about(entry: Entry, image: str) -> list[str]:
    """The metadata, as a table."""
    known = metadata(entry)
    needs = known["dependencies"]
    rows = {
        "stability": known["stability"],
        "image": f"`{image}`",
        "needs": "; ".join(
            [f"Kubeflow {one['name']} {one['version']}" for one in needs["kubeflow"]]
            + needs.get("external_services", [])
        ),
        "tags": ", ".join(known["tags"]),
    }
    if documentation := known.get("links", {}).get("documentation"):
        up = "../" * len(folder_of(entry).relative_to(COMPONENTS.parent).parts)
        rows["read more"] = f"[{documentation}]({up}{documentation})"
    return ["## About", "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]


def _type(name: str) -> str:
    return name.removeprefix("system.").split("@")[0]


def _default(spec: Any) -> str:
    if not spec.optional:
        return "required"
    return f"`{json.dumps(spec.default)}`" if spec.default is not None else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write every README."""
    for entry in components().values():
        readme_file(entry).write_text(readme(entry))


if __name__ == "__main__":
    main()
