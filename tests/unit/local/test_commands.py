"""What a step receives is what was written."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kfp import dsl
from kfp.compiler import pipeline_spec_builder
from kfp.dsl.executor import Executor
from kfp.local import executor_input_utils

from kfp_suite.local import commands
from kfp_suite.local.checked_values import MAX_EXACT
from kfp_suite.local.commands import command_of, exit_code_of, protobuf_value, run_step
from kfp_suite.local.parameters import (
    check,
    merge,
    parameters_of,
    parse_assignments,
    read_parameters,
)
from kfp_suite.local.time_limits import Deadline


@dsl.component(  # type: ignore[untyped-decorator]
    base_image="kfp-suite-python-x:1", install_kfp_package=False
)
def take(
    text: str = "",
    number: int = 0,
    fraction: float = 0.0,
    flag: bool = False,
    mapping: dict[str, Any] = {},  # noqa: B006 - as components have them
    items: list[Any] = [],  # noqa: B006 - as components have them
    run: str = "",
) -> str:
    import json

    return json.dumps([text, number, fraction, flag, mapping, items])


texts = st.text().filter(lambda text: "{{$" not in text) | st.sampled_from(
    [
        "python3",
        "python3.csv",
        "/kfp-workspace/a",
        "012",
        "no",
        "2024-01-15",
        "1:30",
        "~",
        "'\"$`\\",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_EXACT, MAX_EXACT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
arguments = st.fixed_dictionaries(
    {
        "text": texts,
        "number": st.integers(-MAX_EXACT, MAX_EXACT),
        "fraction": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5),
        "flag": st.booleans(),
        "mapping": st.dictionaries(texts, values, max_size=3),
        "items": st.lists(values, max_size=3),
    }
)


def received(given: dict[str, Any], folder: Path) -> Any:
    """What the function is called with, by way of kfp's own messages and executor."""
    component = take.pipeline_spec.components["comp-take"]
    message = executor_input_utils.construct_executor_input(component, given, str(folder), False)
    content = executor_input_utils.executor_input_to_dict(message, component)
    (file,) = command_of(["{{$}}"], content, "a-run", "take", str(folder.parent), "1")
    output = Executor(json.loads(Path(file).read_text()), take.python_func).execute()
    assert output is not None
    return json.loads(json.loads(Path(output).read_text())["parameterValues"]["Output"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a-run") / "take"
    folder.mkdir()
    return folder


@given(arguments, st.sampled_from([None, '"']))
@settings(max_examples=60, deadline=None)
@example({"text": "a", "mapping": {"b": [None, {"c": None}]}}, None)
def test_what_a_file_says_is_what_the_component_receives(
    folder: Path, written: dict[str, Any], style: str | None
) -> None:
    file = folder / "p.yaml"
    # PyYAML's own texts that YAML 1.2 takes for numbers are the reason for quotes.
    style = '"' if "e" in json.dumps(written) else style
    file.write_text(yaml.safe_dump(written, default_style=style), encoding="utf-8")
    known = parameters_of(take)
    from_file = check(known, read_parameters(file), "p.yaml")
    assigned = parse_assignments(
        tuple(
            f"{name}={value if isinstance(value, str) else json.dumps(value)}"
            for name, value in written.items()
        ),
        known,
    )
    assert check(known, merge(known, {}, assigned), "--param") == from_file
    assert check(known, merge(known, {}, written), "notebook") == from_file
    expected = {"number": 0, "fraction": 0.0, "flag": False, "items": [], **written}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_spec_builder, "to_protobuf_value", protobuf_value)
        got = received(from_file, folder)
    names = ("text", "number", "fraction", "flag", "mapping", "items")
    assert got == [expected[name] for name in names]


def test_only_a_whole_placeholder_is_filled_in(folder: Path) -> None:
    values = {"run": "{{$.pipeline_job_name}}", "text": "a {{$.pipeline_job_name}} python3"}
    content = {"inputs": {"parameterValues": values}, "outputs": {"outputFile": f"{folder}/o"}}
    (file,) = command_of(["{{$}}"], content, "a-run", "take", str(folder.parent), "1")
    assert json.loads(Path(file).read_text())["inputs"]["parameterValues"] == {
        "run": "a-run",
        "text": "a {{$.pipeline_job_name}} python3",
    }


def started(given: dict[str, Any], folder: Path) -> tuple[list[str], int]:
    """The step in a process, by the command that kfp's runner starts."""
    folder.mkdir(parents=True)
    component = take.pipeline_spec.components["comp-take"]
    message = executor_input_utils.construct_executor_input(component, given, str(folder), False)
    content = executor_input_utils.executor_input_to_dict(message, component)
    container = take.pipeline_spec.deployment_spec["executors"]["exec-take"]["container"]
    command = command_of(
        [*container["command"], *container["args"]], content, "a-run", "take", str(folder), "1"
    )
    command = commands._with_python(command, "")
    return command, run_step(command)


def test_a_step_in_a_process_receives_it_too(tmp_path: Path) -> None:
    folder = tmp_path / "python3.11" / "a b'c" / "take"
    given = {"text": "python3 {{$}} /kfp-workspace " + "x" * 300_000}
    _, code = started(given, folder)
    assert code == 0
    output = json.loads((folder / "executor_output.json").read_text())["parameterValues"]["Output"]
    assert json.loads(output)[0] == given["text"]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (0, "the step ended without its outputs; got last words; code of yours that it ran may "),
        (3, "the step ended with exit code 3; got last words"),
        (-9, "the step was killed; it may have run out of memory: check the log"),
        (137, "the step was killed; it may have run out of memory: check the log"),
    ],
)
def test_a_step_without_an_error_of_its_own_leaves_one(
    tmp_path: Path, code: int, what: str
) -> None:
    command = ["x", "--executor_input", str(tmp_path / "take" / "in.json")]
    assert exit_code_of(command, code, "last words", Deadline(0)) == (code or 1)
    error = json.loads((tmp_path / "take" / "error.json").read_text())
    assert error["step"] == "take"
    assert error["message"].startswith(what)
