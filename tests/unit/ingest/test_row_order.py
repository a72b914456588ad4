"""The order of rows: that of the files, whatever the threads of DuckDB do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.ingest import executor, expected_rows
from kfp_suite.components.ingest.connections import connect
from kfp_suite.components.ingest.split_rows import read_batches
from tests.unit.ingest.conftest import Reading

# Each makes DuckDB compare texts with a list: of the names of booleans, and of missing values.
BOOLEANS = {"0.csv": "row,a\n0,False\n", "1.csv": "row,a\n1,True\n2,\n"}
MISSING = {"null_values": ["NA", "n/a", "-", "?", "none", "null", "nil", "missing"]}


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The plans of the queries that read rows."""
    found: list[str] = []

    def read(connection: Any, query: str, schema: Any) -> Any:
        found.append(connection.sql(f"EXPLAIN {query}").fetchall()[0][1])
        return read_batches(connection, query, schema)

    for module in (executor, expected_rows):
        monkeypatch.setattr(module, "read_batches", read)
    return found


@pytest.mark.parametrize("options", [{}, MISSING], ids=["booleans", "missing values"])
@pytest.mark.parametrize("types", [{}, {"a": "bool"}], ids=["first reading", "second reading"])
def test_no_plan_loses_the_order_of_rows(
    options: dict[str, Any], types: dict[str, str], reading: Reading, plans: list[str]
) -> None:
    for name, text in BOOLEANS.items():
        reading.file(name, text)
    if types:  # a bad row, so that the rows are read by way of a view
        reading.file("2.csv", "row,a\n3,maybe\n4,True\n")
        options = {**options, "types": types}
    rows = reading.rows(
        {"uri": str(reading.folder / "in"), **options},
        on_bad_rows="quarantine",
        max_bad_fraction=0.5,
    )
    assert [row["row"] for row in rows] == ([0, 1, 2, 4] if types else [0, 1, 2])
    assert plans
    assert [plan for plan in plans if "join" in plan.lower()] == []


def test_a_query_may_still_be_planned_with_a_join(tmp_path: Path) -> None:
    """Its rows are put in order afterwards."""
    file = tmp_path / "tables.duckdb"
    with connect(tmp_path, "1GB") as connection:
        connection.execute(f"ATTACH '{file}' AS made; CREATE TABLE made.t AS SELECT 'a' AS x")
    query = f"EXPLAIN SELECT x IN {tuple(map(str, range(20)))} FROM t"
    with connect(tmp_path, "1GB", file) as connection:
        assert "join" in connection.sql(query).fetchall()[0][1].lower()
