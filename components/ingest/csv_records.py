"""The records of CSV text: which text is a record, and which values it holds.

DuckDB reads CSV fast, but it drops blanks beside quotes without a word, and after a quote that
does not end it may lose thousands of good lines. So it is given only what is a record here:

- A value is quoted: anything, a quote in it being doubled or escaped. Or it is plain: without
  delimiters and line ends, and its first character that is no blank is no quote.
- A record has as many values as there are columns, delimiters between them, and a line end.
- A blank line is skipped if there are several columns, and a missing value if there is one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

MAX_RECORD_BYTES = 2_000_000
"""DuckDB reads no longer ones."""

NOT_UTF_8 = "not utf-8"
MIXED_LINE_ENDS = "lines that end in different ways"
_BLANKS_BESIDE_QUOTES = "blanks beside the quotes of a value"
_BAD_QUOTES = "a quoted value that does not end at its quote"
TOO_LONG = f"a line longer than {MAX_RECORD_BYTES:,} bytes"

_BLOCK = 1 << 18
_LINE_END = re.compile(r"\r\n|\n|\r")
# What `surrogateescape` makes of bytes that are no text.
_BYTES = "\udc80-\udcff"


class UnreadableRecord(Exception):
    """A record that makes the rest of the file unreadable.

    Attributes:
        line: The line in which it begins, from 1.
        text: Its beginning.
        reason: Its fault.
    """

    def __init__(self, line: int, text: str, reason: str) -> None:
        super().__init__(reason)
        self.line, self.text, self.reason = line, text, reason


@dataclass(frozen=True)
class Dialect:
    """How the text of a CSV file becomes rows of text.

    Attributes:
        delimiter: The character between values.
        quote: The character around values; empty for none.
        escape: The character before a quote in a value; the quote itself if it is doubled.
        header: Whether the first record has the names.
        names: The names of the columns; empty as long as they are unknown.
    """

    delimiter: str
    quote: str
    escape: str
    header: bool
    names: tuple[str, ...] = ()

    @cached_property
    def value(self) -> re.Pattern[str]:
        """A value."""
        return re.compile(self._value())

    @cached_property
    def record(self) -> re.Pattern[str]:
        """A record of any number of values, without its line end."""
        return re.compile(f"{self._value()}(?:{re.escape(self.delimiter)}{self._value()})*+")

    @cached_property
    def misread(self) -> re.Pattern[str]:
        """A record that DuckDB would read though there are blanks beside its quotes."""
        return self._loose(self._blanks)

    @cached_property
    def damaged(self) -> re.Pattern[str]:
        """What looks like a record, whatever stands behind its quotes."""
        return self._loose(f"[^{self._ends}]*+")

    def records(self, line_end: str) -> re.Pattern[str]:
        """Any number of whole records, each with its line end.

        Args:
            line_end: How they end.
        """
        end, width = re.escape(line_end), len(self.names)
        rest = f"(?:{re.escape(self.delimiter)}{self._value()}){{{width - 1}}}"
        blank = f"|{end}" if width > 1 else ""
        return re.compile(f"(?:{self._value()}{rest}{end}{blank})*+")

    def values(self, record: str) -> list[str]:
        """The values of a record, without quotes; the record may have its line end."""
        found, position = [], 0
        while True:
            match = self.value.match(record, position)
            assert match is not None
            found.append(self._unquoted(match[0]))
            position = match.end()
            if record[position : position + 1] != self.delimiter:
                return found
            position += 1

    def split(self, stretch: Stretch) -> Iterator[tuple[int, str]]:
        """The records of a stretch that has no reason: the line and the text of each."""
        line, position = stretch.line, 0
        while position < len(stretch.text):
            found = self.record.match(stretch.text, position)
            assert found is not None
            end = _LINE_END.match(stretch.text, found.end())
            assert end is not None
            if found[0] or len(self.names) == 1:
                yield line, found[0]
            line += count_lines(found[0]) + 1
            position = end.end()

    @property
    def _ends(self) -> str:
        return re.escape(self.delimiter) + r"\r\n"

    @property
    def _blanks(self) -> str:
        """What DuckDB drops before a quote."""
        return "" if self.delimiter == " " else " *+"

    def _quoted(self) -> str:
        quote, escape = re.escape(self.quote), re.escape(self.escape)
        inside = f"[^{quote}{escape}{_BYTES}]++"
        if self.escape:
            inside += f"|{escape}{quote}" + (f"|{escape}{escape}" if escape != quote else "")
        return f"{quote}(?:{inside})*+{quote}"

    def _value(self) -> str:
        plain = f"[^{self._ends}{_BYTES}]*+"
        if not self.quote:
            return plain
        return f"(?:{self._quoted()}|(?!{self._blanks}{re.escape(self.quote)}){plain})"

    def _loose(self, behind: str) -> re.Pattern[str]:
        plain = f"[^{self._ends}]*+"
        value = plain
        if self.quote:
            quoted = self._quoted().replace(_BYTES, "")
            blanks = self._blanks
            value = f"(?:{blanks}{quoted}{behind}|(?!{blanks}{re.escape(self.quote)}){plain})"
        return re.compile(f"{value}(?:{re.escape(self.delimiter)}{value})*+")

    def _unquoted(self, text: str) -> str:
        if not self.quote or not text.startswith(self.quote):
            return text
        inside = text[1:-1]
        if not self.escape:
            return inside
        return re.sub(f"{re.escape(self.escape)}(.)", r"\1", inside, flags=re.DOTALL)


@dataclass(frozen=True)
class Stretch:
    """Some lines of a file: whole records, or one that is none.

    Attributes:
        line: The first line, from 1.
        text: The lines, or the beginning of those of a bad record.
        reason: Why it is no record; empty if all of it is records.
        rows: As how many bad rows it counts: one, or a row a line if a quote does not end,
            for nobody can tell how many there were.
    """

    line: int
    text: str
    reason: str = ""
    rows: int = 1


def opened_text(content: BinaryIO) -> io.TextIOWrapper:
    """UTF-8 as text, without a byte order mark; bytes that are none are kept."""
    return io.TextIOWrapper(content, "utf-8-sig", errors="surrogateescape", newline="")


def read_rows(text: str, dialect: Dialect) -> Iterator[list[str] | None]:
    """The values of each record at the top of a file, none of a blank line; None of no record."""
    position = 0
    while position < len(text):
        found = dialect.damaged.match(text, position)
        if found is None:  # a quote that does not end here
            return
        is_record = dialect.record.fullmatch(text, position, found.end())
        yield dialect.values(found[0]) if is_record and found[0] else None if found[0] else []
        end = _LINE_END.match(text, found.end())
        position = end.end() if end else len(text)


def read_stretches(text: io.TextIOBase, dialect: Dialect) -> Iterator[Stretch]:
    """All lines of a file, in order; memory is that of a record.

    Args:
        text: The file.
        dialect: With the names of the columns.

    Raises:
        UnreadableRecord: a record that ends in another way than those before, a quoted
            value that goes on for longer than a record may be, or quotes in what follows
            the first `MAX_RECORD_BYTES` of a record.
    """
    buffer, line, line_end, records = "", 1, "", None
    while True:
        block = text.read(_BLOCK)
        buffer += block
        if records is None:
            line_end = _line_end(buffer, dialect)
            records = dialect.records(line_end)
        if not block and buffer and not buffer.endswith(line_end):
            buffer += line_end
        position = 0
        while position < len(buffer):
            end = records.match(buffer, position).end()  # type: ignore[union-attr]
            reason = ""
            if end == position:
                bad = _bad_record(buffer, position, dialect, line, line_end, is_last=not block)
                if bad is None:
                    break
                end, reason = bad
            part = buffer[position:end]
            lines = count_lines(part)
            yield Stretch(line, part, reason, lines if reason == _BAD_QUOTES else 1)
            position, line = end, line + lines
        if not block:
            return
        buffer = buffer[position:]
        if is_too_long(buffer):
            found = dialect.damaged.match(buffer)
            end = found.end() if found else 0
            if buffer[end:].strip("\r\n"):
                raise UnreadableRecord(line, buffer, _BAD_QUOTES)
            record = Stretch(line, buffer[:end], TOO_LONG)
            yield record
            buffer = _after_record(text, buffer[end:], record, dialect, line_end)
            line += count_lines(record.text) + 1


def count_lines(text: str) -> int:
    """How many line ends are in a text."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def is_text(text: str) -> bool:
    """Whether no byte of it is another than UTF-8."""
    return text.isascii() or re.search(f"[{_BYTES}]", text) is None


def is_too_long(text: str) -> bool:
    """Whether a record is longer than `MAX_RECORD_BYTES`."""
    if len(text) * 4 <= MAX_RECORD_BYTES:
        return False
    return len(text.encode(errors="surrogateescape")) > MAX_RECORD_BYTES


def _line_end(text: str, dialect: Dialect) -> str:
    """How the first record ends."""
    first = dialect.damaged.match(text)
    end = _LINE_END.match(text, first.end()) if first else _LINE_END.search(text)
    return end[0] if end else "\n"


def _bad_record(
    text: str, position: int, dialect: Dialect, line: int, line_end: str, *, is_last: bool
) -> tuple[int, str] | None:
    """Where the bad record at `position` ends, and why it is bad; None if it goes on."""
    found = dialect.damaged.match(text, position)
    end = _LINE_END.match(text, found.end()) if found else None
    if found is None or end is None:
        return (len(text), _BAD_QUOTES) if is_last else None
    if end.end() == len(text) and not is_last:
        return None
    record = found[0]
    if end[0] != line_end:  # What follows it may be the rest of it.
        raise UnreadableRecord(line, record, MIXED_LINE_ENDS)
    if not is_text(record):
        reason = NOT_UTF_8
    elif dialect.record.fullmatch(record):
        width = len(dialect.values(record))
        reason = f"{'more' if width > len(dialect.names) else 'fewer'} values than columns"
    else:
        reason = _BLANKS_BESIDE_QUOTES if dialect.misread.fullmatch(record) else _BAD_QUOTES
    return end.end(), reason


def _after_record(
    text: io.TextIOBase, rest: str, record: Stretch, dialect: Dialect, line_end: str
) -> str:
    """Skip the rest of a record that is too long; what was read beyond it.

    Args:
        text: Where the record goes on.
        rest: The part of its line end that was read.
        record: Its beginning.
        dialect: How it is written.
        line_end: How it must end.

    Raises:
        UnreadableRecord: it goes on with quotes, so that a line end may be one of a value,
            or ends in another way.
    """
    while True:
        block = text.read(_BLOCK)
        rest += block
        end = _LINE_END.search(rest)
        if dialect.quote and dialect.quote in rest[: end.start() if end else None]:
            raise UnreadableRecord(record.line, record.text, TOO_LONG)
        if end and (end.end() < len(rest) or not block):
            if end[0] != line_end:
                raise UnreadableRecord(record.line, record.text, MIXED_LINE_ENDS)
            return rest[end.end() :]
        if not block:
            return ""
        rest = end[0] if end else ""
