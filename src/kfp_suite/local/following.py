"""The output of a run's process: its log on disk, and the steps that appear in the log."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from kfp_suite.contracts.errors import store_error
from kfp_suite.local.events import (
    Cached,
    Event,
    Finished,
    LogReader,
    Refused,
    Said,
    Started,
)
from kfp_suite.local.history import LOG, Step

MAX_LOG_BYTES = 64 << 20
"""Of a run's log. A step that prints without end does not fill the disk."""


class Follower:
    """Keeps the log of a run and the time of each step.

    The log is locked as long as the run is followed, which distinguishes a run that goes on
    from one that was killed.

    Args:
        folder: The run's folder; `run.log` is written there.
        on_event: Called with each event as it happens.

    Raises:
        StoreError: the log cannot be written.
    """

    def __init__(self, folder: Path, on_event: Callable[[Event], None]) -> None:
        self.steps: list[Step] = []
        self.last_line = ""
        self._on_event = on_event
        self._reader = LogReader()
        self._running = ""
        self._started = time.monotonic()
        log = folder / LOG
        try:
            self._log = log.open("w", encoding="utf-8", errors="replace", buffering=1)
        except OSError as error:
            raise store_error(error, log) from error
        self._left = MAX_LOG_BYTES
        with suppress(OSError):
            fcntl.flock(self._log, fcntl.LOCK_EX)

    def read(self, line: str) -> None:
        """One line that the run's process printed."""
        self._keep(line)
        if line.strip():
            self.last_line = line.strip()
        event = self._reader.read(line)
        if event is None:
            return
        seconds = self._seconds()
        match event:
            case Started(task):
                self._running, self._started = task, time.monotonic()
            case Finished(task, succeeded):
                self._running = ""
                self._add(Step(task, "succeeded" if succeeded else "failed", seconds))
            case Refused(task) if self.steps and self.steps[-1].name == task:
                self.steps[-1] = replace(self.steps[-1], state="refused")
            case Cached(task):
                self._add(Step(task, "cached", 0.0))
        self._on_event(event)

    def end_step(self) -> None:
        """The run is over: a step that still runs is interrupted."""
        if self._running:
            self._add(Step(self._running, "interrupted", self._seconds()))
            self._running = ""

    def close(self) -> None:
        """Close the log, and let go of it."""
        with suppress(OSError):  # what was not yet written finds no space
            self._log.close()

    def _seconds(self) -> float:
        """Since the last step started."""
        return round(time.monotonic() - self._started, 2)

    def _keep(self, line: str) -> None:
        if self._left <= 0:
            return
        self._left -= len(line.encode(errors="replace"))
        why = f"it has {MAX_LOG_BYTES >> 20} MiB"
        try:
            self._log.write(line)
        except OSError as error:
            self._left, why = 0, str(error.strerror)
        if self._left <= 0:
            said = f"the log of this run ends here: {why}; what follows is not kept"
            with suppress(OSError):
                self._log.write(f"\n{said}\n")
            self._on_event(Said("", said))

    def _add(self, step: Step) -> None:
        """A retried step replaces its earlier try."""
        if self.steps and self.steps[-1].name == step.name:
            self.steps.pop()
        self.steps.append(step)
