"""A run on Kubeflow in a terminal: a line a task, what is running below."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kfp_suite.cli.run_summary import print_conclusion, print_remarks, print_result
from kfp_suite.contracts.errors import StoreError, TransientError
from kfp_suite.kubeflow.ending import Ending, ending_of
from kfp_suite.kubeflow.listing import cluster_run
from kfp_suite.kubeflow.run_state import RunState
from kfp_suite.kubeflow.task import CACHED, Task
from kfp_suite.kubeflow.watching import follow

if TYPE_CHECKING:
    from kfp_suite.kubeflow.connection import Backend

_MARKS = {
    "SUCCEEDED": ("✓", "green"),
    "FAILED": ("✗", "red"),
    "SKIPPED": ("-", "dim"),
    "CANCELED": ("✗", "yellow"),
    CACHED: ("·", "cyan"),
}
_ORDINARY = {
    "ContainerCreating": "its image is pulled, or a volume is mounted",
    "PodInitializing": "its image is pulled, or a volume is mounted",
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
        RunError, InputError: it did not succeed: the error of the step that failed.
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
    ending = ending_of(backend, cluster_run(backend, run.id))
    print_ending(ending, console)
    if ending.failure:
        raise ending.failure


def print_ending(ending: Ending, console: Console) -> None:
    """Print the outcome of a run on Kubeflow, as that of one on this machine.

    Args:
        ending: Of the run.
        console: Where to print.
    """
    run, conclusion = ending.state, ending.conclusion
    if run.unseen:
        told = f"- never seen, for KFP lost sight of them: {', '.join(run.unseen)}"
        console.print(told, style="yellow", soft_wrap=True, markup=False)
    place = [("run", ending.link)]
    if ending.reports:
        place.append(("reports", f"there, the artifacts {', '.join(ending.reports)}"))
    if ending.past and conclusion:
        print_result(place, ending.past, ending.aliases, console)
        print_remarks(conclusion, console)
    if ending.unread:
        told = f"what it made is not known here: {ending.unread}"
        console.print(told, style="yellow", soft_wrap=True, markup=False)
    if not run.succeeded:
        return
    if conclusion:
        print_conclusion(conclusion, console)
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
            elif task.reason:
                console.print(_waiting(task), soft_wrap=True)
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


def _waiting(task: Task) -> Text:
    reason = task.reason
    if more := _ORDINARY.get(reason):
        reason = f"{reason}: {more}"
    return Text.assemble(("… ", "yellow"), f"{task.name:24}", " waits: ", reason)


def _line(task: Task) -> Text | None:
    """The line of a task that is over."""
    if task.state not in _MARKS:
        return None
    mark, style = _MARKS[task.state]
    seconds = f"{task.seconds:8.1f} s" if task.seconds is not None else ""
    if task.state == CACHED:
        seconds = "    cached"
    error = f"  {task.error}" if task.error else ""
    return Text.assemble((f"{mark} ", style), f"{task.name:24}", seconds, (error, "red"))
