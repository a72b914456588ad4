"""Names and texts as they are written in SQL, for DuckDB and PostgreSQL alike."""

from __future__ import annotations


def quote_name(name: str) -> str:
    """The SQL identifier of a column or a table: `name` in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """The SQL literal of a string: `text` in single quotes."""
    return "'" + text.replace("'", "''") + "'"
