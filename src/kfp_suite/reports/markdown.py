"""Text of users and data in Markdown: bounded, in one line, and never markup."""

from __future__ import annotations

import re

from kfp_suite.reports.formatting import shorten

MAX_CHARS = 1000
_SPECIAL = re.compile(r"[<>|`&]")


def escape_markdown(text: str, longest: int = MAX_CHARS) -> str:
    """`text` as it is read, in a paragraph or a table's cell."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shorten(text, longest))


def code(text: object, longest: int = MAX_CHARS) -> str:
    """A name or a value in the fixed-width font; escaped as text if it holds Markdown syntax."""
    shown = shorten(str(text), longest)
    return escape_markdown(shown) if _SPECIAL.search(shown) else f"`{shown}`"
