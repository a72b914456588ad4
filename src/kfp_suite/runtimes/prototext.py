"""Strings in protocol buffers' text format, which is not JSON's: `\\u` is not in all parsers."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')


def quoted(text: str) -> str:
    """A string field's value, in quotes; UTF-8 stays as it is."""
    return '"' + _ESCAPED.sub(lambda found: f"\\{ord(found[0]):03o}", text) + '"'
