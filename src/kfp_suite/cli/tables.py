"""Tables whose cells are never cut: a name that is cut cannot be given to a command."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kfp_suite.local.comparing import Differences


def print_whole(table: Table) -> None:
    """Print `table`; on a terminal that is not wide enough as one block a row, and as wide as it
    is if the output is not a terminal."""
    for column in table.columns:
        column.no_wrap = True
    needed = Console(width=10_000).measure(table).maximum
    console = Console(highlight=False)
    if console.is_terminal and console.width < needed:
        _print_blocks(table, console)
        return
    Console(highlight=False, width=max(console.width, needed)).print(table)


def _print_blocks(table: Table, console: Console) -> None:
    """Each row as its first cell, and the others below it by the names of their columns."""
    names = [str(column.header) for column in table.columns]
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        # Wrapped by the terminal: so a name can be copied.
        console.print(Text(str(first), "bold"), soft_wrap=True)
        told = [
            f"{name}: {cell}"
            for name, cell in zip(names[1:], others, strict=True)
            if cell not in ("", "-")
        ]
        console.print(Padding(Text(", ".join(told), overflow="fold"), (0, 0, 0, 2)))


def print_folded(table: Table) -> None:
    """Print `table` with long cells folded into the terminal's width; as wide as it is if the
    output is not a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        print_whole(table)
        return
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)


def print_differences(kind: str, values: Differences) -> None:
    """Print the differences between two runs, and of numbers by how much.

    Args:
        kind: What is compared: parameters, metrics, …
        values: The value of each run, by name.
    """
    if not values:
        print(f"{kind}: the same")
        return
    table = Table(kind, "first", "second", "difference", box=None)
    for name, (first, second) in values.items():
        table.add_row(name, _format_cell(first), _format_cell(second), _difference(first, second))
    print_folded(table)


def _format_cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def _difference(first: Any, second: Any) -> str:
    numbers = [
        v for v in (first, second) if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    return f"{second - first:+.4g}" if len(numbers) == 2 else ""
