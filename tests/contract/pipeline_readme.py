"""`pipelines/README.md`, made from the compiled pipelines of tests/golden.

`python -m tests.contract.pipeline_readme` (make readmes) writes it; a test holds it fresh.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from kfp_suite.kubeflow.package import TYPES
from kfp_suite.local.catalog import components, pipelines
from tests.contract.component_readmes import COMPONENTS, readme_file

README = COMPONENTS.parent / "pipelines" / "README.md"
GOLDEN = COMPONENTS.parent / "tests" / "golden"
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
    listed = [f"| [{e.name}](#{e.name}) | {e.summary} |" for e in pipelines().values()]
    table = "\n".join(["| pipeline | what it does |", "|---|---|", *listed])
    parts = [_section(entry.name) for entry in pipelines().values()]
    return "\n".join([_INTRODUCTION, table, "", *parts])


def _section(pipeline: str) -> str:
    spec = next(yaml.safe_load_all((GOLDEN / f"{pipeline}.yaml").read_text()))
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    uses: dict[str, dict[str, None]] = {}
    order = _in_order(dict(_dependencies(spec, _without_exit_handler(spec), ())))
    for use in sorted(_uses(spec, spec["root"]["dag"]), key=lambda use: _rank(order, use.step)):
        if use.parameter in inputs:  # and not the output of a step, handed into a condition
            uses.setdefault(use.parameter, {})[f"{_link(use.component)} `{use.input}`"] = None
    # Those that are required first, then in the order of the steps that take them.
    names = sorted(uses, key=lambda name: "isOptional" in inputs[name])
    assert set(names) == set(inputs), f"no step of {pipeline} takes {set(inputs) - set(names)}"
    rows = [
        f"| `{name}` | {TYPES[inputs[name]['parameterType']]} | {_default(inputs[name])} | "
        f"{_cell(inputs[name]['description'])} | {', '.join(uses[name])} |"
        for name in names
    ]
    return "\n".join(
        [
            f"## {pipeline}",
            "",
            spec["pipelineInfo"]["description"],
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


@dataclass(frozen=True)
class Use:
    """An input of a step's component that is a parameter of the pipeline."""

    step: str
    component: str
    input: str
    parameter: str


def _uses(spec: Spec, dag: Spec) -> Iterator[Use]:
    """The inputs of a DAG's steps that come from outside of it."""
    for step, task in dag["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" in component:
            yield from _uses(spec, component["dag"])
            continue
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if parameter := source.get("componentInputParameter"):
                yield Use(step, _component_of(task), name, parameter.removeprefix(_CHANNEL))


def _rank(order: Sequence[str], step: str) -> int:
    """The position of a step; the exit handler's is the last."""
    return order.index(step) if step in order else len(order)


def _picture(spec: Spec) -> Iterator[str]:
    """The steps of a pipeline as a Mermaid diagram, without the exit handler's."""
    earlier = dict(_dependencies(spec, _without_exit_handler(spec), ()))
    yield "flowchart LR"
    if len(earlier) == 1:
        yield f"  {next(iter(earlier))}"
    for name in _in_order(earlier):
        direct = earlier[name]
        implied = set().union(*(_all_before(earlier, other) for other in direct))
        for other in dict.fromkeys(direct):
            if other not in implied:
                yield f"  {other} --> {name}"


def _in_order(earlier: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The steps, each after those that it depends on."""
    return sorted(earlier, key=lambda step: (len(_all_before(earlier, step)), step))


def _without_exit_handler(spec: Spec) -> Spec:
    steps = spec["root"]["dag"]["tasks"]["steps"]["componentRef"]["name"]
    found: Spec = spec["components"][steps]["dag"]
    return found


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


def _default(spec: Spec) -> str:
    if "isOptional" not in spec:
        return "required"
    value = spec["defaultValue"]
    whole = spec["parameterType"] == "NUMBER_INTEGER"  # a float in YAML
    return f"`{json.dumps(int(value) if whole else value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    README.write_text(pipeline_readme())


if __name__ == "__main__":
    main()
