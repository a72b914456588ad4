"""Numbers as people read them: thousands separators, significant digits, no noise."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MISSING = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_DIGEST = re.compile(r"(sha256:)?([0-9a-f]{64})")


def number(value: float | None, digits: int = 4) -> str:
    """`value` with thousands separators and about `digits` significant digits.

    Whole parts are never rounded away: 123456.7 is `123,457`. Below 0.0001 and from 1e15 the
    form is `1.23 × 10⁻⁷`. None is an en dash.
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return _minus(f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}")
    if float(value).is_integer():
        return _minus(f"{int(value):,}")
    text = fixed(value, decimals_for(value, digits))
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed(value: float | None, decimals: int) -> str:
    """`value` with exactly `decimals` decimals and thousands separators."""
    if value is None or not math.isfinite(value):
        return number(value)
    text = f"{value:,.{decimals}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.,") else _minus(text)


def decimals_for(value: float, digits: int = 4) -> int:
    """How many decimals show `digits` significant digits of a finite `value`."""
    if value == 0:
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def percent(share: float | None, decimals: int = 1) -> str:
    """A share (0 to 1) as a percentage; `<0.1%` or `>99.9%` if rounding would give 0 or 100."""
    if share is None or not math.isfinite(share):
        return number(share)
    least = 10.0**-decimals
    hundred = share * 100
    if 0 < hundred < least / 2:
        return f"<{least:.{decimals}f}%"
    if 100 - least / 2 < hundred < 100:
        return f">{100 - least:.{decimals}f}%"
    return f"{fixed(hundred, decimals)}%"


def byte_size(count: int) -> str:
    """Bytes in decimal units: `12.3 MB`."""
    size, unit = float(count), 0
    while abs(size) >= 999.95 and unit < len(_BYTE_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{count:,} B" if unit == 0 else f"{size:.1f} {_BYTE_UNITS[unit]}"


def interval(low: float | None, high: float | None, digits: int = 4) -> str:
    """A closed range: `0.71 – 0.74`, or `−0.01 to 0.02` if a sign would be ambiguous."""
    if low is None or high is None:
        return MISSING
    return span(number(low, digits), number(high, digits))


def span(low: str, high: str) -> str:
    """Two formatted numbers as a range."""
    return f"{low} to {high}" if "−" in low + high else f"{low} – {high}"


def short_digest(text: str) -> str | None:
    """The first 12 hex digits of a whole sha256 digest; None if `text` is not one."""
    match = _DIGEST.fullmatch(text)
    return f"{match.group(1) or ''}{match.group(2)[:12]}…" if match else None


def printable(text: str) -> str:
    """`text` with control characters escaped, as XML allows none of them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shorten(text: str, length: int) -> str:
    """`text`, printable and cut to `length` characters."""
    text = printable(text)
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def distinct_labels(names: Sequence[str], length: int) -> list[str]:
    """The names, cut to `length` characters and still distinct.

    If the beginnings are not distinct, the middle is left out; if the ends are not distinct
    either, the names are numbered.
    """
    first = [shorten(name, length) for name in names]
    if len(set(first)) == len(set(names)):
        return first
    tail = (length - 1) // 2
    ends = [
        name if len(name) <= length else f"{name[: length - 1 - tail].rstrip()}…{name[-tail:]}"
        for name in names
    ]
    if len(set(ends)) == len(set(names)):
        return ends
    return [f"{i + 1} {shorten(name, max(length - 4, 2))}" for i, name in enumerate(names)]
