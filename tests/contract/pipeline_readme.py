"""`pipelines/README.md`, made from the compiled pipelines.

`python -m tests.contract.pipeline_readme` (make readmes) writes it; a test holds it fresh.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kfp_suite.pipelines.runs.catalog import Entry, components, load, pipelines
from kfp_suite.pipelines.runs.compilation import compile_pipeline
from tests.contract.component_readmes import COMPONENTS, readme_file

README = COMPONENTS.parent / "pipelines" / "README.md"
_CHANNEL = "pipelinechannel--"
_INTRODUCTION = """\
# Pipelines

Each parameter, what it means, and the input of the component that it becomes: the page of that
component says more. Set parameters in a file (`--params`), on the command line
(`--param NAME=VALUE`, and `--param split.test=0.2` for a key in a mapping), or in the form of a
new run in the Kubeflow UI.

Written by `make readmes`; do not edit.
"""
Spec = Mapping[str, Any]


def pipeline_readme() -> str:
    """The page of all pipelines, in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [_section(entry, Path(folder)) for entry in pipelines().values()]
    listed = [f"| [{e.name}](#{e.name}) | {e.summary} |" for e in pipelines().values()]
    table = "\n".join(["| pipeline | what it does |", "|---|---|", *listed])
    return "\n".join([_INTRODUCTION, table, "", *parts])


def _section(entry: Entry, folder: Path) -> str:
    spec = next(yaml.safe_load_all(compile_pipeline(entry, folder).read_text()))
    inputs = load(entry).component_spec.inputs
    uses: dict[str, dict[str, None]] = {name: {} for name in inputs}
    for component, component_input, parameter in _handed_over(spec, spec["root"]["dag"]):
        if parameter in uses:
            uses[parameter][f"{_link(component)} `{component_input}`"] = None
    rows = [
        f"| `{name}` | {found.type} | {_default(found)} | {_cell(found.description)} | "
        f"{', '.join(uses[name])} |"
        for name, found in inputs.items()
    ]
    description = spec["pipelineInfo"].get("description", "")
    return "\n".join(
        [
            f"## {entry.name}",
            "",
            description,
            "",
            "```mermaid",
            *_picture(spec),
            "```",
            "",
            "| parameter | type | default | what it is | goes to |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _handed_over(spec: Spec, dag: Spec) -> Iterator[tuple[str, str, str]]:
    """Component, its input, and the pipeline's parameter, of every step in order."""
    for task in dag["tasks"].values():
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" in component:
            yield from _handed_over(spec, component["dag"])
            continue
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if parameter := source.get("componentInputParameter"):
                yield _component_of(task), name, parameter.removeprefix(_CHANNEL)


def _picture(spec: Spec) -> Iterator[str]:
    """The steps of a pipeline as a Mermaid diagram, without the exit handler's."""
    earlier = dict(_dependencies(spec, _without_exit_handler(spec), ()))
    yield "flowchart LR"
    if len(earlier) == 1:
        yield f"  {next(iter(earlier))}"
    for name in sorted(earlier, key=lambda one: (len(_all_before(earlier, one)), one)):
        direct = earlier[name]
        implied = set().union(*(_all_before(earlier, other) for other in direct))
        for other in dict.fromkeys(direct):
            if other not in implied:
                yield f"  {other} --> {name}"


def _without_exit_handler(spec: Spec) -> Spec:
    for name, component in spec["components"].items():
        if name.startswith("comp-exit-handler"):
            found: Spec = component["dag"]
            return found
    root: Spec = spec["root"]["dag"]
    return root


def _dependencies(
    spec: Spec, dag: Spec, before: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each step, and the steps that end before it; `before` end before all of this DAG."""
    for name, task in dag["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        own = [step for one in task.get("dependentTasks", []) for step in _steps(spec, dag, one)]
        direct = (*before, *own)
        if "dag" in component:
            yield from _dependencies(spec, component["dag"], direct)
        else:
            yield name, direct


def _steps(spec: Spec, dag: Spec, task: str) -> Iterator[str]:
    """The task, or the steps inside it if it is a condition or a loop."""
    inside = spec["components"][dag["tasks"][task]["componentRef"]["name"]].get("dag")
    if inside is None:
        yield task
        return
    for name in inside["tasks"]:
        yield from _steps(spec, inside, name)


def _all_before(earlier: Mapping[str, tuple[str, ...]], name: str) -> set[str]:
    direct = earlier.get(name, ())
    return set(direct).union(*(_all_before(earlier, other) for other in direct))


def _component_of(task: Spec) -> str:
    name = task["componentRef"]["name"].removeprefix("comp-").replace("-", "_")
    return str(name.rstrip("0123456789").rstrip("_"))


def _link(component: str) -> str:
    page = readme_file(components()[component]).relative_to(COMPONENTS.parent)
    return f"[{component}](../{page})"


def _default(spec: Any) -> str:
    return f"`{json.dumps(spec.default, sort_keys=True)}`" if spec.optional else "required"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    README.write_text(pipeline_readme())


if __name__ == "__main__":
    main()
