"""A run on Kubeflow in a terminal: a line a task, what is running below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kfp_suite.components.contracts.errors import RunError
from kfp_suite.pipelines.kubeflow.submitting import run_link
from kfp_suite.pipelines.kubeflow.watching import RunState, Task, follow

if TYPE_CHECKING:
    from kfp_suite.pipelines.kubeflow.connection import Backend

_MARKS = {
    "SUCCEEDED": ("✓", "green"),
    "FAILED": ("✗", "red"),
    "SKIPPED": ("-", "dim"),
    "CANCELED": ("✗", "yellow"),
}


def watch_run(backend: Backend, run_id: str, console: Console) -> None:
    """Show a run until it is over; Ctrl-C leaves it running.

    Raises:
        RunError: it did not succeed.
    """
    live = Live(Text(""), console=console, refresh_per_second=4) if console.is_terminal else None

    def show(run: RunState, changed: list[Task]) -> None:
        for task in changed:
            if line := _line(task):
                console.print(line, soft_wrap=True)
            elif live is None and task.state == "RUNNING":
                console.print(Text.assemble(("… ", "yellow"), task.name))
        if live is not None:
            running = [task.name for task in run.tasks if task.state == "RUNNING"]
            live.update(Text(f"… {', '.join(running) or run.state.lower()}", style="yellow"))

    try:
        if live is not None:
            live.start()
        run = follow(backend, run_id, show)
    except KeyboardInterrupt:
        console.print(
            f"\ndetached; the run goes on\nwatch it:      kfp-suite runs watch {run_id}\n"
            f"terminate it:  kfp-suite runs terminate {run_id}",
            soft_wrap=True,
        )
        return
    finally:
        if live is not None:
            live.update(Text(""))
            live.stop()
    if not run.succeeded:
        failed = [task for task in run.tasks if task.state == "FAILED"]
        told = "; ".join(
            f"{task.name}: {task.error}" if task.error else task.name for task in failed
        )
        raise RunError(
            f"the run ended as {run.state.lower()}",
            where=run.name,
            got=told or run.error or None,
            fix=f"see {run_link(backend, run.id)}",
        )
    console.print(f"[green]{run.name} succeeded[/]")


def _line(task: Task) -> Text | None:
    """The line of a task that is over."""
    if task.state not in _MARKS:
        return None
    mark, style = _MARKS[task.state]
    seconds = f"{task.seconds:8.1f} s" if task.seconds is not None else ""
    error = f"  {task.error}" if task.error else ""
    return Text.assemble((f"{mark} ", style), f"{task.name:24}", seconds, (error, "red"))
