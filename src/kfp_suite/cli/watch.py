"""A run on Kubeflow in a terminal: a line a task, what is running below."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kfp_suite.contracts.errors import StoreError, TransientError
from kfp_suite.kubeflow.watching import RunState, Task, check_succeeded, follow

if TYPE_CHECKING:
    from kfp_suite.kubeflow.connection import Backend

_MARKS = {
    "SUCCEEDED": ("✓", "green"),
    "FAILED": ("✗", "red"),
    "SKIPPED": ("-", "dim"),
    "CANCELED": ("✗", "yellow"),
}


def watch_run(
    backend: Backend, run_id: str, console: Console, command: Callable[[str], str]
) -> None:
    """Show a run until it is over; Ctrl-C leaves it running.

    Args:
        backend: Where.
        run_id: Which.
        console: Where it is shown.
        command: Words of a command as one that reaches the same Kubeflow.

    Raises:
        RunError: it did not succeed.
        StoreError: it refuses, or could not be reached for ten minutes.
    """
    try:
        run = _followed(backend, run_id, console)
    except KeyboardInterrupt:
        _say_how_to_go_on("detached", run_id, console, command)
        return
    except StoreError:
        _say_how_to_go_on("the watch is over", run_id, console, command)
        raise
    check_succeeded(backend, run)
    console.print(f"[green]{run.name} succeeded[/]")


def _followed(backend: Backend, run_id: str, console: Console) -> RunState:
    live = Live(Text(""), console=console, refresh_per_second=4) if console.is_terminal else None
    lost = False

    def show(run: RunState, changed: list[Task]) -> None:
        nonlocal lost
        lost = False
        for task in changed:
            if line := _line(task):
                console.print(line, soft_wrap=True)
            elif live is None and task.state == "RUNNING":
                console.print(Text.assemble(("… ", "yellow"), task.name))
        if live is not None:
            running = [task.name for task in run.tasks if task.state == "RUNNING"]
            live.update(Text(f"… {', '.join(running) or run.state.lower()}", style="yellow"))

    def say_lost(error: TransientError) -> None:
        nonlocal lost
        if not lost:
            console.print(f"not reachable, still trying: {error.got}", style="yellow", markup=False)
        lost = True

    if live is None:
        return follow(backend, run_id, show, say_lost)
    try:
        live.start()
        return follow(backend, run_id, show, say_lost)
    finally:
        live.update(Text(""))
        live.stop()


def _say_how_to_go_on(
    why: str, run_id: str, console: Console, command: Callable[[str], str]
) -> None:
    console.print(
        f"\n{why}; the run goes on\nwatch it:      {command(f'runs watch {run_id}')}\n"
        f"terminate it:  {command(f'runs terminate {run_id}')}",
        soft_wrap=True,
        markup=False,
    )


def _line(task: Task) -> Text | None:
    """The line of a task that is over."""
    if task.state not in _MARKS:
        return None
    mark, style = _MARKS[task.state]
    seconds = f"{task.seconds:8.1f} s" if task.seconds is not None else ""
    error = f"  {task.error}" if task.error else ""
    return Text.assemble((f"{mark} ", style), f"{task.name:24}", seconds, (error, "red"))
