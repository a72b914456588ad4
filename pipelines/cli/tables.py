"""Tables whose cells are never cut: a name that is cut cannot be given to a command."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from kfp_suite.pipelines.runs.comparing import Differences


def print_whole(table: Table) -> None:
    """Print `table` as wide as it is; a narrow terminal folds its lines."""
    for column in table.columns:
        column.no_wrap = True
    needed = Console(width=10_000).measure(table).maximum
    Console(highlight=False, width=max(Console().width, needed)).print(table)


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
