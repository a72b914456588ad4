"""CSV files as a view: the dialect, the names, the values, and what is wrong with rows."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import duckdb

from kfp_suite.components.ingest.bad_rows import MAX_TEXT_LENGTH, QUARANTINE_FIX, BadRow
from kfp_suite.components.ingest.csv_records import (
    MAX_RECORD_BYTES,
    MIXED_LINE_ENDS,
    NOT_UTF_8,
    TOO_LONG,
    Dialect,
    Stretch,
    UnreadableRecord,
    is_text,
    is_too_long,
    opened_text,
    read_rows,
    read_stretches,
)
from kfp_suite.components.ingest.expected_rows import (
    ExpectedRows,
    UnexpectedRowsError,
    read_rows_once,
)
from kfp_suite.components.ingest.names import check_names
from kfp_suite.components.ingest.source_files import SourceFile
from kfp_suite.components.ingest.text_columns import ALL_TYPES
from kfp_suite.components.ingest.text_views import (
    Record,
    TextSource,
    create_text_view,
)
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.sql import quote_name, quote_text
from kfp_suite.stores.sources import SourceSpec

_DELIMITERS = (",", "\t", ";", "|")
_LOOKED_AT_RECORDS = 100
_SAMPLE_BYTES = MAX_RECORD_BYTES + (1 << 16)
_BLOCK = 1 << 20


def add_csv_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    spec: SourceSpec,
    files: list[SourceFile],
    work: Path,
) -> list[BadRow]:
    """Create the view `name` of CSV files in UTF-8.

    Args:
        connection: Where the view is created.
        name: The source's name.
        spec: How to read them.
        files: The files.
        work: A folder for copies of files with bad rows.

    Returns:
        The rows that the view does not have.

    Raises:
        DataError: files with different columns, names that cannot be kept, line ends of two
            kinds, or as `create_text_view`.
    """
    dialect = _dialect(name, spec, files)
    if not _may_be_misread(name, files, dialect):
        try:
            return create_text_view(connection, _source(name, spec, dialect, files, files), spec)
        except duckdb.InvalidInputException:
            pass  # There is a bad row.
    bad, good = [], []
    for number, file in enumerate(files):
        target = work / f"{name}.good" / f"{number:05}.csv"
        found = _bad_rows(name, file, dialect, target)
        bad += found
        good.append(SourceFile(target, file.name) if found else file)
    try:
        source = _source(name, spec, dialect, files, good)
        return bad + create_text_view(connection, source, spec)
    except duckdb.InvalidInputException as error:
        named = next((f.name for f in good if f"file = {f.path}\n" in str(error)), files[0].name)
        raise DataError(str(error).partition("\n")[0], where=f"sources.{name}: {named}") from error


def read_csv_once(
    connection: duckdb.DuckDBPyConnection, name: str, spec: SourceSpec, files: list[SourceFile]
) -> AbstractContextManager[ExpectedRows]:
    """The rows of CSV files in which nothing is wrong; see `read_rows_once`.

    Raises:
        UnexpectedRowsError: DuckDB may read a bad row as a good one.
    """
    dialect = _dialect(name, spec, files)
    if _may_be_misread(name, files, dialect):
        raise UnexpectedRowsError("a bad row that DuckDB may read")
    return read_rows_once(connection, _source(name, spec, dialect, files, files), spec)


def _source(
    name: str, spec: SourceSpec, dialect: Dialect, files: list[SourceFile], good: list[SourceFile]
) -> TextSource:
    """The files as text.

    Args:
        good: The files again, or copies without their bad rows.
    """

    def records() -> Iterator[Record]:
        nulls = {"", *spec.null_values}
        for file in files:
            for line, text, values in _records(name, file, dialect):
                given = {n: v for n, v in zip(dialect.names, values, strict=True) if v not in nulls}
                yield Record(file.name, line, text, given)

    columns = dict.fromkeys(dialect.names, ALL_TYPES)
    nulls = ", ".join(quote_text(text) for text in ("", *spec.null_values))
    texts = {
        column: f"CASE WHEN {text} NOT IN ({nulls}) THEN {text} END"
        for column, text in zip(dialect.names, map(quote_name, dialect.names), strict=True)
    }
    plain = _relation(dialect, good)
    selected = ", ".join(f"{text} AS {quote_name(column)}" for column, text in texts.items())
    relation = f"(SELECT {selected} FROM {plain})"
    return TextSource(name, relation, columns, records, plain=plain, texts=texts)


def _relation(dialect: Dialect, files: list[SourceFile]) -> str:
    """Every option is given, so that nothing is guessed from a sample; a bad row is an error."""
    paths = ", ".join(quote_text(file.pattern()) for file in files)
    columns = ", ".join(f"{quote_text(name)}: 'VARCHAR'" for name in dialect.names)
    # DuckDB skips what is null beyond the last column, and a blank line that is not null. A
    # line end without quotes is nowhere.
    null = "allow_quoted_nulls=false, nullstr=" + ("''" if len(dialect.names) == 1 else "'\n'")
    return (
        f"read_csv([{paths}], auto_detect=false, hive_partitioning=false,"
        f" columns={{{columns}}}, header={str(dialect.header).lower()},"
        f" delim={quote_text(dialect.delimiter)}, quote={quote_text(dialect.quote)},"
        f" escape={quote_text(dialect.escape)}, {null},"
        " strict_mode=true, null_padding=false, encoding='utf-8')"
    )


def _may_be_misread(name: str, files: list[SourceFile], dialect: Dialect) -> bool:
    """Whether DuckDB may read a bad row as a good one, or drop it."""
    return any(
        stretch.reason
        for file in files
        if _may_drop(file, dialect, is_alone=len(files) == 1)
        for stretch in _stretches(name, file, dialect)
    )


def _may_drop(file: SourceFile, dialect: Dialect, *, is_alone: bool) -> bool:
    """Whether DuckDB may drop something without a word.

    That is blanks beside quotes, delimiters after one column, and, in all but the first of
    several files, what stands behind a quote without an end. Nothing is known of what follows a
    record that is too long.
    """
    if len(dialect.names) == 1 or not dialect.quote:
        return len(dialect.names) == 1
    quote, delimiter = (re.escape(c.encode()) for c in (dialect.quote, dialect.delimiter))
    beside = re.compile(
        rb"(?:\A|[\r\n]|%b) +%b|%b +(?:[\r\n]|%b|%b|\Z)"
        % (delimiter, quote, quote, delimiter, quote)
    )
    near = (b" " + dialect.quote.encode(), dialect.quote.encode() + b" ")
    with file.open() as content:
        rest = b""
        while block := content.read(_BLOCK):
            lines = rest + block
            if not is_alone and dialect.quote.encode() in block:
                return True
            if any(text in lines for text in near) and beside.search(lines):
                return True
            rest = lines[max(lines.rfind(b"\n"), lines.rfind(b"\r")) + 1 :]
            if len(rest) > MAX_RECORD_BYTES:
                return True
    return False


def _bad_rows(name: str, file: SourceFile, dialect: Dialect, target: Path) -> list[BadRow]:
    """The bad rows of a file; if there are some, `target` becomes a copy without them."""
    bad: list[BadRow] = []
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as copy:
        for stretch in _stretches(name, file, dialect):
            if not stretch.reason:
                copy.write(stretch.text)
                continue
            fix = QUARANTINE_FIX
            if stretch.reason == NOT_UTF_8:
                fix = _encoding_fix(name)
            text = stretch.text[:MAX_TEXT_LENGTH].rstrip("\r\n")
            shown = text.encode(errors="surrogateescape").decode(errors="replace")
            bad.append(
                BadRow(
                    name, file.name, stretch.line, None, stretch.reason, shown, fix, stretch.rows
                )
            )
    if not bad:
        target.unlink()
    return bad


def _stretches(name: str, file: SourceFile, dialect: Dialect) -> Iterator[Stretch]:
    with file.open() as content, opened_text(content) as text:
        try:
            yield from read_stretches(text, dialect)
        except UnreadableRecord as error:
            mixed = error.reason == MIXED_LINE_ENDS
            raise DataError(
                error.reason,
                where=f"sources.{name}: {file.name}:{error.line}",
                got=error.text[:MAX_TEXT_LENGTH],
                expected="one of \\n, \\r\\n and \\r in all of a file" if mixed else None,
                fix="convert the file, for instance with dos2unix" if mixed else "mend the row",
            ) from error


def _records(name: str, file: SourceFile, dialect: Dialect) -> Iterator[tuple[int, str, list[str]]]:
    """The rows of a file that are no bad records: line, text and values of each."""
    is_header = dialect.header
    for stretch in _stretches(name, file, dialect):
        if stretch.reason:
            continue
        for line, text in dialect.split(stretch):
            if not is_header:
                yield line, text, dialect.values(text)
            is_header = False


def _dialect(name: str, spec: SourceSpec, files: list[SourceFile]) -> Dialect:
    escape = spec.quote if spec.escape is None else spec.escape
    given = (spec.quote, escape, spec.header)
    delimiter = spec.delimiter or _delimiter(name, files[0], spec.quote, escape)
    first: list[str] | None = None
    for file in files:
        dialect = Dialect(delimiter, *given)
        if spec.header:
            _check_header(name, file, dialect)
        names = next(read_rows(_sample(file), dialect), None)
        where = f"sources.{name}: {file.name}"
        if names is None:
            raise DataError(
                "the first line is no CSV",
                where=where,
                got=_sample(file).splitlines()[0][:MAX_TEXT_LENGTH],
                expected="values with quotes around all of each, or around none",
                fix=f"mend the line, or give the delimiter: sources.{name}.delimiter",
            )
        if not spec.header:
            names = [f"column{number}" for number in range(len(names))]
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


def _check_header(name: str, file: SourceFile, dialect: Dialect) -> None:
    """Refuse a header that would be a bad row: the first good one would be taken for it.

    Raises:
        DataError: it is not UTF-8, or too long.
    """
    header = dialect.damaged.match(_sample(file, errors="surrogateescape"))
    if header is None:
        return
    reason = fix = None
    if not is_text(header[0]):
        reason, fix = NOT_UTF_8, _encoding_fix(name)
    elif is_too_long(header[0]):
        reason, fix = TOO_LONG, "mend the header"
    if reason:
        shown = header[0][:MAX_TEXT_LENGTH].encode(errors="surrogateescape")
        raise DataError(
            reason,
            where=f"sources.{name}: {file.name}:1",
            got=shown.decode(errors="replace"),
            expected="the column names",
            fix=fix,
        )


def _encoding_fix(name: str) -> str:
    return f"give the file's encoding, such as sources.{name}.encoding: cp1252"


def _delimiter(name: str, file: SourceFile, quote: str, escape: str) -> str:
    """The one delimiter that gives every record at the top as many values, more than one.

    Raises:
        DataError: there are several.
    """
    widths: dict[str, list[int]] = {}
    for delimiter in _DELIMITERS:
        rows = read_rows(_sample(file), Dialect(delimiter, quote, escape, header=True))
        # The last record may be cut.
        widths[delimiter] = [len(row) for row in islice(rows, _LOOKED_AT_RECORDS) if row]
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


def _sample(file: SourceFile, errors: str = "replace") -> str:
    """The text at the top of a file, whole characters, longer than a record may be."""
    with file.open() as content:
        start = content.read(_SAMPLE_BYTES)
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    return decoder.decode(start, final=len(start) < _SAMPLE_BYTES).removeprefix("\ufeff")
