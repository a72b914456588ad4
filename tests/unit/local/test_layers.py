"""The layers of compiled pipelines: by their names, which the UI's breadcrumb shows."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from kfp_suite.local.catalog import Entry, pipelines
from kfp_suite.local.compilation import compile_pipeline
from kfp_suite.local.layers import name_layers

Json = dict[str, Any]
PRODUCERS = ("producerTask", "producerSubtask")


@dsl.component(base_image="any", install_kfp_package=False)  # type: ignore[untyped-decorator]
def ask(value: str) -> bool:
    return bool(value)


@dsl.component(base_image="any", install_kfp_package=False)  # type: ignore[untyped-decorator]
def count(values: list[int]) -> int:
    return len(values)


@dsl.pipeline(name="layered")  # type: ignore[untyped-decorator]
def layered(word: str) -> None:
    with dsl.ExitHandler(ask(value="end"), name="steps"):
        with dsl.ParallelFor(["a", "b"], name="each-word") as item:
            one = ask(value=item)
        counted = count(values=dsl.Collected(one.outputs["Output"]))
        with dsl.If(counted.output == 2, name="if-two"):
            ask(value=word)
        with dsl.If(counted.output == 3, name="If it is three"):
            ask(value=word)
        with dsl.If(counted.output == 4, name="count"):
            ask(value=word)
        with dsl.If(counted.output == 5):
            ask(value=word)


@pytest.fixture
def spec(tmp_path: Path) -> Json:
    file = tmp_path / "layered.yaml"
    compiler.Compiler().compile(layered, str(file))
    named: Json = yaml.safe_load(file.read_text())
    name_layers(named)
    return named


def dags(spec: Json) -> list[Json]:
    parts = (spec["root"], *spec["components"].values())
    return [part["dag"] for part in parts if "dag" in part]


def references(node: Any) -> set[str]:
    """The tasks that something refers to."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    found = {node[field] for field in PRODUCERS if field in node}
    return found.union(node.get("dependentTasks", ()), *map(references, node.values()))


def test_a_layer_has_its_name_as_its_key(spec: Json) -> None:
    assert set(spec["root"]["dag"]["tasks"]) == {"steps", "ask"}
    steps = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    # A name that Argo refuses, and one that a step has already, are names for people alone.
    assert set(steps) == {
        *("each-word", "count", "if-two"),
        *("condition-5", "condition-6", "condition-7"),
    }
    assert list(steps) == sorted(steps)


def test_whatever_refers_to_a_layer_follows(spec: Json) -> None:
    assert spec["root"]["dag"]["tasks"]["ask"]["inputs"] == {
        "parameters": {"value": {"runtimeValue": {"constant": "end"}}}
    }
    assert spec["root"]["dag"]["tasks"]["ask"]["dependentTasks"] == ["steps"]
    steps = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert steps["count"]["dependentTasks"] == ["each-word"]
    collected = steps["count"]["inputs"]["parameters"]["values"]["taskOutputParameter"]
    assert collected["producerTask"] == "each-word"
    for dag in dags(spec):
        assert references(dag) <= set(dag["tasks"])


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_no_layer_of_a_pipeline_is_a_number(entry: Entry, tmp_path: Path) -> None:
    compiled = next(yaml.safe_load_all(compile_pipeline(entry, tmp_path).read_text()))
    steps = [key for key, part in compiled["components"].items() if "executorLabel" in part]
    for dag in dags(compiled):
        assert references(dag) <= set(dag["tasks"])
        for key, task in dag["tasks"].items():
            if task["componentRef"]["name"] not in steps:
                assert key == task["taskInfo"]["name"]
                assert f"comp-{key}" not in steps  # watching tells steps from layers by their keys
