"""`make bench [BENCH=ingest]`: every benchmark, or the named ones, as one table."""

from __future__ import annotations

import importlib
import sys

from tests.benchmarks.table import Row, render

BENCHMARKS = ("ingest", "validate", "transform", "tfx", "endpoint", "overhead")


def main() -> None:
    """Run the named benchmarks and print the table as it grows."""
    names = sys.argv[1:] or BENCHMARKS
    rows: list[Row] = []
    for name in names:
        print(f"running {name} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.benchmarks.{name}").run()
    print(render(rows))


if __name__ == "__main__":
    main()
