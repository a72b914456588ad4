"""The grammar of values written as text: exact values, or an error."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.text_values import Value, parse_text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "0", 0),
        ("int64", "-9223372036854775808", -(2**63)),
        ("float64", "12", 12.0),
        ("float64", ".5", 0.5),
        ("float64", "1.50", 1.5),
        ("float64", "-1E-7", -1e-7),
        ("float64", "0.10000000000000001", 0.1),  # with 17 digits, as C writes it
        ("float64", "1.000000000000000056e-01", 0.1),  # as NumPy's savetxt does
        ("float64", "-inf", -math.inf),
        ("float64", "5e-324", 5e-324),
        ("bool", "TRUE", True),
        ("bool", "False", False),
        ("string", " 007 ", " 007 "),
        ("date", "2024-02-29", datetime.date(2024, 2, 29)),
        ("timestamp", "2024-02-03", datetime.datetime(2024, 2, 3)),
        ("timestamp", "2024-02-03 13:45", datetime.datetime(2024, 2, 3, 13, 45)),
        ("timestamp", "2024-02-03T01:00:00+02:00", datetime.datetime(2024, 2, 2, 23)),
        ("timestamp", "2024-02-03T01:00:00.25Z", datetime.datetime(2024, 2, 3, 1, 0, 0, 250_000)),
        (
            "timestamp",
            "2024-02-03 01:00:00.500000000+00",
            datetime.datetime(2024, 2, 3, 1, 0, 0, 500_000),
        ),
    ],
)
def test_a_text_is_its_value(kind: ColumnType, text: str, value: Value) -> None:
    assert parse_text(text, kind) == value
    assert type(parse_text(text, kind)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[("int64", text) for text in ("007", "+1", "1.0", "1e3", "1_000", "0x1F", " 1", "1\n")],
        *[("int64", text) for text in ("", "-0", "9223372036854775808", "٣", "9" * 5000)],
        *[("float64", text) for text in ("1,5", "1_0.5", "007.5", "1.", "+1.5", "1e400", "1e-400")],
        *[("float64", text) for text in ("9007199254740993", "0.1234567890123456789", "$1", "5%")],
        *[("bool", text) for text in ("yes", "t", "T", "1", "0", "Y", "tRUE", "")],
        *[("date", text) for text in ("2024-02-30", "01/02/2020", "1.10.21", "2.3.4", "20240203")],
        *[("date", text) for text in ("2024-2-3", "0000-01-01", "2024-02-03 00:00:00", "epoch")],
        *[("timestamp", text) for text in ("2024-02-03 24:00:00", "2024-02-03 10:00:60", "12:30")],
        ("timestamp", "2024-02-03 10:00:00.1234567"),
        ("timestamp", "2024-02-03 10:00:00 UTC"),
        ("timestamp", "0001-01-01T00:00:00+02:00"),
    ],
)
def test_what_would_be_changed_is_no_value(kind: ColumnType, text: str) -> None:
    with pytest.raises(ValueError, match=r"not of|64|more digits|month|day|year"):
        parse_text(text, kind)


@given(st.floats(allow_nan=False))
def test_every_float_is_read_as_it_was_written(value: float) -> None:
    for text in (repr(value), f"{value:.17g}", f"{value:.18e}"):
        if math.isinf(value) or "e+" not in text or "." in text:
            found = parse_text(text, "float64")
            assert found == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
@example(Decimal("12957.493443712040"))
def test_a_decimal_is_exact_to_its_last_digit_or_refused(value: Decimal) -> None:
    try:
        found = parse_text(f"{value:f}", "float64")
    except ValueError:
        assert len(value.as_tuple().digits) > 15
    else:
        assert isinstance(found, float)
        assert value in (Decimal(f"{found:.12f}"), Decimal(repr(found)))


@given(st.integers())
def test_a_whole_number_is_exact_or_refused(value: int) -> None:
    for kind in ("int64", "float64"):
        try:
            found = parse_text(str(value), kind)
        except ValueError:
            continue
        assert isinstance(found, (int, float))
        assert int(found) == value


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_every_time_is_read_in_utc(value: datetime.datetime) -> None:
    offset = value.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        return
    expected = value if offset is None else value.replace(tzinfo=None) - offset
    for separator in ("T", " "):
        assert parse_text(value.isoformat(separator), "timestamp") == expected
