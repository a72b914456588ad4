"""Progress from the log of kfp's local runner.

kfp.local has no callback, so its log is read line by line; the lines it writes about tasks
are those of the version we pin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"- Executing task '([^']+)'$")
_FINISHED = re.compile(r"- Task '([^']+)' finished with status (\w+)$")
_CACHED = re.compile(r"- Task (\S+) cache hit ")
_RETRIED = re.compile(r"- Task (\S+) failed \(attempt (\d+)/(\d+)\)\. Retrying")
_OUTPUTS = re.compile(r"- Task '([^']+)' outputs:$")
_REFUSED = "Output: False"
_LOGGED = re.compile(r"\[KFP Executor [^]]+\]: (.*)")
_EXECUTOR_INPUT = "Got executor_input:"
_OF_KFP = (
    "Looking for component ",
    "Loading KFP component ",
    "Wrote executor output file",
)
_INDENT = "    "


@dataclass(frozen=True)
class Started:
    task: str


@dataclass(frozen=True)
class Finished:
    task: str
    succeeded: bool


@dataclass(frozen=True)
class Refused:
    """The verdict of a task that finished was no: nothing new, not valid, not good enough."""

    task: str


@dataclass(frozen=True)
class Cached:
    task: str


@dataclass(frozen=True)
class Retried:
    task: str
    attempt: int


@dataclass(frozen=True)
class Said:
    """A line that a step printed or logged."""

    task: str
    text: str


Event = Started | Finished | Refused | Cached | Retried | Said


class LogReader:
    """Turns log lines into events, one line at a time."""

    def __init__(self) -> None:
        self._task = ""
        self._outputs_of = ""
        self._in_executor_input = False

    def read(self, line: str) -> Event | None:
        """The event that `line` tells of, or None."""
        line = _COLOR.sub("", line.rstrip("\n"))
        if line.startswith(_INDENT):
            return self._indented_line(line.removeprefix(_INDENT))
        match = _OUTPUTS.search(line)
        self._outputs_of = match.group(1) if match else ""
        if match := _STARTED.search(line):
            self._task = match.group(1)
            self._in_executor_input = False
            return Started(self._task)
        if match := _FINISHED.search(line):
            self._task = ""  # what follows, indented, are its outputs
            return Finished(match.group(1), match.group(2) == "SUCCESS")
        if match := _CACHED.search(line):
            return Cached(match.group(1))
        if match := _RETRIED.search(line):
            return Retried(match.group(1), int(match.group(2)))
        return None

    def _indented_line(self, text: str) -> Event | None:
        if self._outputs_of:
            return Refused(self._outputs_of) if text == _REFUSED else None
        if self._in_executor_input:
            self._in_executor_input = text != "}"
            return None
        if match := _LOGGED.match(text):
            text = match.group(1)
            self._in_executor_input = text == _EXECUTOR_INPUT
            if self._in_executor_input or text.startswith(_OF_KFP):
                return None
        return Said(self._task, text) if text.strip() and self._task else None
