"""CSV to a split, digested dataset, against a plain conversion of the same file.

The plain conversions are those of DuckDB and Polars; the faster one counts. Neither splits,
digests, checks or orders a row.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.child import Cost, cost
from tests.benchmarks.flights import flights_csv
from tests.benchmarks.table import Row

TIMES = 20
# Less than this does not fill the buffers, and says nothing about growth.
_FEWER = 5

_OURS = """
from pathlib import Path
from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.stores.sources import parse_sources, pin
spec = {"uri": sys.argv[1], "null_values": ["NA"]}
pinned = {n: pin(n, s) for n, s in parse_sources({"flights": spec}).items()}
split = {"by": "hash", "key": ["tailnum"], "eval": 0.1, "test": 0.1}
ingest(IngestParameters(split=split), pinned, Path(sys.argv[2]), Path(sys.argv[2] + ".html"))
"""

_DUCKDB = """
import duckdb
duckdb.sql(
    f"COPY (FROM read_csv('{sys.argv[1]}', nullstr='NA')) TO '{sys.argv[2]}' (FORMAT parquet)"
)
"""

_POLARS = """
import polars
polars.scan_csv(sys.argv[1], null_values="NA", infer_schema_length=100000).sink_parquet(sys.argv[2])
"""


def run() -> list[Row]:
    """Seconds against the faster library at 20x, and our peak memory at 20x against 5x."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small, big = flights_csv(folder, _FEWER), flights_csv(folder, TIMES)
        ours, fewer = _cost(_OURS, big, folder / "ours"), _cost(_OURS, small, folder / "fewer")
        plain = min(
            _cost(_DUCKDB, big, folder / "duckdb.parquet"),
            _cost(_POLARS, big, folder / "polars.parquet"),
            key=lambda found: found.seconds,
        )
    return [
        Row(
            f"ingest, {TIMES * 336_776:,} rows: seconds",
            str(ours),
            str(plain),
            ours.seconds / plain.seconds,
            "at most 1.5",
        ),
        Row(
            f"ingest: peak memory at {TIMES}x against {_FEWER}x",
            str(ours),
            str(fewer),
            ours.peak_bytes / fewer.peak_bytes,
            "flat",
        ),
    ]


def _cost(code: str, source: Path, target: Path) -> Cost:
    return cost(code, str(source), str(target))
