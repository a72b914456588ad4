"""The preview of a dataset: what it holds, where it came from, its first rows."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.text_looks import (
    DECIMAL_COMMA,
    LOCAL_DATE,
    NUMBER,
    NUMBER_WITH_UNIT,
    SEPARATED_THOUSANDS,
)
from kfp_suite.reports.page import Page

_ROWS = 10
_LOOKED_AT_ROWS = 5_000
# Texts that are often meant as something else, and how to read them as that.
_LOOKS: tuple[tuple[str, str], ...] = (
    # Before the decimal comma: 1,234 is both.
    (
        SEPARATED_THOUSANDS,
        "numbers with separated thousands: take the separator out in `sql` and cast",
    ),
    (DECIMAL_COMMA, "numbers with a decimal comma: replace it in `sql` and cast"),
    (NUMBER_WITH_UNIT, "numbers with a unit: cut it off in `sql`"),
    (
        LOCAL_DATE,
        "dates: give their format in the source's `formats`, such as %d/%m/%Y",
    ),
    (NUMBER, "numbers: set the other texts to null in `null_values` or `sql`"),
)
_MIN_SHARE = 0.9


def preview_page(dataset: Dataset) -> str:
    """One self-contained HTML document."""
    manifest = dataset.manifest
    rows = sum(split.rows for split in manifest.splits.values())
    page = Page("Dataset", f"{rows:,} rows, {len(manifest.columns)} columns")
    page.facts({"Digest": manifest.digest, "Bad rows in quarantine": manifest.quarantined})
    page.table(
        ["split", "rows", "shards", "bytes"],
        [[name, s.rows, len(s.shards), s.bytes] for name, s in manifest.splits.items()],
        caption="Splits",
    )
    page.table(
        ["source", "format", "objects", "bytes", "digest"],
        [
            [name, s.format, len(s.objects), sum(o.bytes for o in s.objects), s.digest]
            for name, s in manifest.sources.items()
        ],
        caption="Sources",
    )
    looked_at = dataset.head("train", _LOOKED_AT_ROWS)
    page.table(
        ["column", "type", "note"],
        [
            [c.name, c.type, _note(looked_at[c.name]) if c.type == "string" else ""]
            for c in manifest.columns
        ],
        caption="Columns",
    )
    first = looked_at.slice(0, _ROWS)
    page.table(first.column_names, _cells(first), caption="The first rows of train")
    return page.html()


def _note(column: pa.ChunkedArray) -> str:
    """What the values of a text column look like, if most of them look alike."""
    texts = [text for text in column.to_pylist() if text]
    for pattern, meaning in _LOOKS:
        share = sum(bool(re.fullmatch(pattern, text)) for text in texts) / max(len(texts), 1)
        if share >= _MIN_SHARE:
            some = "all" if share == 1 else f"{share:.1%}"
            return f"{some} of the first values look like {meaning}"
    return ""


def _cells(table: pa.Table) -> list[list[Any]]:
    # As Arrow writes them: Python has no dates beyond the year 9999.
    columns = [column.cast(pa.string()).fill_null("").to_pylist() for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]
