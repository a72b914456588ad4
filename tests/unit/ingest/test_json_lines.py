"""JSON Lines: numbers are read as they are written, and one grammar decides every line."""

from __future__ import annotations

import datetime
import math

import pytest

from tests.unit.ingest.conftest import Reading


def test_a_declared_type_reads_the_text_of_the_file(reading: Reading) -> None:
    path = reading.file("a.jsonl", '{"i": 12345678901234567890, "x": 1.50}\n{"i": 1e3, "x": 2}\n')
    source = {"uri": path, "types": {"i": "string", "x": "string"}}
    assert reading.rows(source) == [
        {"i": "12345678901234567890", "x": "1.50"},
        {"i": "1e3", "x": "2"},
    ]


def test_texts_stay_as_they_are(reading: Reading) -> None:
    line = (
        '{"u": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "n": "5", "t": "12:30", "none": null, '
        '"empty": "", "d": "2024-01-02", "b": true}\n'
    )
    assert reading.rows(reading.file("a.jsonl", line)) == [
        {
            "u": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "n": "5",
            "t": "12:30",
            "none": None,
            "empty": "",
            "d": datetime.date(2024, 1, 2),
            "b": True,
        }
    ]


def test_a_bad_line_changes_no_other_line(reading: Reading) -> None:
    lines = '{"x": NaN}\n' * 3 + '{"x": 1.5}\n{"x": 2\n{"x": 7}\n'
    path = reading.file("a.jsonl", lines)
    found = reading.column(path, on_bad_rows="quarantine", max_bad_fraction=0.5)
    assert [math.isnan(x) for x in found] == [True] * 3 + [False] * 2
    assert found[3:] == [1.5, 7.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"x": 1}\n{"x": 12345678901234567890}\n',
            "IN/a.jsonl:2: column 'x': a number that int64",
        ),
        (
            '{"x": 0.5}\n{"x": 12345678901234567}\n',
            "IN/a.jsonl:2: column 'x': a number that float64",
        ),
        ('{"x": 1}\n{"x": "a"}\n', "values of several kinds; got number and text"),
        ('{"Dose": 1, "dose": 2}\n', "columns 'Dose' and 'dose' differ in capitals alone"),
        ('{"x": 1, "x": 2}\n{"x": 1}\n', "IN/a.jsonl:1: the key 'x' is there twice"),
        ('{"x": 1, "x": 2}\n', "the first is refused: the key 'x' is there twice"),
        ('[{"x": 1}]\n', "expected a JSON object a line; jq -c '.[]' makes lines of a list"),
        ('{"x": "\\ud800"}\n{"x": "a"}\n', "half of a surrogate pair is no character"),
        ("[" * 100_000 + '\n{"x": 1}\n', "IN/a.jsonl:1: nested too deeply"),
        ('{"x": {"y": 12345678901234567890}}\n{"y": 1}\n', "a number that float64 cannot hold"),
        ("{}\n{}\n", "no rows"),
    ],
)
def test_what_cannot_be_read_exactly_is_one_line(
    content: str, message: str, reading: Reading
) -> None:
    error = reading.error(reading.file("a.jsonl", content))
    assert message in error
    assert len(error) < 1_000


@pytest.mark.parametrize(
    "option", [{"null_values": ["NA"]}, {"encoding": "latin-1"}, {"delimiter": ";"}]
)
def test_an_option_of_csv_is_refused(option: dict[str, object], reading: Reading) -> None:
    source = {"uri": reading.file("a.jsonl", '{"x": 1}\n')} | option
    assert f"jsonl has no {next(iter(option))}" in reading.error(source)


def test_a_declared_type_is_exact_or_the_row_is_bad(reading: Reading) -> None:
    path = reading.file("a.jsonl", '{"x": 1}\n{"x": 1.5}\n{"x": "7"}\n{"x": true}\n')
    source = {"uri": path, "types": {"x": "int64"}}
    assert "IN/a.jsonl:2: 'x' is not of type int64 (2 bad rows" in reading.error(source)
    assert reading.column(source, on_bad_rows="quarantine", max_bad_fraction=0.5) == [1, 7]


def test_rare_columns_and_empty_objects_lose_no_row(reading: Reading) -> None:
    lines = "\ufeff{}\n" + "".join(f'{{"c{i}": {i}}}\n' for i in range(300)) + "\n{}\n"
    dataset = reading.dataset(reading.file("a.jsonl", lines))
    table = dataset.table("train")
    assert (table.num_rows, table.num_columns) == (302, 300)
    assert table["c299"].to_pylist().count(299) == 1


def test_what_is_nested_can_be_queried(reading: Reading) -> None:
    path = reading.file("a.jsonl", '{"u": {"a": 1}, "l": [3, 4]}\n{"u": {"a": 2}, "l": []}\n')
    sql = "SELECT u.a AS a, len(l) AS n, l[1] AS first FROM t"
    assert reading.rows(path, sql=sql) == [
        {"a": 1, "n": 2, "first": 3},
        {"a": 2, "n": 0, "first": None},
    ]


def test_a_whole_number_within_an_object_is_not_rounded(reading: Reading) -> None:
    query = "SELECT o.x AS x FROM t"
    lines = '{"o": {"x": 0.5}}\n{"o": {"x": 9007199254740993}}\n'
    with_decimals = reading.file("b.jsonl", lines)
    assert reading.error(with_decimals, sql=query).startswith(
        "IN/b.jsonl:2: 'o.x' has decimals and a whole number that float64 cannot hold; "
        "got 9007199254740993; write it as text"
    )
    exact = reading.file("a.jsonl", '{"o": {"x": 9007199254740993}}\n{"o": {"x": 1}}\n')
    assert reading.column(exact, sql=query) == [1, 9007199254740993]
