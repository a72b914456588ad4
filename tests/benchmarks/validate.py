"""Statistics, schema, anomalies and report, against one DuckDB query of the same figures.

The query computes, for every split at once, what statistics hold of each column: rows,
nulls, zeros, extremes, mean, deviation, deciles, distinct values, and of texts the lengths
and the most frequent values. It infers no schema, finds no anomaly, compares no splits and
draws no histogram.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from kfp_suite.contracts.dataset import read_dataset
from tests.benchmarks.child import cost
from tests.benchmarks.flights import raw_dataset
from tests.benchmarks.table import Row

TIMES = 20
_FEWER = 5

_OURS = """
from pathlib import Path
from kfp_suite.components.validate.executor import validate
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
out = Path(sys.argv[2])
validate(
    ValidateParameters(), Path(sys.argv[1]),
    ValidateOutputs(out / "statistics", out / "schema", out / "anomalies", out / "report"),
)
"""

_QUERY = """
import duckdb
duckdb.sql(open(sys.argv[1]).read()).fetchall()
"""


def run() -> list[Row]:
    """Seconds against the query, and our peak memory at 20x against 5x."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small, big = (raw_dataset(folder, times) for times in (_FEWER, TIMES))
        query = folder / "query.sql"
        query.write_text(_figures(big))
        fewer = cost(_OURS, str(small), str(folder / "fewer"))
        ours = min(
            (cost(_OURS, str(big), str(folder / f"ours-{n}")) for n in range(3)),
            key=lambda found: found.seconds,
        )
        plain = min((cost(_QUERY, str(query)) for _ in range(3)), key=lambda found: found.seconds)
    return [
        Row(
            f"validate, {TIMES * 336_776:,} rows x 19: seconds",
            str(ours),
            f"one DuckDB query: {plain}",
            ours.seconds / plain.seconds,
            "at most 1.5",
        ),
        Row(
            f"validate: peak memory at {TIMES}x against {_FEWER}x",
            str(ours),
            str(fewer),
            ours.peak_bytes / fewer.peak_bytes,
            "flat",
        ),
    ]


def _figures(dataset: Path) -> str:
    figures = []
    for column in read_dataset(dataset).manifest.columns:
        c = f'"{column.name}"'
        figures += [f"count({c})", f"min({c})", f"max({c})", f"approx_count_distinct({c})"]
        if column.type in ("int64", "float64"):
            deciles = ", ".join(str(n / 10) for n in range(11))
            figures += [
                f"avg({c})",
                f"stddev_pop({c})",
                f"count_if({c} = 0)",
                f"approx_quantile({c}, [{deciles}])",
            ]
        if column.type == "string":
            length = f"length({c})"
            figures += [f"avg({length})", f"max({length})", f"approx_top_k({c}, 100)"]
    shards = f"{dataset}/*/*.parquet"
    return (
        f"SELECT filename[1:-20], count(*), {', '.join(figures)} "
        f"FROM read_parquet('{shards}', filename=true) GROUP BY 1"
    )
