"""A run's progress on a terminal: one line a step, its state and its seconds."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kfp_suite.local.events import (
    Cached,
    Event,
    Finished,
    Refused,
    Retried,
    Said,
    Started,
)

_NAME_WIDTH = len("train-tensorflow")
_MARKS = {
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "refused": ("!", "yellow"),
    "cached": ("·", "cyan"),
    "interrupted": ("✗", "yellow"),
}


class Progress:
    """Shows events as they come: live on a terminal, one line a step elsewhere.

    Args:
        console: Where they are shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._task = ""
        self._said = ""
        self._note = ""
        self._started = 0.0
        # Its verdict comes after the end of a step: the line waits for it.
        self._ended: tuple[str, str, str] | None = None
        # Last: it asks for the running step as soon as it is made.
        self._live = (
            Live(console=console, get_renderable=self._running, refresh_per_second=8)
            if console.is_terminal and not console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._print_ended()
        if self._task and kind is not None and issubclass(kind, KeyboardInterrupt):
            self._ended = (self._task, "interrupted", self._seconds())
            self._print_ended()
        self._task = ""
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Refused) and self._ended and self._ended[0] == event.task:
            self._ended = (event.task, "refused", self._ended[2])
        self._print_ended()
        match event:
            case Started(task):
                if task != self._task:
                    self._note = ""
                self._task, self._said, self._started = task, "", time.monotonic()
            case Said(_, text):
                self._said = text
            case Retried(_, attempt):
                self._note = f"after {attempt + 1} tries"
            case Finished(task, succeeded):
                self._task = ""
                self._ended = (task, "done" if succeeded else "failed", self._seconds())
            case Cached(task):
                self._note = ""
                self._ended = (task, "cached", "")

    def _seconds(self) -> str:
        """Since the last step started."""
        return f"{time.monotonic() - self._started:6.1f} s"

    def _print_ended(self) -> None:
        if self._ended is None:
            return
        task, state, seconds = self._ended
        self._ended = None
        mark, style = _MARKS[state]
        line = Text.assemble(
            (f"{mark} ", style), f"{task:{_NAME_WIDTH}}", (f" {state:7}", style), seconds
        )
        if self._note:
            line.append(f"  {self._note}")
        line.rstrip()
        self._console.print(line)

    def _running(self) -> Table | Text:
        if not self._task:
            return Text("")
        grid = Table.grid(padding=(0, 1))
        seconds = self._seconds()
        said = Text(self._said[:200], style="dim", overflow="ellipsis", no_wrap=True)
        name, state = f"{self._task:12}", Text("running", "yellow")
        grid.add_row(Text("…", "yellow"), name, state, seconds, said)
        return grid
