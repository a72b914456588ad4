"""How long a step may take on this machine: as long as its pipeline lets it on a cluster.

A pipeline is compiled with a time limit for each task, which Kubernetes enforces on the task's
pod. Here the same limit ends the step's process and the processes below it, or its container. A
process that has left the step's tree, because the one that started it has ended, goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
from google.protobuf.json_format import MessageToDict

from kfp_suite.contracts.errors import RunError

# Longer than a thread can wait for is no limit.
_MAX_SECONDS = int(threading.TIMEOUT_MAX)


@dataclass
class Deadline:
    """The end of a step's time.

    Attributes:
        seconds: How long the step may take; 0: without end.
        is_over: Whether the step was ended for it.
    """

    seconds: int
    is_over: bool = False

    @contextmanager
    def ending(
        self, end: Callable[[], object], has_ended: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Call `end` once, in a thread, if the block takes longer than the step may.

        Args:
            end: Ends the step; what it raises is the step's own affair.
            has_ended: Whether the step has ended by itself, and the block only reads on.
        """
        if not self.seconds or self.seconds > _MAX_SECONDS:
            yield
            return

        def end_step() -> None:
            if not has_ended():
                self.is_over = True
                end()

        timer = threading.Timer(self.seconds, end_step)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @property
    def error(self) -> RunError:
        """The error of a step that exceeded it."""
        return RunError(
            "the step reached its time limit, and was ended",
            got=f"{self.seconds:,} s",
            fix="raise max_step_seconds (--max-step-seconds); if the step should have been "
            "faster, the log says what it did last: code of yours may never return",
        )


def find_time_limits(pipeline: Any, max_step_seconds: int | None) -> dict[str, int]:
    """How many seconds each step of a compiled pipeline may take, by its name; 0: without end.

    Args:
        pipeline: As kfp compiled it.
        max_step_seconds: For every step, in place of what the pipeline says; None: what it says.
    """
    platforms = MessageToDict(pipeline.platform_spec).get("platforms", {})
    placed = platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    limits = {}
    for name, component in pipeline.pipeline_spec.components.items():
        if component.executor_label:
            compiled = int(placed.get(component.executor_label, {}).get("activeDeadlineSeconds", 0))
            step = name.removeprefix("comp-")
            limits[step] = compiled if max_step_seconds is None else max_step_seconds
    return limits


def end_process(process: psutil.Process) -> None:
    """End a process and every process below it, at once; nothing if it has ended already, even
    if another process has its id by now."""
    with suppress(psutil.NoSuchProcess):
        started = process.children(recursive=True)
        for one in (process, *started):
            with suppress(psutil.NoSuchProcess):
                one.kill()


def set_deadline(step: str, limits: Mapping[str, int]) -> Deadline:
    """The deadline of a step that starts now."""
    return Deadline(limits.get(step, 0))
