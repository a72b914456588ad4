"""The commands of steps, by which parameters arrive as they were written.

kfp.local puts the whole input of a step, as JSON, into one argument of its command, and then
replaces placeholders, mount paths and the word `python3` wherever they stand in it, in the
user's own text too; and Linux takes no argument of more than 128 KiB. Here it goes into a file
beside the step's outputs, and the command names the file (kfp 2.17.0, placeholder_utils.py and
subprocess_task_handler.py).
"""

from __future__ import annotations

import json
import math
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.errors import RunError
from kfp_suite.contracts.run_record import ERROR
from kfp_suite.local.time_limits import Deadline, end_process, set_deadline

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Value

_MAX_LINE_BYTES = 1 << 16
# After the end of a step's process its output is read for this long: something that it left
# running may hold on to the output, and may print without end.
_SECONDS_FOR_MORE = 2.0
_INPUT, _OUTPUT = ".executor_input.json", "executor_output.json"
_GIVEN = "--executor_input"
# What kfp's script starts for a step, and what starts the same with the content of a file.
_EXECUTOR = "-m kfp.dsl.executor_main"
_EXECUTOR_OF_FILE = (
    '-c \'import runpy, sys; at = sys.argv.index("--executor_input") + 1; '
    'sys.argv[at] = open(sys.argv[at], encoding="utf-8").read(); '
    'runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=True)\''
)


def use_whole_commands(limits: Mapping[str, int]) -> None:
    """Let kfp.local start steps by the commands that this module makes.

    Args:
        limits: How many seconds a step may take, by its name; see `find_time_limits`.
    """
    from kfp.compiler import pipeline_spec_builder
    from kfp.local import placeholder_utils, subprocess_task_handler

    pipeline_spec_builder.to_protobuf_value = protobuf_value
    placeholder_utils.replace_placeholders = command_of
    subprocess_task_handler.replace_python_executable = _with_python
    subprocess_task_handler.run_local_subprocess = partial(run_step, limits=limits)


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


def run_step(
    full_command: Sequence[str],
    env_vars: dict[str, str] | None = None,
    limits: Mapping[str, int] = {},
) -> int:
    """Run a step in a process of its own, print its output, and return its exit code.

    Args:
        full_command: As `command_of` made it.
        env_vars: Added to the environment.
        limits: How many seconds a step may take, by its name.
    """
    deadline = set_deadline(find_step(full_command), limits)
    process = subprocess.Popen(  # noqa: S603 - the compiled component's
        list(full_command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env_vars or {})},
    )
    started = psutil.Process(process.pid)  # before it can be waited for: the id is its own
    last = ""
    with deadline.ending(partial(end_process, started), lambda: process.poll() is not None):
        for line in _read_lines(process):
            print(line, end="")
            last = line.strip() or last
        print("\n")
        code = process.wait()
    return exit_code_of(full_command, code, last, deadline)


def _read_lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """What a process prints, until it has ended: something that it left running, and that holds
    on to its output, is not waited for."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    is_complete = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as output:
            while line := output.readline(_MAX_LINE_BYTES):
                if not is_complete.is_set():  # or else nobody takes it
                    lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    end = math.inf
    while (left := end - time.monotonic()) > 0:
        with suppress(queue.Empty):
            line = lines.get(timeout=min(left, _SECONDS_FOR_MORE))
            if not line:
                return
            yield line
        if end == math.inf and process.poll() is not None:
            end = time.monotonic() + _SECONDS_FOR_MORE
    is_complete.set()
    for _ in range(lines.qsize()):  # read already, and not yet taken
        yield lines.get()


def find_step(command: Sequence[str]) -> str:
    """The name of the step that a command starts; empty for a command of another kind."""
    return "" if _GIVEN not in command else _find_folder(command).name


def _find_folder(command: Sequence[str]) -> Path:
    """Where a step's outputs go: what it is given is in a file there."""
    return Path(command[list(command).index(_GIVEN) + 1]).parent


def exit_code_of(command: Sequence[str], code: int, last: str, deadline: Deadline) -> int:
    """The exit code of a step that has ended; 1 for one that left no outputs.

    Of a step that failed without an error of its own, the error is left where the run record
    finds it.

    Args:
        command: As `command_of` made it.
        code: The exit code of its process; negative for the signal that ended it.
        last: The last line that it printed.
        deadline: The end of its time.
    """
    if _GIVEN not in command:
        return code
    folder = _find_folder(command)
    if code == 0 and (folder / _OUTPUT).is_file():
        return 0
    if deadline.is_over or not (folder / ERROR).is_file():
        error = deadline.error if deadline.is_over else _error_of(code, last)
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
