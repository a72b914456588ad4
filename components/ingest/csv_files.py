"""CSV files as a view: the dialect, the names, the values, and what is wrong with rows."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice

import duckdb

from kfp_suite.components.contracts.errors import DataError
from kfp_suite.components.contracts.sql import quote_text
from kfp_suite.components.ingest.bad_rows import BadRow, rejected_rows
from kfp_suite.components.ingest.expected_rows import ExpectedRows, read_rows_once
from kfp_suite.components.ingest.names import check_names
from kfp_suite.components.ingest.source_files import SourceFile
from kfp_suite.components.ingest.text_columns import ALL_TYPES
from kfp_suite.components.ingest.text_views import (
    Record,
    TextSource,
    create_text_view,
)
from kfp_suite.components.stores.sources import SourceSpec

_DELIMITERS = (",", "\t", ";", "|")
_LOOKED_AT_RECORDS = 100
_SAMPLE_BYTES = 1 << 20
_MIXED_LINE_ENDS = "invalid state"


@dataclass(frozen=True)
class Dialect:
    """How the text of a CSV file becomes rows of text.

    Attributes:
        delimiter: The character between values.
        quote: The character around values; empty for none.
        escape: The character before a quote in a value; the quote itself if it is doubled.
        header: Whether the first record has the names.
        names: The names of the columns.
    """

    delimiter: str
    quote: str
    escape: str
    header: bool
    names: tuple[str, ...]


def add_csv_view(
    connection: duckdb.DuckDBPyConnection, name: str, spec: SourceSpec, files: list[SourceFile]
) -> list[BadRow]:
    """Create the view `name` of CSV files in UTF-8.

    Returns:
        The rows that the view does not have.

    Raises:
        DataError: files with different columns, names that cannot be kept, line ends of two
            kinds, or as `create_text_view`.
    """
    broken: set[tuple[str, int]] = set()
    source = _source(name, spec, files, broken)
    by_path = {str(file.path): file for file in files}
    try:
        bad = create_text_view(connection, source, spec)
        rejected = rejected_rows(connection, name, by_path)
    except duckdb.InvalidInputException as error:
        raise _unreadable(name, files, error) from error
    broken.update((row.file, row.line) for row in rejected)
    return rejected + bad


def read_csv_once(
    connection: duckdb.DuckDBPyConnection, name: str, spec: SourceSpec, files: list[SourceFile]
) -> AbstractContextManager[ExpectedRows]:
    """The rows of CSV files in which nothing is wrong; see `read_rows_once`."""
    source = _source(name, spec, files, set())
    strict = _relation(spec, _dialect(name, spec, files), files, "")
    return read_rows_once(connection, source, spec, strict)


def _source(
    name: str, spec: SourceSpec, files: list[SourceFile], broken: set[tuple[str, int]]
) -> TextSource:
    """The files as text.

    Args:
        broken: The file and line of the rows that DuckDB leaves out, once they are known.
    """
    dialect = _dialect(name, spec, files)

    def records() -> Iterator[Record]:
        for file in files:
            for record in _records(file, dialect, spec.null_values):
                if (record.file, record.line) not in broken:
                    yield record

    rejects = f", store_rejects=true, rejects_table='rejects_{name}', rejects_scan='scans_{name}'"
    return TextSource(
        name,
        _relation(spec, dialect, files, ", ignore_errors=true"),
        dict.fromkeys(dialect.names, ALL_TYPES),
        records,
        checked=_relation(spec, dialect, files, rejects),
    )


def _relation(spec: SourceSpec, dialect: Dialect, files: list[SourceFile], more: str) -> str:
    """Every option is given, so that nothing is guessed from a sample."""
    paths = ", ".join(quote_text(file.pattern()) for file in files)
    columns = ", ".join(f"{quote_text(name)}: 'VARCHAR'" for name in dialect.names)
    nulls = ", ".join(quote_text(text) for text in ("", *spec.null_values))
    return (
        f"read_csv([{paths}], auto_detect=false, hive_partitioning=false,"
        f" columns={{{columns}}}, header={str(dialect.header).lower()},"
        f" delim={quote_text(dialect.delimiter)}, quote={quote_text(dialect.quote)},"
        f" escape={quote_text(dialect.escape)}, nullstr=[{nulls}], strict_mode=true,"
        f" null_padding=false, encoding='utf-8'{more})"
    )


def _unreadable(name: str, files: list[SourceFile], error: duckdb.Error) -> DataError:
    text = str(error)
    named = next((f.name for f in files if f"file = {f.path}\n" in text), files[0].name)
    where = f"sources.{name}: {named}"
    if _MIXED_LINE_ENDS in text:
        return DataError(
            "lines that end in different ways",
            where=where,
            expected="one of \\n, \\r\\n and \\r in all of a file",
            fix="convert the file, for instance with dos2unix",
        )
    return DataError(text.partition("\n")[0], where=where)


def _dialect(name: str, spec: SourceSpec, files: list[SourceFile]) -> Dialect:
    escape = spec.quote if spec.escape is None else spec.escape
    given = (spec.quote, escape, spec.header)
    delimiter = spec.delimiter or _delimiter(name, files[0], spec.quote, escape)
    first: Sequence[str] | None = None
    for file in files:
        head = Dialect(delimiter, *given, names=())
        names = next(_rows(_sample(file), head), None) or []
        if not spec.header:
            names = [f"column{number}" for number in range(len(names))]
        where = f"sources.{name}: {file.name}"
        if not names:
            raise DataError("the first line is empty", where=where, expected="the column names")
        check_names(name, file.name, names)
        if first is not None and names != first:
            raise DataError(
                "other columns than the first file",
                where=where,
                got=", ".join(names),
                expected=", ".join(first),
                fix="give the files the same columns in the same order",
            )
        first = first or names
    assert first is not None
    return Dialect(delimiter, *given, names=tuple(first))


def _delimiter(name: str, file: SourceFile, quote: str, escape: str) -> str:
    """The one delimiter that gives every record at the top as many values, more than one.

    Raises:
        DataError: there are several.
    """
    widths: dict[str, list[int]] = {}
    for delimiter in _DELIMITERS:
        head = Dialect(delimiter, quote, escape, header=True, names=())
        rows = islice(_rows(_sample(file), head), _LOOKED_AT_RECORDS)
        # The last record may be cut.
        widths[delimiter] = [len(row) for row in rows if row][:_LOOKED_AT_RECORDS]
    several = {d: found for d, found in widths.items() if found and found[0] > 1}
    even = [d for d, found in several.items() if len(set(found[:-1] or found)) == 1]
    chosen = even or list(several)
    if len(chosen) > 1:
        # Names seldom hold a delimiter, values often do.
        most = max(several[d][0] for d in chosen)
        chosen = [d for d in chosen if several[d][0] == most]
    if len(chosen) > 1:
        raise DataError(
            "the delimiter cannot be told",
            where=f"sources.{name}: {file.name}",
            got=" and ".join(repr(d) for d in chosen),
            fix=f"give it: sources.{name}.delimiter",
        )
    return chosen[0] if chosen else ","


def _sample(file: SourceFile) -> str:
    with file.open() as content:
        text = content.read(_SAMPLE_BYTES).decode(errors="replace")
    return text.removeprefix("\ufeff")


def _rows(text: str, dialect: Dialect) -> Iterator[list[str]]:
    return _reader(io.StringIO(text, newline=""), dialect)


def _reader(lines: Iterator[str] | io.StringIO, dialect: Dialect) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)
    doubled = dialect.escape == dialect.quote
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        doublequote=doubled,
        escapechar=None if doubled or not dialect.escape else dialect.escape,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
    )


def _records(file: SourceFile, dialect: Dialect, null_values: Sequence[str]) -> Iterator[Record]:
    """The rows that have a value for each name."""
    nulls = {"", *null_values}
    with (
        file.open() as content,
        io.TextIOWrapper(content, "utf-8-sig", errors="replace", newline="") as lines,
    ):
        kept: list[str] = []

        def keep() -> Iterator[str]:
            for line in lines:
                kept.append(line)
                yield line

        reader = _reader(keep(), dialect)
        start = 1
        for number, row in enumerate(reader):
            line, start = start, start + len(kept)
            text = "".join(kept).rstrip("\r\n")
            kept.clear()
            if (number == 0 and dialect.header) or len(row) != len(dialect.names):
                continue
            values = {n: v for n, v in zip(dialect.names, row, strict=True) if v not in nulls}
            yield Record(file.name, line, text, values)
