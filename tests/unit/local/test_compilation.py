"""What a compiled pipeline carries: what steps read, and no more."""

import ast
from pathlib import Path

import pytest
import yaml

from kfp_suite.local.catalog import find_pipeline
from kfp_suite.local.compilation import _drop_docstrings, compile_pipeline


def test_no_text_that_no_step_reads_is_in_each_task(tmp_path: Path) -> None:
    compiled = compile_pipeline(find_pipeline("train_and_deploy"), tmp_path)
    spec = next(yaml.safe_load_all(compiled.read_text()))
    sources = [
        part
        for executor in spec["deploymentSpec"]["executors"].values()
        for part in executor["container"]["command"]
        if "\ndef " in part
    ]
    functions = [
        node
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(functions) >= 8
    assert [one.name for one in functions if ast.get_docstring(one) is not None] == []
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


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f(a):\n    """One."""\n    return a\n', "def f(a):\n    return a\n"),
        ('def f(a):\n    """One.\n\n    ü\n    """\n    return a\n', "def f(a):\n    return a\n"),
        ('def f():\n    """Only this."""\n', 'def f():\n    """Only this."""\n'),
        ("import os\n\ndef f():\n    return os\n", "import os\n\ndef f():\n    return os\n"),
    ],
)
def test_a_source_keeps_all_but_its_docstrings(source: str, expected: str) -> None:
    assert _drop_docstrings(source) == expected
