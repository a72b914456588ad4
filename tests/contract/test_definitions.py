"""Definitions import with kfp alone, say what each parameter is, and compile to golden YAML."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from docstring_parser import parse

from kfp_suite.kubeflow.connection import OLDEST
from kfp_suite.local.catalog import Entry, components, load, pipelines
from kfp_suite.local.compilation import compile_pipeline
from tests.contract.component_readmes import COMPONENTS, metadata, readme, readme_file
from tests.contract.pipeline_readme import GOLDEN, README, pipeline_readme

# Without google.cloud and kubernetes: kfp itself imports them.
HEAVY = [
    "boto3",
    "duckdb",
    "jinja2",
    "kserve",
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "scipy",
    "skl2onnx",
    "sklearn",
    "skops",
    "tensorflow",
    "tensorflow_metadata",
    "xgboost",
]


def test_definitions_import_with_kfp_alone() -> None:
    modules = [entry.module for entry in (*components().values(), *pipelines().values())]
    code = (
        "import importlib, sys\n"
        f"heavy = {HEAVY!r}\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if any(name == h or name.startswith(h + '.') for h in heavy):\n"
        "            raise ImportError('a definition imported ' + name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        "print(len(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(modules) >= 10


@pytest.mark.parametrize("entry", components().values(), ids=lambda entry: entry.name)
def test_every_parameter_is_described(entry: Entry) -> None:
    component: Any = load(entry)
    spec = component.component_spec
    doc = parse(inspect.getdoc(component.python_func) or "")
    described = {p.arg_name for p in doc.params if p.description}
    outputs = set(spec.outputs or {}) - {"Output"} if len(doc.params) else set()
    named = set(spec.inputs or {}) | outputs
    # Several values are returned by name, and described in the text.
    text = inspect.getdoc(component.python_func) or ""
    returned = {name for name in outputs if f"`{name}`" in text}
    assert doc.short_description
    assert named - described - returned == set()


@pytest.mark.parametrize("entry", components().values(), ids=lambda entry: entry.name)
def test_the_readme_is_fresh(entry: Entry) -> None:
    assert readme_file(entry).read_text() == readme(entry), "run: make readmes"


def test_the_page_of_the_pipelines_is_fresh() -> None:
    assert README.read_text() == pipeline_readme(), "run: make readmes"


@pytest.mark.parametrize("entry", components().values(), ids=lambda entry: entry.name)
def test_the_metadata_is_right(entry: Entry) -> None:
    known = metadata(entry)
    assert set(known) <= {"name", "stability", "dependencies", "tags", "links"}
    assert known["name"] == entry.name
    assert known["stability"] in ("alpha", "beta", "stable")
    assert known["tags"] and all(re.fullmatch(r"[a-z0-9-]+", tag) for tag in known["tags"])
    oldest = ">=" + ".".join(map(str, OLDEST))
    assert known["dependencies"]["kubeflow"][0] == {"name": "Pipelines", "version": oldest}
    for link in known.get("links", {}).values():
        assert (COMPONENTS.parent / link).is_file()


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_the_compiled_pipeline_is_the_golden_one(entry: Entry, tmp_path: Path) -> None:
    compiled = compile_pipeline(entry, tmp_path)
    golden = (GOLDEN / compiled.name).read_text()
    assert compiled.read_text() == golden, "if the change is meant: make golden"


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_nothing_is_installed_when_a_step_starts(entry: Entry, tmp_path: Path) -> None:
    text = compile_pipeline(entry, tmp_path).read_text()
    assert "pip install" not in text
    spec = next(yaml.safe_load_all(text))
    for executor in spec["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"].startswith("kfp-suite-python-")


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_a_pipeline_is_described_for_the_ui(entry: Entry) -> None:
    pipeline = load(entry)
    inputs = pipeline.component_spec.inputs
    undescribed = [name for name, spec in inputs.items() if not spec.description]
    assert pipeline.description
    assert undescribed == []


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_every_artifact_of_a_run_has_a_name_of_its_own(entry: Entry, tmp_path: Path) -> None:
    """The UI lists the artifacts of all steps of all runs by the names of the outputs."""
    spec = next(yaml.safe_load_all(compile_pipeline(entry, tmp_path).read_text()))
    names = [
        name
        for component in spec["components"].values()
        if "executorLabel" in component
        for name in component.get("outputDefinitions", {}).get("artifacts", {})
    ]
    assert names
    assert sorted(names) == sorted(set(names))
    assert not {"card", "page", "preview", "report", "result", "summary"} & set(names)
