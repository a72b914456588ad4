"""What a compiled pipeline carries: what steps read, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.components.__main__ import plain_source
from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.catalog import Entry, components, find_pipeline, load, pipelines
from kfp_suite.local.compilation import compile_pipeline

Json = dict[str, Any]


def compiled(entry: Entry, folder: Path) -> Json:
    spec: Json = next(yaml.safe_load_all(compile_pipeline(entry, folder).read_text()))
    return spec


def test_no_text_that_no_step_reads_is_in_each_task(tmp_path: Path) -> None:
    spec = compiled(find_pipeline("train_and_deploy"), tmp_path)
    definitions = [
        definition
        for component in spec["components"].values()
        for side in ("inputDefinitions", "outputDefinitions")
        for kind in component.get(side, {}).values()
        for definition in kind.values()
    ]
    assert definitions
    assert [one for one in definitions if "description" in one] == []
    asked = spec["root"]["inputDefinitions"]["parameters"]
    assert "column to predict" in asked["label"]["description"]
    assert spec["pipelineInfo"]["description"]


def test_an_input_that_nobody_gives_is_left_to_the_function(tmp_path: Path) -> None:
    inputs = compiled(find_pipeline("train_and_deploy"), tmp_path)["components"]["comp-ingest"][
        "inputDefinitions"
    ]["parameters"]
    known = load(components()["ingest"]).component_spec.inputs
    assert set(known) - set(inputs) == {"rows_per_shard", "memory_limit"}
    assert inputs["sql"] == {"parameterType": "STRING"}


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_what_tasks_give_is_what_components_take(entry: Entry, tmp_path: Path) -> None:
    spec = compiled(entry, tmp_path)
    parts = (spec["root"], *spec["components"].values())
    for part in parts:
        for task in part.get("dag", {}).get("tasks", {}).values():
            taken = spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {})
            for kind, given in task.get("inputs", {}).items():
                assert set(given) <= set(taken.get(kind, {}))
                outer = part.get("inputDefinitions", {}).get(kind, {})
                for source in given.values():
                    named = source.get("componentInputParameter") or source.get(
                        "componentInputArtifact"
                    )
                    loop = task.get("parameterIterator", {}).get("itemInput", "")
                    assert named is None or named in outer or named.startswith(loop)
            required = {
                name
                for name, one in taken.get("parameters", {}).items()
                if not one.get("isOptional")
            }
            item = task.get("parameterIterator", {}).get("itemInput")
            assert required - {item} <= set(task.get("inputs", {}).get("parameters", {}))


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_every_step_finds_its_function_in_the_package(entry: Entry, tmp_path: Path) -> None:
    for executor in compiled(entry, tmp_path)["deploymentSpec"]["executors"].values():
        container = executor["container"]
        python, option, package, name = container["command"]
        assert (python, option, package) == ("python3", "-m", "kfp_suite.components")
        function = container["args"][-1]
        assert f"\ndef {function}(" in "\n" + plain_source(f"{package}.{name}.component")


def test_a_step_runs_by_its_compiled_command(tmp_path: Path) -> None:
    spec = compiled(find_pipeline("backfill"), tmp_path)
    container = spec["deploymentSpec"]["executors"]["exec-windows"]["container"]
    given = {
        "inputs": {
            "parameterValues": {
                "sources": {"rows": "gs://rows/${start}.csv"},
                **{"sql": "", "start": "2026-01-01", "end": "2026-03-01", "every": "month"},
            }
        },
        "outputs": {
            "artifacts": {
                "dates": {
                    "artifacts": [
                        {
                            "name": "dates",
                            "type": {"schemaTitle": "system.Artifact"},
                            "uri": str(tmp_path / "dates"),
                            "metadata": {},
                        }
                    ]
                }
            },
            "parameters": {"Output": {"outputFile": str(tmp_path / "output")}},
            "outputFile": str(tmp_path / "executor_output.json"),
        },
    }
    parts = [*container["command"], *container["args"]]
    command = [json.dumps(given) if part == "{{$}}" else part for part in parts]
    done = subprocess.run(
        [sys.executable, *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "executor_output.json").read_text())["parameterValues"]
    assert [one["start"] for one in made["Output"]] == ["2026-01-01", "2026-02-01"]
    assert not list(tmp_path.glob("*ephemeral*"))


@pytest.mark.parametrize("name", ["no_such_component", "evaluate.no_such"])
def test_an_image_of_other_code_says_so(name: str) -> None:
    with pytest.raises(MissingError, match=f"{name}.component' in this image; compile the pip"):
        plain_source(f"kfp_suite.components.{name}.component")


def test_a_source_has_no_decorators() -> None:
    source = plain_source("kfp_suite.components.evaluate.component")
    assert "def evaluate(" in source
    assert "@dsl" not in source
    assert "evaluate_tensorflow" not in source
