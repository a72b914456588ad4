"""Columns of a table: their names and types.

Every table of the suite has columns of one of these types; ingest casts what it reads
(small and unsigned integers to int64, decimals and floats to float64, dictionaries to
string) and refuses the rest with a hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["int64", "float64", "bool", "string", "date", "timestamp"]


@dataclass(frozen=True)
class Column:
    """A column: its name and its type."""

    name: str
    type: ColumnType
