"""Dates and times in a declared format: which texts are taken, by ingest and the model server.

Ingest reads them with DuckDB, the server with Python, whose strptime functions differ: DuckDB
reads `20` as the year 20 and skips blanks around a text. So a text is taken only if it also
matches the pattern of its format, which is the part that both read alike.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping

from kfp_suite.contracts.text_values import convert_to_utc

_WIDTHS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys("dmHIMSUWV", (1, 2)),
    **dict.fromkeys("YG", (4, 4)),
    **dict.fromkeys("uw", (1, 1)),
    "y": (2, 2),
    "j": (1, 3),
    "f": (1, 6),
    "g": (1, 3),
    "n": (1, 6),
}
_FRACTIONS = "fgn"
_WORDS: Mapping[str, str] = {
    **dict.fromkeys("aAbB", "[A-Za-z]+"),
    "p": "[AaPp][Mm]",
    "z": "[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9]",
    "%": "%",
}
_BLANKS = r"[ \t\n\f\r]+"
_PARTS = re.compile(r"%-?(?P<directive>.)|(?P<blanks>\s+)|(?P<text>[^%\s]+|%)", re.DOTALL)


def format_pattern(date_format: str) -> str:
    """What the whole of a text in a format must match, for regular expressions of Python and RE2.

    A year of `%Y` has four digits and one of `%y` two. Other numbers may lack leading zeros,
    unless they stand beside another number, as in `%Y%m%d`.

    Args:
        date_format: The format as strptime takes it.
    """
    parts = list(_parts(date_format))
    numbers = [directive in _WIDTHS for directive, _ in parts]
    no_half = "p" not in [directive for directive, _ in parts]
    patterns = []
    for i, (directive, text) in enumerate(parts):
        if directive in _WIDTHS:
            before, after = any(numbers[:i][-1:]), any(numbers[i + 1 : i + 2])
            patterns.append(_number(directive, before, after, no_half))
        elif directive:
            patterns.append(_WORDS.get(directive, ".+"))
        else:
            patterns.append(_BLANKS if text.isspace() else re.escape(text))
    return "".join(patterns)


def parse_formatted(text: str, date_format: str) -> datetime.datetime:
    """The time that a text in a format stands for; without a time zone, in UTC if it has an offset.

    Raises:
        ValueError: the text is not in this format, or not within the years 0001 to 9999.
    """
    if not re.fullmatch(format_pattern(date_format), text):
        raise ValueError(f"not in the format {date_format}: {text!r}")
    found = datetime.datetime.strptime(text, _python_format(date_format))  # noqa: DTZ007
    return convert_to_utc(found, text)


def _parts(date_format: str) -> Iterator[tuple[str, str]]:
    """Each directive, without its `%` and `-`, and else an empty one and the text."""
    for part in _PARTS.finditer(date_format):
        yield part["directive"] or "", part[0]


def _number(directive: str, before: bool, after: bool, no_half: bool) -> str:
    least, most = _WIDTHS[directive]
    if directive == "I" and no_half:
        zero = "0" if before or after else "0?"
        return f"(?:{zero}[1-9]|1[01])"  # 12 without AM or PM is noon or midnight
    if (before or after) and (after or directive not in _FRACTIONS):
        least = most
    # Digits of nanoseconds would be lost.
    zeros = "0{0,3}" if directive == "n" else ""
    return f"[0-9]{{{least},{most}}}{zeros}"


def _python_format(date_format: str) -> str:
    """The format for Python, which lacks `%-d`, and `%g` and `%n` for parts of a second."""
    return "".join(
        ("%f" if directive in ("g", "n") else f"%{directive}") if directive else text
        for directive, text in _parts(date_format)
    )
