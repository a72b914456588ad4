"""Files of many columns."""

from __future__ import annotations

from pathlib import Path

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.stores.sources import parse_sources, pin

COLUMNS, ROWS = 200, 40


def test_the_memory_that_reading_takes_grows_with_the_columns_alone(tmp_path: Path) -> None:
    """One query over all columns took DuckDB more than this to plan."""
    lines = [",".join(f"c{column}" for column in range(COLUMNS))]
    lines += [",".join(str(row + column) for column in range(COLUMNS)) for row in range(ROWS)]
    file = tmp_path / "wide.csv"
    file.write_text("\n".join(lines) + "\n")
    source = {"uri": str(file)}
    pinned = {name: pin(name, spec) for name, spec in parse_sources({"wide": source}).items()}
    parameters = IngestParameters(
        split={"by": "hash", "eval": 0.2, "test": 0.2}, memory_limit="200MB"
    )
    ingest(parameters, pinned, tmp_path / "dataset", tmp_path / "preview")
    found = read_dataset(tmp_path / "dataset").manifest
    assert sum(split.rows for split in found.splits.values()) == ROWS
