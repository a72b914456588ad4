"""Values that occur more than once in a column that should have no duplicates.

Exact for any number of rows: DuckDB groups the values, spilling to disk beyond its memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfp_suite.components.validate.anomaly import Anomaly
from kfp_suite.components.validate.value_texts import format_rows, format_value
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.sql import quote_name

_MEMORY = "1GB"


def duplicate_anomalies(
    columns: tuple[Column, ...], files: list[Path], threads: int, scratch: Path
) -> list[Anomaly]:
    """An error for each of `columns` in which a value occurs twice, in whichever splits.

    Nulls are not duplicates of each other.

    Args:
        columns: The columns to check.
        files: The Parquet shards of all splits.
        threads: Threads to use.
        scratch: A folder for data that does not fit into memory.
    """
    import duckdb  # only if a column must have no duplicates

    found = []
    config: dict[str, Any] = {
        "threads": threads,
        "memory_limit": _MEMORY,
        "temp_directory": str(scratch / "duckdb"),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=config) as connection:
        rows = connection.read_parquet([str(file) for file in files])
        for column in columns:
            name = quote_name(column.name)
            groups = rows.filter(f"{name} IS NOT NULL").aggregate(f"{name} AS v, count(*) AS n")
            result = groups.filter("n > 1").aggregate("count(*), sum(n), min(v)").fetchall()
            values, repeated, first = result[0]
            if values:
                example = format_value(first, "string") if isinstance(first, str) else str(first)
                found.append(
                    Anomaly(
                        column.name,
                        "CUSTOM_VALIDATION",
                        f"{values:,} values occur more than once, in {format_rows(int(repeated))}.",
                        f"repeated values such as {example}",
                        "each value at most once, over all splits",
                        "",
                        "error",
                    )
                )
    return found
