"""What is damaged in a CSV file costs no good row, and no part of a bad row becomes one."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path

import pytest

from kfp_suite.components.ingest import csv_files
from kfp_suite.components.ingest.csv_records import MAX_RECORD_BYTES, Dialect
from kfp_suite.components.ingest.source_files import SourceFile
from kfp_suite.stores.sources import parse_sources
from tests.unit.ingest.conftest import Reading

QUARANTINE = {"on_bad_rows": "quarantine", "max_bad_fraction": 0.9}
MIXED = "lines that end in different ways"


@pytest.mark.parametrize("rest", [b"1,x\n2,y\n", b'1,x\n2, "y"\n3,z\n'])
@pytest.mark.parametrize("header", [b"id,caf\xe9\n", b'id,"caf\xe9"\n', b"caf\xe9,id\n"])
def test_a_header_that_is_not_utf_8_is_refused(
    header: bytes, rest: bytes, reading: Reading
) -> None:
    source = reading.file("a.csv", header + rest)
    for sql in ("", "SELECT * FROM t"):
        error = reading.error(source, sql=sql, **QUARANTINE)
        assert error.startswith("sources.t: IN/a.csv:1: not utf-8; got "), error
        assert error.endswith("give the file's encoding, such as sources.t.encoding: cp1252")


def test_the_encoding_of_a_header_can_be_given(reading: Reading) -> None:
    source = reading.file("a.csv", b"id,caf\xe9\n1,\xe9\n")
    assert reading.rows({"uri": source, "encoding": "cp1252"}) == [{"id": 1, "café": "é"}]


def test_a_first_row_that_is_not_utf_8_is_one_bad_row_without_a_header(reading: Reading) -> None:
    source = {"uri": reading.file("a.csv", b"1,\xe9\n2,y\n3,z\n"), "header": False}
    kept = reading.dataset(source, **QUARANTINE)
    assert kept.table("train")["column0"].to_pylist() == [2, 3]
    assert kept.manifest.quarantined == 1


def test_a_character_may_begin_in_what_is_looked_at_and_end_behind_it(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_SAMPLE_BYTES", len("id;n\n1;é".encode()) - 1)
    for header in (True, False):
        source = {"uri": reading.file("a.csv", "id;n\n1;é\n"), "header": header}
        assert len(reading.rows(source)) == (1 if header else 2)


def test_a_header_longer_than_a_record_may_be_is_refused(reading: Reading) -> None:
    long = "x" * MAX_RECORD_BYTES
    source = reading.file("a.csv", f"a,{long}\n1,2\n3,4\n")
    error = reading.error(source, **QUARANTINE)
    assert f"IN/a.csv:1: a line longer than {MAX_RECORD_BYTES:,} bytes" in error
    assert len(error) < 2_000


def test_a_long_header_keeps_its_last_name(reading: Reading) -> None:
    last = "x" * 1_500_000
    path = reading.file("a.csv", f"a,{last}\n1,2\n")
    spec = parse_sources({"t": path})["t"]
    dialect = csv_files._dialect("t", spec, [SourceFile(Path(path), "a.csv")])
    assert dialect.names == ("a", last)


@pytest.mark.parametrize(
    ("end", "other"), [("\n", "\r"), ("\r\n", "\n"), ("\r\n", "\r"), ("\n", "\r\n"), ("\r", "\n")]
)
@pytest.mark.parametrize("cut", ["abc|def,1", "abc,1,2|def,1", 'abc, "1"|def,1', 'abc,"1"2|def,1'])
def test_a_row_with_another_line_end_in_it_is_not_kept_in_part(
    cut: str, end: str, other: str, reading: Reading
) -> None:
    lines = ["a,b", "x,0", cut.replace("|", other), "y,2", ""]
    error = reading.error(reading.file("a.csv", end.join(lines)), **QUARANTINE)
    assert f"IN/a.csv:3: {MIXED}" in error


def test_a_row_with_a_byte_that_is_not_utf_8_is_not_kept_in_part(reading: Reading) -> None:
    source = reading.file("a.csv", b"a,b\nx,0\n\xe9\rdef,1\n")
    assert f"IN/a.csv:3: {MIXED}" in reading.error(source, **QUARANTINE)


def test_a_line_break_in_quotes_does_not_end_a_line_that_is_too_long(reading: Reading) -> None:
    long = "y" * (MAX_RECORD_BYTES + 600_000)
    source = reading.file("a.csv", f'a,b\n1,x\n2,{long},"z\n3,fragment\n"\n4,x\n')
    error = reading.error(source, **QUARANTINE)
    assert f"IN/a.csv:3: a line longer than {MAX_RECORD_BYTES:,} bytes" in error
    mixed = reading.file("b.csv", f"a,b\n1,x\n2,{long}\r3,fragment\n4,x\n")
    assert f"IN/b.csv:3: {MIXED}" in reading.error(mixed, **QUARANTINE)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_lines_of_a_line_that_is_too_long_are_counted(end: str, reading: Reading) -> None:
    # It ends at each place near the end of what is read at once.
    for beyond in range(-1, 2):
        row = f'"two{end}lines",'
        long = "y" * ((9 << 18) + beyond - len(row) - len(f"a,b{end}"))
        source = reading.file("a.csv", f"a,b{end}{row}{long}{end}2,{end}3,x,x{end}")
        kept = reading.dataset(source, **QUARANTINE)
        assert kept.table("train")["a"].to_pylist() == [2]
        lines = (kept.path / "quarantine" / "t.jsonl").read_text().splitlines()
        assert [json.loads(line)["line"] for line in lines] == [2, 5]


def test_bad_rows_are_counted_the_same_everywhere(reading: Reading) -> None:
    lost = "".join(f"{i},x\n" for i in range(900))
    source = reading.file("a.csv", 'a,b\n1,x\n2,x,x\n3,x\n"4,x\n' + lost)
    assert "(902 bad rows, 99.78%)" in reading.error(source)
    kept = reading.dataset(source, on_bad_rows="quarantine", max_bad_fraction=0.999)
    assert kept.manifest.quarantined == 902
    quarantined = (kept.path / "quarantine" / "t.jsonl").read_text().splitlines()
    assert [json.loads(line)["rows"] for line in quarantined] == [1, 901]
    page = html.unescape((reading.folder / "preview").read_text())
    assert "902" in page


def test_a_file_without_line_ends_is_not_searched_as_a_whole(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(reading.file("a.csv", b"a,b\n" + b"x" * 12_000_000))
    read: list[int] = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            block: bytes = super().read(size)
            read.append(len(block))
            return block

    monkeypatch.setattr(SourceFile, "open", lambda file: Counting(file.path))
    dialect = Dialect(",", '"', '"', header=True, names=("a", "b"))
    assert csv_files._may_drop(SourceFile(path, "a.csv"), dialect, is_alone=True)
    assert sum(read) < 2 * MAX_RECORD_BYTES
