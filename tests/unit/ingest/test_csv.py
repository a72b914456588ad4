"""CSV: the value in the dataset is the value in the file, or the row is a bad one."""

from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import html
import io
import lzma
import math
import zipfile
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.components.ingest.csv_records import Dialect, read_stretches
from tests.unit.ingest.conftest import Reading

MANY = 30_000
"""More rows than a reader that guesses types looks at."""


@pytest.mark.parametrize(
    ("usual", "odd", "kind", "value"),
    [
        ("5", "1.5", "float64", 1.5),
        ("10000", "01000", "string", "01000"),
        ("5", "0x1F", "string", "0x1F"),
        ("5", "1_000", "string", "1_000"),
        ("true", "yes", "string", "yes"),
        ("2024-02-03", "2024-02-03 13:45", "timestamp", datetime.datetime(2024, 2, 3, 13, 45)),
        ("x", '"a, b"', "string", "a, b"),
        ("x", '"say ""hi"""', "string", 'say "hi"'),
        ("x", '"two\nlines"', "string", "two\nlines"),
        ("", "7", "int64", 7),
        ("", "text", "string", "text"),
    ],
)
def test_a_late_value_is_read_as_it_is(
    usual: str, odd: str, kind: str, value: object, reading: Reading
) -> None:
    path = reading.file("a.csv", "v,n\n" + f"{usual},1\n" * MANY + f"{odd},1\n")
    dataset = reading.dataset(path)
    assert dataset.manifest.columns[0].type == kind
    column = dataset.table("train")["v"]
    assert len(column) == MANY + 1
    assert column[-1].as_py() == value
    if usual:
        assert len(set(column[:-1].to_pylist())) == 1
        assert dataset.manifest.quarantined == 0


@pytest.mark.parametrize(
    "text",
    ["007", "+1", "1.", "yes", "t", "Y", "01/02/2020", "1.10.21", "10-11-12", "12:30", "1,5"],
)
def test_what_is_not_plainly_a_value_stays_text(text: str, reading: Reading) -> None:
    assert reading.column(reading.file("a.csv", f'v,n\n"{text}",1\n')) == [text]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int64", "2", "1.5"),
        ("int64", "2", "007"),
        ("float64", "1.5", "9007199254740993"),
        ("bool", "true", "1"),
        ("date", "2024-02-03", "2024-02-03 23:59:59"),
        ("timestamp", "2024-02-03 10:00:00", "2024-02-03 10:00:00.1234567"),
    ],
)
def test_a_declared_type_holds_exactly_or_the_row_is_bad(
    kind: str, good: str, bad: str, reading: Reading
) -> None:
    path = reading.file("a.csv", f'n,v\n"two\nlines",{good}\n1,{bad}\n')
    source = {"uri": path, "types": {"v": kind}}
    assert reading.error(source) == (
        f"IN/a.csv:4: 'v' is not of type {kind} (1 bad rows, 50.00%); got 1,{bad}; expected none "
        "(on_bad_rows is fail); mend the row, set on_bad_rows: quarantine, or give the column's "
        "type: sources.t.types.v: string"
    )
    kept = reading.dataset(source, on_bad_rows="quarantine", max_bad_fraction=0.5)
    assert kept.manifest.quarantined == 1
    assert kept.manifest.columns[1].type == kind
    assert kept.table("train")["n"].to_pylist() == ["two\nlines"]
    texts = reading.rows({"uri": path, "types": {"v": "string"}})
    assert [row["v"] for row in texts] == [good, bad]


def test_times_with_a_zone_are_in_utc(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    path = reading.file("a.csv", "t\n2024-02-03 10:00:00+02:00\n2024-02-03T10:00:00Z\n")
    eight, ten = (datetime.datetime(2024, 2, 3, hour) for hour in (8, 10))
    assert reading.column(path) == [eight, ten]
    mixed = reading.file("b.csv", "t\n2024-02-03 10:00:00+02:00\n2024-02-03 10:00:00\n")
    assert reading.column({"uri": mixed, "types": {"t": "timestamp"}}) == [eight, ten]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("v\n12345678901234567890\n1\n", "IN/a.csv:2: column 'v': a number that int64 cannot hold"),
        (
            "v\n0.5\n0.12345678901234567890\n",
            "IN/a.csv:3: column 'v': a number that float64 cannot",
        ),
        ("v\n2024-02-03 10:00Z\n2024-02-03 10:00\n", "times with and without a time zone"),
    ],
)
def test_a_type_that_would_lose_something_must_be_declared(
    content: str, message: str, reading: Reading
) -> None:
    path = reading.file("a.csv", content)
    error = reading.error(path)
    assert message in error
    assert "sources.t.types.v: string" in error
    assert reading.column({"uri": path, "types": {"v": "string"}}) == content.split()[1:] or (
        "zone" in message
    )


def test_an_integer_beyond_64_bits_that_float64_holds_is_one(reading: Reading) -> None:
    path = reading.file("a.csv", f"v\n{2**64}\n1\n")
    assert (reading.types(path), reading.column(path)) == ({"v": "float64"}, [2.0**64, 1.0])
    lines = reading.file("a.jsonl", f'{{"v": {2**64}}}\n{{"v": 1}}\n')
    assert (reading.types(lines), reading.column(lines)) == ({"v": "float64"}, [2.0**64, 1.0])


def test_a_date_in_another_format_than_declared_is_bad(reading: Reading) -> None:
    path = reading.file("a.csv", "d\n1/2/2020\n31/12/2020\n")
    error = reading.error({"uri": path, "formats": {"d": "%m/%d/%Y"}})
    assert "IN/a.csv:3: 'd' is not of type date" in error


def test_a_declared_format_reads_dates(reading: Reading) -> None:
    path = reading.file("a.csv", "d,t\n1/2/2020,3.4.21 10:30\n31/12/2020,\n")
    source: dict[str, Any] = {"uri": path, "formats": {"d": "%d/%m/%Y", "t": "%d.%m.%y %H:%M"}}
    assert reading.rows(source) == [
        {"d": datetime.date(2020, 2, 1), "t": datetime.datetime(2021, 4, 3, 10, 30)},
        {"d": datetime.date(2020, 12, 31), "t": None},
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("smoker,Dose,dose", "columns 'Dose' and 'dose' differ in capitals alone"),
        ("a,b,a", "column 'a' is there twice"),
        ("a, b,c", "a column's name with blanks around it; got ' b'"),
        (",b,c", "column 1 has no name"),
    ],
)
def test_a_name_that_would_be_changed_is_refused(
    header: str, message: str, reading: Reading
) -> None:
    assert message in reading.error(reading.file("a.csv", f"{header}\n1,2,3\n"))


def test_a_byte_order_mark_is_no_part_of_a_name(reading: Reading) -> None:
    reading.file("a.csv", b"\xef\xbb\xbfk,b\n1,2\n")
    reading.file("b.csv", b"k,b\n3,4\n")
    assert reading.rows(str(reading.folder / "in")) == [{"k": 1, "b": 2}, {"k": 3, "b": 4}]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "é😀"),
        ("utf-16-be", "é"),
        ("cp1252", "é€"),
        ("latin-1", "é"),
        ("shift_jis", "あ"),
    ],
)
def test_a_declared_encoding_is_read(encoding: str, text: str, reading: Reading) -> None:
    path = reading.file("a.csv", f"{text},b\n{text},2\n".encode(encoding))
    assert reading.rows({"uri": path, "encoding": encoding}) == [{text: text, "b": 2}]


def test_another_encoding_is_named(reading: Reading) -> None:
    utf_16 = reading.file("a.csv", "a,b\n1,é\n".encode("utf-16"))
    assert reading.error(utf_16).endswith("got utf-16; sources.t.encoding: utf-16")
    wrong = {"uri": reading.file("b.csv", "a\n\xe9\n".encode("latin-1")), "encoding": "ascii"}
    assert "IN/b.csv: after line 1: not ascii" in reading.error(wrong)
    assert "not an encoding" in reading.error({"uri": utf_16, "encoding": "utf-99"})


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"PAR1\0\0", "a Parquet file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel workbook"),
    ],
)
def test_a_file_that_is_no_table_is_named(content: bytes, kind: str, reading: Reading) -> None:
    assert kind in reading.error(reading.file("a.csv", content))


def _zip(**members: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return target.getvalue()


def test_a_workbook_is_named_though_it_is_a_zip_archive(reading: Reading) -> None:
    book = _zip(**{"[Content_Types].xml": b"<x/>"})
    assert "an Excel workbook; save it as CSV" in reading.error(reading.file("a.csv", book))


def test_files_are_unpacked_by_what_they_are(reading: Reading) -> None:
    content = b"v,n\n007,1\n"
    packed = {
        "a.csv.gz": gzip.compress(content),
        "b.csv": gzip.compress(content),
        "c.csv.bz2": bz2.compress(content),
        "d.csv.xz": lzma.compress(content),
        "e.csv.zst": pa.compress(content, codec="zstd", asbytes=True),
        "F.CSV.ZIP": _zip(x__a=content, y__a=content),
        "g.csv.zip": _zip(**{"a.csv.gz": gzip.compress(content)}),
    }
    for name, data in packed.items():
        source = {"uri": reading.file(name, data), "format": "csv"}
        assert reading.column(source) == ["007"] * (2 if name == "F.CSV.ZIP" else 1), name


def test_an_empty_file_in_an_archive_is_refused_like_one_beside_it(reading: Reading) -> None:
    reading.file("a.csv.zip", _zip(**{"a.csv": b"v\n1\n", "b.csv": b""}))
    assert "IN/a.csv.zip/b.csv: the file is empty" in reading.error(str(reading.folder / "in"))


def test_archives_of_one_name_in_two_folders_are_both_read(reading: Reading) -> None:
    reading.file("one/a.csv.zip", _zip(**{"a.csv": b"v\n1\n"}))
    reading.file("two/a.csv.zip", _zip(**{"a.csv": b"v\n2\n3,4\n"}))
    folder = str(reading.folder / "in")
    assert "IN/two/a.csv.zip/a.csv:3: more values than columns" in reading.error(folder)
    kept = {"on_bad_rows": "quarantine", "max_bad_fraction": 0.5}
    assert reading.column(folder, **kept) == [1, 2]


def test_a_damaged_or_encrypted_archive_is_one_line(reading: Reading) -> None:
    whole = _zip(**{"a.csv": b"v\n" + b"1234567,\n" * 900})
    torn = bytearray(whole)
    torn[45:60] = b"\xff" * 15
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.rindex(b"PK\x01\x02") + 8] |= 1
    gzipped = gzip.compress(b"v\n1\n" * 900)
    for name, data in {
        "a.csv.zip": bytes(torn),
        "b.csv.zip": bytes(encrypted),
        "c.csv.gz": gzipped[:-12],
        "d.csv.gz": gzipped[:20] + b"\xff" * 9 + gzipped[29:],
    }.items():
        assert f"IN/{name}" in reading.error(reading.file(name, data))
        assert "not a whole archive" in reading.error(reading.file(name, data))


def test_a_path_is_no_pattern_and_its_folders_are_no_columns(reading: Reading) -> None:
    reading.file("x=7/data[1].csv", "v\n1\n")
    reading.file("x=7/data1.csv", "v\n2\n")
    reading.file("x=7/da*?.csv", "v\n3\n")
    found = reading.rows(str(reading.folder / "in"))
    assert sorted(row["v"] for row in found) == [1, 2, 3]
    assert all(row.keys() == {"v"} for row in found)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('\ufeffa;b;c\r\n1,5;x;"q;r"\r\n2,5;y;z\r\n', [("1,5", "x", "q;r"), ("2,5", "y", "z")]),
        ('"x,y";z\n1;2\n', [(1, 2)]),
        ("a\tb\n1\tx, y\n", [(1, "x, y")]),
        ("a|b\r1|x\r", [(1, "x")]),
        ('"a","b"\n"1","x"\n', [(1, "x")]),
        ("a\n1\n\n2\n", [(1,), (None,), (2,)]),
    ],
)
def test_the_dialect_is_told_from_the_first_records(
    content: str, rows: list[tuple[object, ...]], reading: Reading
) -> None:
    found = reading.rows(reading.file("a.csv", content))
    assert [tuple(row.values()) for row in found] == rows


def test_a_dialect_can_be_given(reading: Reading) -> None:
    path = reading.file("a.csv", "a,b\n'x,y',\"1\n'it\\'s',2\n")
    source = {"uri": path, "quote": "'", "escape": "\\"}
    assert reading.rows(source) == [{"a": "x,y", "b": '"1'}, {"a": "it's", "b": "2"}]
    plain = {"uri": reading.file("b.csv", 'a;b\n"x;1\n'), "quote": "", "delimiter": ";"}
    assert reading.rows(plain) == [{"a": '"x', "b": 1}]
    no_header = {"uri": reading.file("c.csv", "1,x\n"), "header": False}
    assert reading.rows(no_header) == [{"column0": 1, "column1": "x"}]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"delimiter": "\\t"}, 'delimiter: "\\t"'),
        ({"quote": ",", "delimiter": ","}, "the delimiter and the quote are one"),
        ({"types": {"vv": "string"}}, "no column 'vv'; did you mean 'v'?"),
        ({"formats": {"vv": "%d"}}, "no column 'vv'; did you mean 'v'?"),
        ({"formats": {"v": "%d"}, "types": {"v": "string"}}, "a format makes a date"),
        ({"formats": {"v": "dd/mm/yyyy"}}, "not a format"),
    ],
)
def test_an_option_that_means_nothing_is_refused(
    option: dict[str, Any], message: str, reading: Reading
) -> None:
    assert message in reading.error({"uri": reading.file("a.csv", "v,n\n1,2\n")} | option)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,x\r\n2,y\n", "lines that end in different ways"),
        ("a,b\n1,x\n" + "2," + "y" * 3_000_000 + "\n", "IN/a.csv:3: a line longer than 2,000,000"),
        ("a,b;c\n1,2;3\n", "the delimiter cannot be told; got ',' and ';'"),
        ('a,b\n1,"x"y\n', "IN/a.csv:2: a quoted value that does not end at its quote"),
        ("a,b\n1\n", "IN/a.csv:2: fewer values than columns"),
        ("a,b\r1,2\r3\r", "IN/a.csv:3: fewer values than columns"),
        ("a,b\r\n1,2\r\n3\r\n", "IN/a.csv:3: fewer values than columns"),
        ("\na,b\n", "the first line is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_short_line(
    content: str, message: str, reading: Reading
) -> None:
    error = reading.error(reading.file("a.csv", content))
    assert message in error
    assert len(error) < 1_000


_BLANKS = "blanks beside the quotes of a value"
_MORE = "more values than columns"


@pytest.mark.parametrize(
    ("row", "reason", "suffix", "types", "sql"),
    [
        ('1, "x"', _BLANKS, "csv", {}, ""),
        ('"9" ,x', _BLANKS, "csv.gz", {"a": "int64"}, "SELECT * FROM t"),
        ('"" "",1', "a quoted value that does not end at its quote", "csv", {"a": "string"}, ""),
        ("Smith, John,", _MORE, "csv", {"a": "int64"}, ""),
        ("1,2,,,", _MORE, "csv.gz", {}, ""),
        ('1,2,""', _MORE, "csv", {}, "SELECT * FROM t"),
    ],
)
def test_what_a_row_does_not_hold_exactly_makes_it_a_bad_one(
    row: str, reason: str, suffix: str, types: dict[str, str], sql: str, reading: Reading
) -> None:
    content = f'a,b\n7,"two\nlines"\n{row}\n8,"say ""hi"", "\n'.encode()
    packed = gzip.compress(content) if suffix.endswith("gz") else content
    source = {"uri": reading.file(f"a.{suffix}", packed), "types": types}
    assert f"IN/a.{suffix}:4: {reason} (1 bad rows, 33.33%)" in reading.error(source, sql=sql)
    kept = reading.dataset(source, sql=sql, on_bad_rows="quarantine", max_bad_fraction=0.5)
    assert [str(value) for value in kept.table("train")["a"].to_pylist()] == ["7", "8"]
    assert kept.table("train")["b"].to_pylist() == ["two\nlines", 'say "hi", ']
    assert kept.manifest.quarantined == 1


def test_blanks_may_be_delimiters(reading: Reading) -> None:
    source = {"uri": reading.file("a.csv", 'a b c\n1  "x y"\n "z" 2\n'), "delimiter": " "}
    assert reading.rows(source) == [
        {"a": 1, "b": None, "c": "x y"},
        {"a": None, "b": "z", "c": "2"},
    ]


def test_a_bad_row_takes_no_good_one_with_it(reading: Reading) -> None:
    many = 20_000  # 10 MB: more than a reader takes at once
    rows = "".join(f"{i},{'x' * 500}\n" for i in range(many))
    source = reading.file("a.csv", f'a,b\n{rows}"x"y,1\n{rows}')
    kept = reading.dataset(source, on_bad_rows="quarantine", max_bad_fraction=0.1)
    assert (kept.manifest.splits["train"].rows, kept.manifest.quarantined) == (2 * many, 1)


def test_the_lines_behind_a_quote_without_end_count_as_bad_rows(reading: Reading) -> None:
    quarantine = {"on_bad_rows": "quarantine", "max_bad_fraction": 0.5}
    lost = reading.file("a.csv", 'a,b\n1,x\n2,x\n"3,x\n4,x\n5,x\n')
    assert "IN/a.csv:4: a quoted value that does not end at its quote (3 bad rows, 60.00%)" in (
        reading.error(lost, **quarantine)
    )
    endless = reading.file("b.csv", 'a,b\n1,x\n"2,x\n' + "3,x\n" * 600_000)
    assert "IN/b.csv:3: a quoted value that does not end at its quote" in (
        reading.error(endless, **quarantine)
    )
    later = reading.file("c.csv", 'a,b\n1,x\n"2,x\n3,"y"\n4,x\n5,x\n6,x\n')
    kept = reading.dataset(later, **quarantine)
    assert kept.table("train")["a"].to_pylist() == [1, 4, 5, 6]


def test_a_quote_without_end_is_found_in_the_last_of_many_files(reading: Reading) -> None:
    for number in range(20):
        reading.file(f"{number:02}.csv", "a,b\n1,x\n")
    reading.file("zz.csv", 'a,b\n2,x\n"3,x\n4,x\n')
    folder = str(reading.folder / "in")
    for sql in ("", "SELECT * FROM t"):
        assert "IN/zz.csv:3: a quoted value that does not end at its quote (2 bad rows" in (
            reading.error(folder, sql=sql)
        )


def test_an_escape_is_one_between_quotes_alone(reading: Reading) -> None:
    source = {
        "uri": reading.file("a.csv", 'a,b\n\\5,"say \\"hi\\""\n7,\\N\n'),
        "escape": "\\",
        "types": {"a": "string"},
    }
    assert reading.rows(source) == [{"a": "\\5", "b": 'say "hi"'}, {"a": "7", "b": "\\N"}]
    source["types"] = {"a": "int64"}
    kept = reading.dataset(source, on_bad_rows="quarantine", max_bad_fraction=0.5)
    assert (kept.manifest.splits["train"].rows, kept.manifest.quarantined) == (1, 1)


def test_minus_zero_keeps_its_sign(reading: Reading) -> None:
    files = [
        reading.file("a.csv", "v\n-0.0\n0.0\n"),
        reading.file("a.jsonl", '{"v": -0.0}\n{"v": 0.0}\n'),
    ]
    for path in files:
        assert [math.copysign(1, v) for v in reading.column(path)] == [-1, 1]
        # Which of two equal values comes first would be open there.
        signs = [math.copysign(1, v) for v in reading.column(path, sql="SELECT v FROM t")]
        assert signs == [1, 1]


def _read_all(source: str, dialect: Dialect) -> list[list[str]]:
    rows = []
    for stretch in read_stretches(io.StringIO(source, newline=""), dialect):
        assert not stretch.reason
        rows += [dialect.values(text) for _, text in dialect.split(stretch)]
    return rows


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.lists(st.text("ab,;\"' \\\t\n\ré", max_size=5), min_size=2, max_size=2), max_size=4
    ),
    delimiter=st.sampled_from(",;\t "),
    quote=st.sampled_from("\"'"),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_records_hold_what_was_written(
    cells: list[list[str]], delimiter: str, quote: str, line_end: str
) -> None:
    written = io.StringIO()
    writer = csv.writer(
        written,
        delimiter=delimiter,
        quotechar=quote,
        lineterminator=line_end,
        quoting=csv.QUOTE_ALL,
    )
    writer.writerows([["x", "y"], *cells])
    dialect = Dialect(delimiter, quote, quote, header=True, names=("x", "y"))
    assert _read_all(written.getvalue(), dialect) == [["x", "y"], *cells]


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["1,5", "-2,25"], "all of the first values look like numbers with a decimal comma"),
        (["0,125", "1,5"], "all of the first values look like numbers with a decimal comma"),
        (
            ["1,234", "-12,345"],
            "all of the first values look like numbers with separated thousands",
        ),
        (["$1,234.00", "$3"], "numbers with a unit"),
        (["01/02/2020", "3.4.21"], "dates: give their format in the source's `formats`"),
        (["1", "2.5"] * 20 + ["unknown"], "97.6% of the first values look like numbers"),
        (["a", "b"], None),
    ],
)
def test_the_preview_says_what_text_looks_like(
    values: list[str], note: str | None, reading: Reading
) -> None:
    content = "v,n\n" + "".join(f'"{text}",1\n' for text in values)
    reading.dataset(reading.file("a.csv", content))
    page = html.unescape((reading.folder / "preview").read_text())
    assert ("look like" in page) == (note is not None)
    assert note is None or note in page
