"""The digest of a table covers its rows in order, and nothing of how they are stored."""

import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.contracts import tables
from kfp_suite.contracts.tables import (
    ARROW_TYPES,
    TableDigest,
    arrow_schema,
    columns_of,
)

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "bool": st.booleans(),
    "string": st.text(max_size=5),
    "date": st.dates(),
    "timestamp": st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)),
}
rows = st.lists(st.tuples(*(st.none() | cell for cell in CELLS.values())), min_size=0, max_size=40)


def table_of(values: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*values, strict=True)) or [()] * len(CELLS)
    return pa.table(
        {
            name: pa.array(cells, ARROW_TYPES[name])  # type: ignore[index]
            for name, cells in zip(CELLS, columns, strict=True)
        }
    )


def digest(table: pa.Table, batch_rows: int | None = None) -> str:
    found = TableDigest(table.schema)
    for batch in table.to_batches(max_chunksize=batch_rows):
        found.update(batch)
    assert found.rows == table.num_rows
    return found.digest()


@settings(max_examples=60)
@given(rows, st.integers(1, 7), st.integers(1, 9))
def test_the_digest_does_not_depend_on_batches(
    values: list[tuple[Any, ...]], batch_rows: int, block_rows: int
) -> None:
    table = table_of(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_ROWS", block_rows)
        assert digest(table, batch_rows) == digest(table)
        offset = pa.concat_tables([table, table]).combine_chunks().slice(len(table))
        assert digest(offset) == digest(table)


@given(rows.filter(len), st.data())
def test_the_digest_changes_with_any_cell(
    values: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(values) - 1))
    column = data.draw(st.integers(0, len(CELLS) - 1))
    kind = list(CELLS)[column]
    other = data.draw(st.none() | CELLS[kind])
    before = values[row][column]
    changed = [list(r) for r in values]
    changed[row][column] = other
    same = repr(other) == repr(before)
    assert (digest(table_of([tuple(r) for r in changed])) == digest(table_of(values))) == same


def test_a_block_may_hold_more_text_than_one_array_can(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Counting:
        def __init__(self, content: bytes = b"") -> None:
            self.update(content)

        def update(self, content: bytes | memoryview) -> None:
            taken.append(len(content))

        def digest(self) -> bytes:
            return b""

        def hexdigest(self) -> str:
            return ""

    monkeypatch.setattr("kfp_suite.contracts.tables.hashlib.sha256", Counting)
    texts = pa.array(["x" * 40_000_000])
    digest = TableDigest(pa.schema([("x", pa.string())]))
    for _ in range(60):  # 2.4 GB, in one buffer of 40 MB
        digest.update(pa.record_batch([texts], ["x"]))
    digest.digest()
    assert sum(taken) > 60 * 40_000_000


def test_what_lies_under_a_null_does_not_count() -> None:
    data = pa.array([1, 2, 3]).buffers()[1]
    mask = pa.array([True, False, True]).buffers()[1]
    hidden = pa.Array.from_buffers(pa.int64(), 3, [mask, data])
    assert digest(pa.table({"a": hidden})) == digest(pa.table({"a": pa.array([1, None, 3])}))


def test_null_and_zero_and_empty_differ() -> None:
    for kind, zero in (("int64", 0), ("string", ""), ("bool", False)):
        arrow = ARROW_TYPES[kind]  # type: ignore[index]
        assert digest(pa.table({"a": pa.array([zero], arrow)})) != digest(
            pa.table({"a": pa.array([None], arrow)})
        )


def test_order_names_and_types_count() -> None:
    table = pa.table({"a": [1, 2]})
    assert digest(table) != digest(pa.table({"a": [2, 1]}))
    assert digest(table) != digest(pa.table({"b": [1, 2]}))
    assert digest(table) != digest(pa.table({"a": [1.0, 2.0]}))


def test_strings_do_not_run_into_each_other() -> None:
    assert digest(pa.table({"a": ["ab", "c"]})) != digest(pa.table({"a": ["a", "bc"]}))


def test_the_digest_is_the_same_for_ever() -> None:
    # A change here changes the digest of every dataset: it needs a new format version.
    table = pa.table({"a": pa.array([1, None]), "s": pa.array(["x", "é"])})
    assert digest(table) == (
        "sha256:00178034e65a295d5a29131701bcfbccc2abb3106afdb02f41e2c407d519d4e6"
    )


def test_columns_and_schema_are_inverse() -> None:
    schema = pa.schema([pa.field(name, arrow) for name, arrow in ARROW_TYPES.items()])
    assert arrow_schema(columns_of(schema)) == schema
