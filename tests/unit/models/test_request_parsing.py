"""Records as clients write them: each field by its type, or as the text of its source."""

from __future__ import annotations

import datetime
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.model import Field, ModelManifest
from kfp_suite.contracts.sources import Source
from kfp_suite.models.request_parsing import (
    RecordFormat,
    record_format,
    table_of_columns,
    table_of_records,
)


def read(kind: ColumnType, value: Any, date_format: str = "") -> Any:
    form = RecordFormat((Field("x", kind, nullable=True),), {"x": date_format})
    (by_record,) = table_of_records([{"x": value}], form)["x"].to_pylist()
    (by_column,) = table_of_columns({"x": [value]}, form)["x"].to_pylist()
    assert by_record == by_column
    assert type(by_record) is type(by_column)
    return by_record


def test_a_text_that_is_null_in_the_source_is_null_for_every_type() -> None:
    kinds: tuple[ColumnType, ...] = ("string", "float64", "int64", "date", "bool")
    inputs = tuple(Field(kind, kind, nullable=True) for kind in kinds)
    form = RecordFormat(inputs, null_texts=frozenset({"", "NA"}))
    for text in ("", "NA"):
        record = dict.fromkeys(kinds, text)
        assert table_of_records([record], form).to_pylist() == [dict.fromkeys(kinds)]
    assert table_of_records([{"string": "na"}], form)["string"].to_pylist() == ["na"]


def test_the_label_is_named_as_what_is_not_asked_for() -> None:
    form = RecordFormat((Field("x", "int64"),), label="y")
    message = "'y' is the label, which the model predicts; leave it out of the request"
    with pytest.raises(DataError, match=rf"^instances\[0\]: {message}$"):
        table_of_records([{"x": 1, "y": 0, "z": 1}], form)
    with pytest.raises(DataError, match=rf"^inputs: {message}$"):
        table_of_columns({"x": [1], "y": [0]}, form)
    with pytest.raises(DataError, match="unknown field 'z'"):
        table_of_records([{"x": 1, "z": 0}], form)


def test_an_empty_name_is_no_label_of_a_model_that_has_none() -> None:
    with pytest.raises(DataError, match=r"^instances\[0\]: unknown field ''"):
        table_of_records([{"x": 1, "": 0}], RecordFormat((Field("x", "int64"),)))


@pytest.mark.parametrize(
    ("formats", "sql", "expected"),
    [
        (("csv",), "", {"", "NA"}),
        (("csv", "jsonl"), "", set()),
        (("parquet",), "", set()),
        (("csv",), "SELECT coalesce(x, '') AS x FROM a", set()),
    ],
)
def test_null_texts_are_those_of_csv_sources_as_they_are(
    formats: tuple[str, ...], sql: str, expected: set[str]
) -> None:
    sources = {
        f"s{number}": Source("", one, "", options={"null_values": ["NA"]})
        for number, one in enumerate(formats)
    }
    recipe = SimpleNamespace(sources=sources, ingest={"sql": sql})
    manifest = SimpleNamespace(recipe=recipe, signature=SimpleNamespace(inputs=()), label="y")
    assert record_format(cast(ModelManifest, manifest)).null_texts == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("float64", 2**53 + 2, float(2**53 + 2)),
        ("float64", 1152921504606847000, 2.0**60),
        ("float64", -(10**17), -1e17),
        ("float64", 2**64, 2.0**64),
        ("float64", "32.0", 32.0),
        ("float64", "32", 32.0),
        ("float64", "1e-7", 1e-7),
        ("float64", "", None),
        ("float64", None, None),
        ("int64", "-32", -32),
        ("int64", 32.0, 32),
        ("int64", Decimal(2**53 + 1), 2**53 + 1),
        ("int64", "", None),
        ("int64", 2**63 - 1, 2**63 - 1),
        ("bool", "true", True),
        ("bool", "FALSE", False),
        ("bool", "", None),
        ("string", "", ""),
        ("string", "32.0", "32.0"),
        ("date", "2013-01-31", datetime.date(2013, 1, 31)),
        ("date", "", None),
        ("timestamp", "2013-01-31", datetime.datetime(2013, 1, 31)),
        ("timestamp", "2013-01-31 08:30", datetime.datetime(2013, 1, 31, 8, 30)),
        ("timestamp", "2013-01-31T08:30:00+02:00", datetime.datetime(2013, 1, 31, 6, 30)),
    ],
)
def test_a_value_is_read(kind: ColumnType, value: Any, expected: Any) -> None:
    assert read(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("float64", 10**400, "expected a number that float64 holds or null"),
        ("float64", 10**17 + 1, f"expected a number that float64 holds, as {10**17} or null"),
        ("float64", -(2**53) - 1, f"expected a number that float64 holds, as -{2**53} or null"),
        (
            "float64",
            Decimal(f"{10**17 + 1}.0"),
            f"got {10**17 + 1}.0; expected a number that float64 holds, as {10**17} or null",
        ),
        ("float64", Decimal("1e999"), "got 1E+999; expected a number that float64 holds or null"),
        ("int64", Decimal("1e999999999"), "got 1E+999999999; expected a whole number or null"),
        ("int64", Decimal(f"{2**53 + 1}.5"), "expected a whole number or null"),
        ("string", Decimal(2**53 + 1), f'expected text, as "{2**53 + 1}" or null'),
        ("float64", True, "got True; expected a number or null"),
        ("float64", "0,5", "got '0,5'; expected a number or null"),
        ("float64", [1.0], "expected a number or null"),
        ("int64", 32.5, "got 32.5; expected a whole number or null"),
        ("int64", "32.0", "got '32.0'; expected a whole number or null"),
        ("int64", 2**63, "expected a whole number or null"),
        ("bool", 1, "got 1; expected true or false or null"),
        ("bool", "yes", "expected true or false or null"),
        ("string", 32.0, 'got 32.0; expected text, as "32.0" or null'),
        ("string", True, "got True; expected text or null"),
        ("date", "07/11/1974", "expected a date as 2013-01-31 or null"),
        ("date", 20130131, "expected a date as 2013-01-31 or null"),
    ],
)
def test_what_is_none_of_the_type_is_refused(kind: ColumnType, value: Any, said: str) -> None:
    with pytest.raises(DataError) as refused:
        read(kind, value)
    assert said in str(refused.value)


def test_a_date_is_read_as_its_source_writes_it() -> None:
    day = datetime.date(1974, 11, 7)
    assert read("date", "07/11/1974", "%d/%m/%Y") == day
    assert read("date", "1974-11-07", "%d/%m/%Y") == day
    assert read("date", "", "%d/%m/%Y") is None
    assert read("timestamp", "7.11.1974 08:30", "%d.%m.%Y %H:%M") == datetime.datetime(
        1974, 11, 7, 8, 30
    )
    with pytest.raises(DataError, match="expected a date as 2013-01-31 or in the format %d/%m/%Y"):
        read("date", "1974/11/07", "%d/%m/%Y")


def test_a_date_that_can_be_read_as_two_is_refused() -> None:
    assert read("date", "1974-25-07", "%Y-%d-%m") == datetime.date(1974, 7, 25)
    assert read("date", "1974-07-07", "%Y-%d-%m") == datetime.date(1974, 7, 7)
    with pytest.raises(DataError, match="got '1974-11-07'"):
        read("date", "1974-11-07", "%Y-%d-%m")


def test_what_is_left_out_is_counted() -> None:
    form = RecordFormat((Field("x", "int64", nullable=True), Field("y", "string", nullable=True)))
    left_out: Counter[str] = Counter()
    table_of_records([{"x": 1}, {"x": 1, "y": None}, {"y": "a"}], form, left_out)
    assert left_out == {"x": 1, "y": 1}
    table_of_columns({"x": [1, 2, 3]}, form, left_out)
    assert left_out == {"x": 1, "y": 4}


def test_what_may_not_be_null_may_not_be_left_out() -> None:
    form = RecordFormat((Field("x", "int64"), Field("y", "string", nullable=True)))
    with pytest.raises(DataError, match="missing field 'x'"):
        table_of_records([{"y": "a"}], form)
