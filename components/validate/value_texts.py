"""Values, numbers of rows and fractions as texts."""

from __future__ import annotations

import math

import numpy as np

from kfp_suite.contracts.columns import ColumnType


def format_value(value: float | str | None, kind: ColumnType) -> str:
    """A value of a column: dates and times as such, text in quotes."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:60]}…'"
    if kind == "bool" and value in (0, 1):
        return "true" if value else "false"
    if kind in ("date", "timestamp") and math.isfinite(value):
        count = int(value)
        moment = np.datetime64(count, "D" if kind == "date" else "us")
        return str(moment).removesuffix(".000000").replace("T", " ")
    if kind in ("int64", "bool") and math.isfinite(value) and float(value).is_integer():
        return str(int(value))
    return f"{value:.10g}"


def format_rows(rows: int) -> str:
    """How many rows: `1 row`, `26,971 rows`."""
    return "1 row" if rows == 1 else f"{rows:,} rows"


def format_share(part: float, whole: float) -> str:
    """A fraction as a percentage that is neither 0% nor 100% unless it is exactly that."""
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return "under 0.01%"
    if 99.99 < percent < 100:
        return "over 99.99%"
    return f"{percent:.4g}%"
