"""The commands of steps, by which parameters arrive as they were written.

kfp.local puts the whole input of a step, as JSON, into one argument of its command, and then
replaces placeholders, mount paths and the word `python3` wherever they stand in it, in the
user's own text too; and Linux takes no argument of more than 128 KiB. Here it goes into a file
beside the step's outputs, and the command names the file (kfp 2.17.0, placeholder_utils.py and
subprocess_task_handler.py).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_suite.components.contracts.canonical import write_file, write_json
from kfp_suite.components.contracts.errors import RunError
from kfp_suite.components.contracts.run_record import ERROR

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Value

_LONGEST_LINE = 1 << 16
_INPUT, _OUTPUT = ".executor_input.json", "executor_output.json"
_GIVEN = "--executor_input"
# What kfp's script starts for a step, and what starts the same with the content of a file.
_EXECUTOR = "-m kfp.dsl.executor_main"
_EXECUTOR_OF_FILE = (
    '-c \'import runpy, sys; at = sys.argv.index("--executor_input") + 1; '
    'sys.argv[at] = open(sys.argv[at], encoding="utf-8").read(); '
    'runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=True)\''
)


def use_whole_commands() -> None:
    """Let kfp.local start steps by the commands that this module makes."""
    from kfp.compiler import pipeline_spec_builder
    from kfp.local import placeholder_utils, subprocess_task_handler

    pipeline_spec_builder.to_protobuf_value = protobuf_value
    placeholder_utils.replace_placeholders = command_of
    subprocess_task_handler.replace_python_executable = _with_python
    subprocess_task_handler.run_local_subprocess = run_step


def protobuf_value(value: Any) -> Value:
    """A parameter's value as kfp passes it on: with null inside a mapping or a list, as a
    cluster takes it (kfp 2.17.0 refuses it, pipeline_spec_builder.py)."""
    from google.protobuf.json_format import ParseDict
    from google.protobuf.struct_pb2 import Value

    return ParseDict(value, Value())


def command_of(
    full_command: Sequence[str],
    executor_input_dict: dict[str, Any],
    pipeline_resource_name: str,
    task_resource_name: str,
    pipeline_root: str,
    unique_pipeline_id: str,
) -> list[str]:
    """The command of a step; its input is in a file beside its outputs.

    Only a parameter that is a placeholder as a whole is filled in: a placeholder inside other
    text does not come from a pipeline.

    Args:
        full_command: Of the compiled component.
        executor_input_dict: The input of the step, and the places of its outputs.
        pipeline_resource_name: The run's name.
        task_resource_name: The step's name.
        pipeline_root: The root of runs.
        unique_pipeline_id: The run's id.
    """
    from kfp import dsl

    known = {
        dsl.PIPELINE_JOB_NAME_PLACEHOLDER: pipeline_resource_name,
        dsl.PIPELINE_JOB_ID_PLACEHOLDER: unique_pipeline_id,
        dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER: pipeline_resource_name,
        dsl.PIPELINE_TASK_NAME_PLACEHOLDER: task_resource_name,
        dsl.PIPELINE_ROOT_PLACEHOLDER: pipeline_root,
    }
    values = executor_input_dict.get("inputs", {}).get("parameterValues", {})
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = known.get(value, value)
    folder = Path(executor_input_dict["outputs"]["outputFile"]).parent
    for left in (_OUTPUT, ERROR):  # of an earlier try
        (folder / left).unlink(missing_ok=True)
    given = folder / _INPUT
    write_file(given, json.dumps(executor_input_dict).encode())
    return [
        str(given) if part == "{{$}}" else part.replace(_EXECUTOR, _EXECUTOR_OF_FILE)
        for part in full_command
    ]


def run_step(full_command: Sequence[str], env_vars: dict[str, str] | None = None) -> int:
    """Run a step in a process of its own, print its output, and return its exit code."""
    with subprocess.Popen(  # noqa: S603 - the compiled component's
        list(full_command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env_vars or {})},
    ) as process:
        assert process.stdout is not None
        last = ""
        while line := process.stdout.readline(_LONGEST_LINE):
            print(line, end="")
            last = line.strip() or last
        print("\n")
        return exit_code_of(full_command, process.wait(), last)


def exit_code_of(command: Sequence[str], code: int, last: str) -> int:
    """The exit code of a step that has ended; 1 for one that left no outputs.

    Of a step that failed without an error of its own, the error is left where the run record
    finds it.

    Args:
        command: As `command_of` made it.
        code: The exit code of its process; negative for the signal that ended it.
        last: The last line that it printed.
    """
    if _GIVEN not in command:
        return code
    folder = Path(command[list(command).index(_GIVEN) + 1]).parent
    if code == 0 and (folder / _OUTPUT).is_file():
        return 0
    if not (folder / ERROR).is_file():
        error = _error_of(code, last)
        write_json(folder / ERROR, {"step": folder.name, **error.to_json()})
        print(f"error: {error}")
    return code or 1


def _error_of(code: int, last: str) -> RunError:
    if code == 0:
        return RunError(
            "the step ended without its outputs",
            got=last or None,
            fix="code of yours that it ran may have called exit(): let it return",
        )
    signal_number = -code if code < 0 else code - 128
    if signal_number == 9:
        return RunError("the step was killed", fix="it may have run out of memory: check the log")
    return RunError(f"the step ended with exit code {code}", got=last or None)


def _with_python(full_command: Sequence[str], new_executable: str) -> list[str]:
    """The interpreter in kfp's own script, and in nothing else."""
    return [
        part.replace("python3", shlex.quote(new_executable or sys.executable))
        if _EXECUTOR_OF_FILE in part
        else part
        for part in full_command
    ]
