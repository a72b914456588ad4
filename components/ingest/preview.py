"""The preview of a dataset: what it holds, where it came from, its first rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from kfp_suite.components.contracts.dataset import Dataset
from kfp_suite.components.reports.page import Page

_ROWS = 10


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
    page.table(["column", "type"], [[c.name, c.type] for c in manifest.columns], caption="Columns")
    first = dataset.head("train", _ROWS)
    page.table(first.column_names, _cells(first), caption="The first rows of train")
    return page.html()


def _cells(table: pa.Table) -> list[list[Any]]:
    # As Arrow writes them: Python has no dates beyond the year 9999.
    columns = [column.cast(pa.string()).fill_null("").to_pylist() for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]
