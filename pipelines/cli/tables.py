"""Tables whose cells are never cut: a name that is cut cannot be given to a command."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_whole(table: Table) -> None:
    """Print `table` as wide as it is; a narrow terminal folds its lines."""
    for column in table.columns:
        column.no_wrap = True
    needed = Console(width=10_000).measure(table).maximum
    Console(highlight=False, width=max(Console().width, needed)).print(table)
