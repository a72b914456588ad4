"""Whatever a tool writes is read as it was, or refused: in every format, type and dialect.

Tables are generated, written as pandas, Polars, DuckDB, R and a spreadsheet write them, and
read by ingest. The value at the odd place decides the type; it may be in any row and any file.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kfp_suite.components.ingest.text_columns import ALL_TYPES, fits, misfits, value
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import InputError
from kfp_suite.contracts.text_values import parse_text
from tests.unit.ingest.conftest import Reading

Column = list[Any]
Write = Callable[[dict[str, Column], Path], None]

# Without NUL and lone carriage returns, which not every tool gives back itself.
_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0\r\ufeff")
_ODD_TEXTS = ("007", "1e5", "NaN", "true", "T", "01/02/2020", "2024-02-03", "12:30", '"', ",")
_ODDER_TEXTS = ("a;b", "\n", " x", "x ", "0x1F", "1_000", "-0", "+1", "12345678901234567890", "-")
_TEXTS = st.text(_CHARACTERS, min_size=1, max_size=6) | st.sampled_from(_ODD_TEXTS + _ODDER_TEXTS)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(
    lambda cents: cents / 100
)
_DAYS = st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31))
_TIMES = st.datetimes(datetime.datetime(1678, 1, 1), datetime.datetime(2261, 1, 1))
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    "float64": _FLOATS,
    "bool": st.booleans(),
    "string": _TEXTS,
    "date": _DAYS,
    "timestamp": _TIMES,
}


def _pandas_csv(columns: dict[str, Column], path: Path, **options: Any) -> None:
    frame = pd.DataFrame({name: pd.Series(v, dtype=object) for name, v in columns.items()})
    frame.to_csv(path, index=False, **options)


def _polars_csv(columns: dict[str, Column], path: Path) -> None:
    pl.DataFrame(columns, strict=False).write_csv(path)


def _duckdb_csv(columns: dict[str, Column], path: Path) -> None:
    with duckdb.connect() as connection:
        connection.register("t", pa.table(columns))
        connection.execute(f"COPY t TO '{path}' (HEADER)")


def _spreadsheet_csv(columns: dict[str, Column], path: Path) -> None:
    _pandas_csv(columns, path, sep=";", lineterminator="\r\n", encoding="utf-8-sig")


def _r_csv(columns: dict[str, Column], path: Path) -> None:
    """As write.csv does: texts and names in quotes, NA without, 15 digits."""

    def cell(item: Any) -> str:
        if item is None:
            return "NA"
        if isinstance(item, bool):
            return str(item).upper()
        if isinstance(item, float):
            return f"{item:.15g}"
        if isinstance(item, str):
            return '"' + item.replace('"', '""') + '"'
        return str(item)

    rows = zip(*columns.values(), strict=True)
    lines = [",".join(f'"{name}"' for name in columns)]
    path.write_text("\n".join(lines + [",".join(map(cell, row)) for row in rows]) + "\n")


def _json_lines(columns: dict[str, Column], path: Path) -> None:
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))


def _pandas_parquet(columns: dict[str, Column], path: Path) -> None:
    pd.DataFrame(columns).to_parquet(path)


def _arrow_parquet(columns: dict[str, Column], path: Path) -> None:
    pq.write_table(pa.table(columns), path)


def _polars_parquet(columns: dict[str, Column], path: Path) -> None:
    pl.DataFrame(columns, strict=False).write_parquet(path)


WRITERS: dict[str, tuple[str, Write]] = {
    "pandas": ("csv", _pandas_csv),
    "pandas, all quoted": ("csv", lambda c, p: _pandas_csv(c, p, quoting=csv.QUOTE_ALL)),
    "pandas, tabs": ("csv", lambda c, p: _pandas_csv(c, p, sep="\t")),
    "pandas, gzip": ("csv.gz", _pandas_csv),
    "Polars": ("csv", _polars_csv),
    "DuckDB": ("csv", _duckdb_csv),
    "spreadsheet": ("csv", _spreadsheet_csv),
    "R": ("csv", _r_csv),
    "JSON": ("jsonl", _json_lines),
    "pandas' Parquet": ("parquet", _pandas_parquet),
    "Arrow's Parquet": ("parquet", _arrow_parquet),
    "Polars' Parquet": ("parquet", _polars_parquet),
}


def _is_same(read: Any, written: Any) -> bool:
    """Whether a value that was read, of whatever type, is the one that was written."""
    if isinstance(read, float) and isinstance(written, (int, float)):
        return math.isnan(read) if written != written else Decimal(read) == Decimal(written)
    if isinstance(read, str) and not isinstance(written, str):
        # A column whose other values are texts: the text of the value.
        return any(_is_text_of(read, written, kind) for kind in ALL_TYPES)
    if isinstance(read, datetime.datetime) and type(written) is datetime.date:
        return read == datetime.datetime.combine(written, datetime.time())
    if isinstance(written, str):
        # Written without its type, a text is the value that it stands for.
        return read == written or any(_is_text_of(written, read, kind) for kind in ALL_TYPES)
    return type(read) is type(written) and bool(read == written)


def _is_text_of(text: str, item: Any, kind: ColumnType) -> bool:
    try:
        found = parse_text(text, kind)
    except ValueError:
        return False
    return found == item or (found != found and item != item)


@st.composite
def _tables(draw: st.DrawFn) -> dict[str, Column]:
    """A few columns of one type each, with nulls, and now and then one odd value."""
    rows = draw(st.integers(1, 5))
    columns = {"row": list(range(rows))}
    for name in ("a", "b"):
        kind = draw(st.sampled_from(sorted(_VALUES)))
        columns[name] = draw(
            st.lists(st.one_of(_VALUES[kind], st.none()), min_size=rows, max_size=rows)
        )
    return columns


def _parts(columns: dict[str, Column], cuts: Sequence[int]) -> Iterator[dict[str, Column]]:
    bounds = [0, *sorted(cuts), len(columns["row"])]
    for start, end in pairwise(bounds):
        if end > start:
            yield {name: column[start:end] for name, column in columns.items()}


@contextmanager
def _time_zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


@pytest.mark.parametrize("writer", WRITERS)
@settings(
    max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    columns=_tables(),
    cut=st.integers(0, 5),
    shard=st.integers(1, 5),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu"]),
)
def test_what_is_read_is_what_was_written_or_refused(
    writer: str,
    columns: dict[str, Column],
    cut: int,
    shard: int,
    zone: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    reading = Reading(tmp_path_factory.mktemp("reading"))
    suffix, write = WRITERS[writer]
    folder = reading.folder / "in"
    folder.mkdir()
    for number, part in enumerate(_parts(columns, [min(cut, len(columns["row"]))])):
        write(part, folder / f"{number}.{suffix}")
    source: dict[str, Any] = {"uri": str(folder)}
    if suffix.startswith("csv"):
        # In CSV a text may look like a missing value; R says which it means.
        source["null_values"] = ["NA"] if writer == "R" else []
        source["delimiter"] = {"spreadsheet": ";", "pandas, tabs": "\t"}.get(writer, ",")
        assume("" not in columns["a"] + columns["b"])
    try:
        with _time_zone(zone):
            rows = reading.rows(source, rows_per_shard=shard)
    except InputError:
        return
    assert [row["row"] for row in rows] == columns["row"]
    for name in ("a", "b"):
        for row, written in zip(rows, columns[name], strict=True):
            if written is None:
                assert row[name] is None or row[name] != row[name]
            else:
                expected = (
                    float(f"{written:.15g}")
                    if writer == "R" and isinstance(written, float)
                    else written
                )
                assert _is_same(row[name], expected), (name, row[name], written)


@pytest.mark.parametrize("kind", ALL_TYPES)
@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(
        _TEXTS
        | _FLOATS.map(repr)
        | _FLOATS.map("{:.17g}".format)
        | st.decimals(allow_nan=False, allow_infinity=False).map(str)
        | st.integers(-(2**66), 2**66).map(str)
        | _DAYS.map(str)
        | st.datetimes(timezones=st.timezones() | st.none()).map(str)
        | st.from_regex(r"[0-9]{1,4}-[0-9]{2}-[0-9]{2}[ T][0-9:.+Z-]{0,16}", fullmatch=True),
        min_size=1,
        max_size=20,
    )
)
def test_sql_and_python_read_text_by_one_grammar(kind: ColumnType, texts: list[str]) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        connection.register("t", pa.table({"c": texts}))
        rows = connection.execute(
            f"SELECT c, {fits('c', kind)}, {misfits('c', kind)}, {value('c', kind)} FROM t"
        ).fetchall()
    for text, is_fit, is_misfit, found in rows:
        try:
            expected = parse_text(text, kind)
        except ValueError:
            assert (is_fit, is_misfit) == (False, True), text
        else:
            assert (is_fit, is_misfit) == (True, False), text
            assert found == expected or (found != found and expected != expected), text
