"""Queries: the same rows on every machine, from the sources alone, each value as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import InputError
from kfp_suite.stores.sources import parse_sources, pin

ROWS = 400_000
TRAIN = {"by": "hash", "eval": 0, "test": 0}


def run(folder: Path, sources: dict[str, Any], sql: str, **parameters: Any) -> Dataset:
    pinned = {name: pin(name, spec) for name, spec in parse_sources(sources).items()}
    given = IngestParameters(**({"sql": sql, "split": TRAIN} | parameters))
    return ingest(given, pinned, folder / "dataset", folder / "preview")


def rows(folder: Path, sources: dict[str, Any], sql: str, **parameters: Any) -> list[Any]:
    return list(run(folder, sources, sql, **parameters).table("train").to_pylist())


def fails(folder: Path, sources: dict[str, Any], sql: str, **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        run(folder, sources, sql, **parameters)
    assert not (folder / "dataset").exists()
    text = str(caught.value)
    assert "\n" not in text
    return text


def write(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


def write_table(path: Path, columns: dict[str, Any]) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same 400,000 rows in files of other orders, numbers and row groups."""
    folder = tmp_path_factory.mktemp("layouts")
    random = np.random.default_rng(7)
    table = pa.table(
        {
            "customer": random.integers(0, 60_000, ROWS),
            "shop": random.integers(0, 50, ROWS),
            "amount": random.normal(size=ROWS) * 10.0 ** random.integers(-5, 8, ROWS),
            "name": pa.array([f"n{i}" for i in random.integers(0, 1_000, ROWS)]),
        }
    )
    turned = table.take(random.permutation(ROWS))
    found = []
    for name, content, files, row_group in (
        ("a", table, 1, 122_880),
        ("b", table, 1, 5_000),
        ("c", turned, 5, 20_000),
    ):
        (folder / name).mkdir()
        step = ROWS // files
        for number in range(files):
            file = folder / name / f"{number}.parquet"
            pq.write_table(content.slice(number * step, step), file, row_group_size=row_group)
        found.append(str(folder / name))
    return found


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many cores DuckDB takes the machine to have."""
    connect: Any = duckdb.connect

    def set_threads(number: int) -> None:
        def connected(*args: Any, config: dict[str, Any], **more: Any) -> Any:
            return connect(*args, config={**config, "threads": number}, **more)

        monkeypatch.setattr(duckdb, "connect", connected)

    return set_threads


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT customer, sum(amount) AS s, avg(amount) AS a, stddev(amount) AS d, "
        "any_value(name) AS v FROM rows GROUP BY customer",
        "SELECT shop, sum(amount) AS s, first(name) AS f, arg_max(name, shop) AS h, "
        "string_agg(name, '') AS i, mode(customer) AS m, list(customer)::VARCHAR AS l "
        "FROM rows GROUP BY shop",
        "SELECT *, row_number() OVER (PARTITION BY shop) AS r, "
        "lag(amount) OVER (PARTITION BY shop ORDER BY name) AS l FROM rows QUALIFY r <= 20",
        "SELECT DISTINCT ON (name) * FROM (FROM rows ORDER BY shop LIMIT 50000) ORDER BY name",
    ],
    ids=["sums", "aggregates", "windows", "distinct and limit"],
)
def test_threads_and_files_change_no_digest(
    sql: str, layouts: list[str], threads: Callable[[int], None], tmp_path: Path
) -> None:
    digests = set()
    for number, source in ((1, 0), (2, 1), (4, 2)):
        threads(number)
        digests.add(run(tmp_path, {"rows": layouts[source]}, sql).manifest.digest)
    assert len(digests) == 1


def test_a_query_gives_the_same_each_time(layouts: list[str], tmp_path: Path) -> None:
    sql = "SELECT customer, avg(amount) AS a FROM rows GROUP BY customer"
    found = {run(tmp_path, {"rows": layouts[2]}, sql).manifest.digest for _ in range(3)}
    assert len(found) == 1


_DIGESTS = """
import sys
from pathlib import Path
from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.stores.sources import parse_sources, pin
folder = Path(sys.argv[1])
columns = '''hour(t) AS hour, t::DATE AS day, t::VARCHAR AS text, t::TIMESTAMP AS local,
    date_trunc('day', t) AS start, strftime(t, '%c') AS formatted, t > '2024-03-02' AS late'''
sources = {name: str(folder / f"a.{name}") for name in ("csv", "jsonl", "parquet")}
sql = " UNION ALL ".join(f"SELECT {columns} FROM {name}" for name in sources)
for sources, sql in ((sources, sql), *(({name: uri}, "") for name, uri in sources.items())):
    pinned = {n: pin(n, s) for n, s in parse_sources(sources).items()}
    split = {"by": "hash", "eval": 0, "test": 0}
    dataset = ingest(IngestParameters(sql=sql, split=split), pinned, folder / "d", folder / "p")
    print(dataset.manifest.digest)
"""


def test_the_time_zone_of_the_machine_changes_no_digest(tmp_path: Path) -> None:
    moments = [f"2024-03-0{day}T{hour:02}:30:00+02:00" for day in (1, 2, 3) for hour in range(24)]
    write(tmp_path / "a.csv", "t\n" + "".join(f"{moment}\n" for moment in moments))
    write(tmp_path / "a.jsonl", "".join(f'{{"t": "{moment}"}}\n' for moment in moments))
    instants = np.array([moment[:-6] for moment in moments], "datetime64[us]")
    write_table(tmp_path / "a.parquet", {"t": pa.array(instants).cast(pa.timestamp("us", "UTC"))})
    found = set()
    for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
        done = subprocess.run(
            [sys.executable, "-c", _DIGESTS, str(tmp_path)],
            env={**os.environ, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().split()) == 4


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT age(t) AS a FROM rows", "'age' gives another result at another time"),
        ("SELECT t.age() AS a FROM rows", "'age' gives another result"),
        ("SELECT ago(INTERVAL 1 DAY) AS a FROM rows", "'ago' gives another result"),
        ("SELECT today() AS a FROM rows", "'today' gives another result"),
        ("SELECT current_localtimestamp() AS a FROM rows", "'current_localtimestamp' gives"),
        ("SELECT current_setting('threads') AS a", "'current_setting' gives another result"),
        ("SELECT reservoir_quantile(a, 0.5) AS a FROM rows", "'reservoir_quantile' gives"),
        ("SELECT * FROM rows TABLESAMPLE 10%", "a sample gives other rows"),
        ("SELECT name FROM pg_settings", "no source 'pg_settings'; known: rows"),
        ("SELECT * FROM sqlite_master", "no source 'sqlite_master'"),
        ("SELECT * FROM information_schema.tables", "no source 'information_schema.tables'"),
        ("WITH pg_settings AS (SELECT * FROM pg_settings) SELECT * FROM pg_settings", "no source"),
        ("SELECT (WITH x AS (SELECT 1) SELECT 1) AS a FROM x", "no source 'x'"),
        ("SELECT * FROM 'a.csv'", "no source 'a.csv'"),
        ("SELECT * FROM row", "no source 'row'; did you mean 'rows'?"),
        ("SELECT * FROM duckdb_settings()", "'duckdb_settings' reads past the sources"),
        ("SUMMARIZE rows", "not one SELECT statement"),
        ("SELECT 1 AS a; SELECT 2 AS a", "not one SELECT statement; got 2"),
    ],
)
def test_what_is_not_in_the_sources_is_refused(sql: str, message: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a,t\n1,2024-01-01\n")
    text = fails(tmp_path, {"rows": source}, sql)
    assert text.startswith("sql: ")
    assert message in text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM rows -- the first column",
        "SELECT a FROM rows; -- the first column",
        "-- all of it\nWITH rows AS (SELECT a FROM ROWS), more AS (FROM rows) FROM more",
        "WITH RECURSIVE n AS (SELECT 1::BIGINT AS a UNION SELECT a + 1 FROM n WHERE a < 2) FROM n",
        "SELECT CASE WHEN a > 2 THEN error('too large') ELSE a END AS a FROM main.rows",
    ],
)
def test_comments_and_tables_of_the_query_are_its_own(sql: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a,t\n1,2024-01-01\n2,2024-01-02\n")
    assert rows(tmp_path, {"rows": source}, sql) == [{"a": 1}, {"a": 2}]


def test_a_query_without_an_end_is_stopped(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a\n1\n")
    sql = (
        "WITH RECURSIVE n AS (SELECT 1 AS a UNION ALL SELECT a FROM n) SELECT count(*) AS c FROM n"
    )
    assert fails(tmp_path, {"rows": source}, sql, max_query_seconds=1) == (
        "sql: the query did not end in time; expected at most 1 seconds (max_query_seconds); "
        "give its recursion an end and its joins a condition, or raise max_query_seconds"
    )


def test_a_cast_in_the_query_makes_no_row_bad(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a,b,d\n1,x,31/12/2024\n2,7,01/01/2025\n")
    assert rows(tmp_path, {"t": source}, "SELECT a, TRY_CAST(b AS INT) AS n FROM t") == [
        {"a": 1, "n": None},
        {"a": 2, "n": 7},
    ]
    text = fails(tmp_path / "2", {"t": source}, "SELECT a, b::INT AS n FROM t")
    assert text.startswith("sql: Conversion Error: Could not convert string 'x' to INT32")


def test_bad_rows_are_counted_among_the_rows_that_were_read(tmp_path: Path) -> None:
    good = "".join(f"{i},x\n" for i in range(9_999))
    source = write(tmp_path / "a.csv", "a,b\n" + good + "1,x,y\n")
    share = {"on_bad_rows": "quarantine", "max_bad_fraction": 0.0001}
    found = rows(tmp_path, {"t": source}, "SELECT max(a) AS a FROM t", **share)
    assert found == [{"a": 9_998}]
    few = write(tmp_path / "b.csv", "a,b\n1,x\n2,x,y\n")
    cross = "SELECT t.a FROM t, range(1000)"
    assert "(1 bad rows, 50.00%)" in fails(tmp_path / "2", {"t": few}, cross, **share)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1::DECIMAL(38, 0)", 1),
        ("9223372036854775807::UBIGINT", 2**63 - 1),
        ("a::HUGEINT", 3),
        ("0.1::DECIMAL(38, 2)", 0.1),
        ("a * 123456789012.25", 370370367036.75),
        ("-0.0::DOUBLE", 0.0),
        ("make_timestamp_ns(1000)", datetime(1970, 1, 1, microsecond=1)),
        ("'1970-01-01 09:00:00.000001+09'::TIMESTAMPTZ_NS", datetime(1970, 1, 1, microsecond=1)),
        ("'1970-01-01 09:00:00+09'::TIMESTAMPTZ", datetime(1970, 1, 1)),
    ],
)
def test_a_value_that_its_type_holds_is_kept(
    expression: str, expected: object, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.csv", "a\n3\n")
    sql = f"SELECT {expression} AS x, CAST(NULL AS DECIMAL(38, 0)) AS n FROM t"
    (row,) = rows(tmp_path, {"t": source}, sql)
    assert row == {"x": expected, "n": None}
    assert type(row["x"]) is type(expected)
    assert not str(row["x"]).startswith("-")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "9223372036854775808::UBIGINT",
            "as int64; got 9223372036854775808; read it as text, or leave it out: "
            'CAST("x" AS VARCHAR)',
        ),
        ("a::HUGEINT * 9223372036854775807", "as int64; got 27670116110564327421; read it as text"),
        ("12345678901234567000::DECIMAL(38, 0)", "as int64; got 12345678901234567000; read it"),
        (
            "12345678901234567.1::DECIMAL(38, 1)",
            "as float64; got 12345678901234567.1; say in `sql` what may be lost, "
            'CAST("x" AS DOUBLE), or keep it as text: CAST("x" AS VARCHAR)',
        ),
        (
            "make_timestamp_ns(1500)",
            "as timestamp; got 1970-01-01 00:00:00.0000015; cut it to microseconds in `sql`: "
            "date_trunc('microseconds', \"x\")::TIMESTAMP",
        ),
        ("'1970-01-01 00:00:00.0000015+00'::TIMESTAMPTZ_NS", "cut it to microseconds in `sql`"),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_refused(
    expression: str, message: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.csv", "a\n3\n")
    text = fails(tmp_path, {"t": source}, f"SELECT {expression} AS x FROM t")
    assert text.startswith("column 'x': the value is not exact ")
    assert message in text


def test_names_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a,b\n1,2\n")
    text = fails(tmp_path, {"t": source}, "SELECT a, b AS A FROM t")
    assert "two columns of one name; capital letters make no difference" in text


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "__split0,b\n1,2\n")
    sql = 'SELECT __split0, b AS "__SPLIT1", b AS "a ""b""" FROM t'
    assert rows(tmp_path, {"t": source}, sql) == [{"__split0": 1, "__SPLIT1": 2, 'a "b"': 2}]


@pytest.mark.parametrize("limit", ["80%", "-1", "none", "4", "much", ""])
def test_a_memory_limit_is_a_size(limit: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a\n1\n")
    text = fails(tmp_path, {"t": source}, "SELECT a FROM t", memory_limit=limit)
    assert text == f"memory_limit: not a size; got {limit}; expected such as 4GB"


def test_a_query_that_needs_more_memory_says_so(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a\n1\n")
    sql = "SELECT a, list(range)::VARCHAR AS l FROM t, range(20000000) GROUP BY a"
    text = fails(tmp_path, {"t": source}, sql, memory_limit="100MB")
    assert text.startswith("sql: it needs more memory than it may have; expected at most 100MB")


def test_the_parameters_are_recorded(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "a\n1\n")
    run(tmp_path, {"t": source}, "SELECT a FROM t", max_query_seconds=60)
    recorded = json.loads((tmp_path / "dataset" / "dataset.json").read_text())["parameters"]
    assert (recorded["sql"], recorded["max_query_seconds"]) == ("SELECT a FROM t", 60)


def test_a_number_is_joined_with_a_text_as_the_documentation_says(tmp_path: Path) -> None:
    """docs/reading.md: the text is cast, unless both are text."""
    numbers = {"uri": write(tmp_path / "a.csv", "id\n1\n2\n")}
    texts = {"uri": write(tmp_path / "b.csv", "id\n01\n1\n")}
    (tmp_path / "1").mkdir()
    sql = "SELECT b.id FROM a JOIN b ON a.id = b.id"
    found = rows(tmp_path / "1", {"a": numbers, "b": texts | {"types": {"id": "string"}}}, sql)
    assert sorted(row["id"] for row in found) == ["01", "1"]
    both = {
        name: one | {"types": {"id": "string"}}
        for name, one in zip("ab", (numbers, texts), strict=True)
    }
    (tmp_path / "2").mkdir()
    assert rows(tmp_path / "2", both, sql) == [{"id": "1"}]
    (tmp_path / "3").mkdir()
    cast = sql.replace("a.id =", "a.id::VARCHAR =")
    assert rows(tmp_path / "3", {"a": numbers, "b": both["b"]}, cast) == [{"id": "1"}]


def test_a_time_is_shown_in_another_zone_as_the_documentation_says(tmp_path: Path) -> None:
    source = {"uri": write(tmp_path / "a.csv", "t\n2020-01-01 02:00+02:00\n")}
    sql = "SELECT t AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata' AS t FROM a"
    assert rows(tmp_path, {"a": source}, sql) == [{"t": datetime(2020, 1, 1, 5, 30)}]
