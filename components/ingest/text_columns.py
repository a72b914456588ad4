"""Columns of text to typed columns in SQL, by the grammar of `contracts.text_values`.

The type of a column is decided by all of its values: it is the narrowest type that every value
is written in. A value is converted only if it comes back as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import duckdb

from kfp_suite.components.ingest.query import SQL_TYPES
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.date_formats import format_pattern
from kfp_suite.contracts.sql import quote_name, quote_text
from kfp_suite.contracts.text_values import (
    FALSE_TEXTS,
    INTEGER_PATTERN,
    NOT_FINITE_PATTERN,
    PATTERNS,
    TRUE_TEXTS,
)

Facts = dict[tuple[str, str], Any]

ALL_TYPES: tuple[ColumnType, ...] = ("bool", "int64", "float64", "date", "timestamp")
"""The types that text may turn out to have, beside string; the narrower first."""

_SAMPLE_ROWS = 2_000
_COLUMNS_A_QUERY = 32
# So few characters without an exponent are digits that any float64 gives back.
_SAFE_LENGTH = 15
_MAX_PLACES = 766
_FIRST, _LAST = "TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"


class UnclearType(Exception):
    """Values that look like one type, of which not all can be converted to it.

    Attributes:
        column: The column's name.
        kind: The type that the values look like.
        what: Its fault.
        fixes: The types that can be declared, the likelier first.
    """

    def __init__(self, column: str, kind: ColumnType, what: str, fixes: tuple[ColumnType, ...]):
        super().__init__(what)
        self.column, self.kind, self.what, self.fixes = column, kind, what, fixes


def fits(text: str, kind: ColumnType, date_format: str = "") -> str:
    """SQL that says whether a text is a value of type `kind`; true or null for null.

    Args:
        text: The SQL expression of the text.
        kind: The type.
        date_format: The format of dates or times as strptime takes it; empty for ISO 8601.
    """
    if date_format and kind in ("date", "timestamp"):
        return f"({value(text, kind, date_format)} IS NOT NULL)"
    match kind:
        case "int64":
            rule = f"coalesce(TRY_CAST({text} AS BIGINT)::VARCHAR = {text}, {text} IS NULL)"
        case "float64":
            rule = _fits_float(text)
        case "bool":
            rule = f"{text} IN ({', '.join(map(quote_text, TRUE_TEXTS + FALSE_TEXTS))})"
        case "date":
            same = f"TRY_CAST({text} AS DATE)::VARCHAR = {text}"
            rule = f"strlen({text}) = 10 AND coalesce({same}, {text} IS NULL)"
        case "timestamp":
            matches = f"regexp_full_match({text}, {quote_text(PATTERNS['timestamp'])})"
            found = value(text, kind)
            # Only at the ends of time can an offset lead beyond them.
            rule = (
                f"CASE WHEN NOT {matches} THEN false"
                f" WHEN {text} BETWEEN '0001-01-02' AND '9999-12-30' THEN {found} IS NOT NULL"
                f" ELSE coalesce({found} BETWEEN {_FIRST} AND {_LAST}, {text} IS NULL) END"
            )
        case _:
            rule = "true"
    return f"({rule})"


def value(text: str, kind: ColumnType, date_format: str = "") -> str:
    """SQL for the value of a text that fits `kind`; for other texts it means nothing."""
    if date_format and kind in ("date", "timestamp"):
        matches = f"regexp_full_match({text}, {quote_text(format_pattern(date_format))})"
        time = f"try_strptime({text}, {quote_text(date_format)})::TIMESTAMP"
        rule = f"{matches} AND {time} BETWEEN {_FIRST} AND {_LAST}"
        if kind == "timestamp":
            return f"CASE WHEN {rule} THEN {time} END"
        return f"CASE WHEN {rule} AND {time}::DATE = {time} THEN {time}::DATE END"
    match kind:
        case "int64" | "float64" | "date":
            found = f"TRY_CAST({text} AS {SQL_TYPES[kind]})"
        case "bool":
            found = f"({text} IN ({', '.join(map(quote_text, TRUE_TEXTS))}))"
        case "timestamp":
            utc = f"TRY_CAST({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
            local = f"TRY_CAST({text} AS TIMESTAMP)"
            # A cast to TIMESTAMP drops the offset; of Z that is none.
            with_offset = f"NOT suffix({text}, 'Z') AND {has_zone(text)}"
            found = f"CASE WHEN {with_offset} THEN {utc} ELSE {local} END"
        case _:
            found = text
    return found


def misfits(text: str, kind: ColumnType, date_format: str = "") -> str:
    """SQL that is true for a text that is no value of type `kind`; false for null."""
    return f"({text} IS NOT NULL AND coalesce(NOT {fits(text, kind, date_format)}, true))"


def value_or_error(text: str, found: str, rule: str) -> str:
    """SQL for the value `found` of a text; the query fails if the rule does not hold.

    Args:
        text: The SQL expression of the text.
        found: That of its value.
        rule: That of a condition; null texts need not meet it.
    """
    holds = f"coalesce({rule}, {text} IS NULL)"
    return f"CASE WHEN {holds} THEN {found} ELSE error('another type') END"


def expected_types(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Mapping[str, Collection[ColumnType]],
) -> tuple[dict[str, ColumnType | None], Facts]:
    """The type of each column in the first rows, None without a value there; and the facts."""
    facts: Facts = {}
    # The time that DuckDB takes to plan a query grows with the square of its columns.
    names = list(columns)
    for first in range(0, len(names), _COLUMNS_A_QUERY):
        some = names[first : first + _COLUMNS_A_QUERY]
        sample = f"(SELECT {', '.join(map(quote_name, some))} FROM {relation} LIMIT {_SAMPLE_ROWS})"
        facts |= _facts(connection, sample, _questions({name: columns[name] for name in some}), {})
    types = {
        name: _decided(name, kinds, facts, strict=False) if facts[name, "values"] else None
        for name, kinds in columns.items()
    }
    return types, facts


def column_types(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Mapping[str, Collection[ColumnType]],
    counted: Mapping[str, str],
) -> tuple[dict[str, ColumnType], dict[str, int]]:
    """The type of each column of text, from all rows, and how many rows meet each condition.

    The first rows say which type to expect, and one query over all rows checks that every
    value has it. Only columns that surprise need a second one.

    Args:
        connection: Where the relation is.
        relation: What follows FROM: it has a column of text of each name.
        columns: Column name to the types it may have beside string.
        counted: A name to a SQL condition; counted in the first query over all rows.

    Raises:
        UnclearType: numbers that their type cannot hold, or times of which some have a zone.
    """
    expected, _ = expected_types(connection, relation, columns)
    asked: Iterable[tuple[str, str]] = [
        question
        for name, kind in expected.items()
        for question in (_questions({name: columns[name]}) if kind is None else _checks(name, kind))
    ]
    facts = _facts(connection, relation, asked, counted)
    types: dict[str, ColumnType] = {}
    again = {}
    for name, kind in expected.items():
        if kind is None:
            types[name] = _decided(name, columns[name], facts)
        elif all(facts[check] for check in _checks(name, kind)[:1]):
            types[name] = _decided(name, (kind,), facts) if kind == "timestamp" else kind
        else:
            again[name] = columns[name]
    counts = {name: int(facts["", name]) for name in counted}
    if again:
        facts = _facts(connection, relation, _questions(again), {})
        types |= {name: _decided(name, kinds, facts) for name, kinds in again.items()}
    return {name: types[name] for name in columns}, counts


def _questions(columns: Mapping[str, Collection[ColumnType]]) -> list[tuple[str, str]]:
    """What must be known of a column of which nothing is known."""
    return [
        (name, question)
        for name, kinds in columns.items()
        for question in (
            "values",
            *kinds,
            *(("whole", "number", "finite") if "float64" in kinds else ()),
            *(("zoned", "local") if "timestamp" in kinds else ()),
        )
    ]


def _checks(name: str, kind: ColumnType) -> list[tuple[str, str]]:
    """What must be known of a column that is expected to be of type `kind`."""
    if kind == "string":  # a text that is nothing else was seen
        return []
    return [(name, kind), *([(name, "zoned"), (name, "local")] if kind == "timestamp" else [])]


def _facts(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    questions: Iterable[tuple[str, str]],
    counted: Mapping[str, str],
) -> Facts:
    selected = {question: _aggregate(*question) for question in questions}
    selected |= {("", name): f"count(*) FILTER ({rule})" for name, rule in counted.items()}
    # An aggregate over no column at all would let the reader skip what makes a row bad.
    # All of the result: what is wrong with rows is told when the query has ended.
    (row,) = connection.execute(
        f"SELECT {', '.join(('count(COLUMNS(*))', *selected.values()))} FROM {relation}"
    ).fetchall()
    return dict(zip(selected, row[len(row) - len(selected) :], strict=True))


def _aggregate(name: str, question: str) -> str:
    text = quote_name(name)
    aggregates = {
        "values": f"count({text})",
        "whole": f"bool_and(regexp_full_match({text}, '{INTEGER_PATTERN}'))",
        "number": f"bool_and(regexp_full_match({text}, '{PATTERNS['float64']}'))",
        "finite": f"bool_or(NOT regexp_full_match({text}, '{NOT_FINITE_PATTERN}'))",
        "zoned": f"bool_or({has_zone(text)})",
        "local": f"bool_or(NOT {has_zone(text)})",
    }
    return aggregates.get(question) or f"bool_and({fits(text, question)})"  # type: ignore[arg-type]


def _decided(
    name: str, kinds: Collection[ColumnType], facts: Facts, *, strict: bool = True
) -> ColumnType:
    """The narrowest type of `kinds` that fits, else string.

    Args:
        strict: Raise UnclearType; False to take the type that was meant.
    """
    for kind in kinds:
        if not facts[name, kind] or (kind == "float64" and not facts[name, "finite"]):
            continue
        if kind == "timestamp" and facts[name, "zoned"] and facts[name, "local"] and strict:
            raise UnclearType(
                name, kind, "times with and without a time zone", ("timestamp", "string")
            )
        return kind
    if "float64" in kinds and facts[name, "number"] and facts[name, "finite"]:
        kind = "int64" if facts[name, "whole"] else "float64"
        if strict:
            raise UnclearType(name, kind, f"a number that {kind} cannot hold", ("string",))
        return kind
    return "string"


def has_zone(text: str) -> str:
    """SQL that says whether the text of a timestamp has a time zone."""
    clock = f"substr({text}, 12)"
    return f"(suffix({text}, 'Z') OR contains({clock}, '+') OR contains({clock}, '-'))"


def _fits_float(text: str) -> str:
    number = f"TRY_CAST({text} AS DOUBLE)"
    digits = _digits(text)
    places = f"least(greatest(strlen({digits}), 1), {_MAX_PLACES + 1}) - 1"
    rounded = _digits(f"format('{{:.{{}}e}}', {number}, {places})")
    # In the order of cost; the last is for texts with more digits than are commonly written.
    return (
        f"CASE WHEN NOT regexp_full_match({text}, '{PATTERNS['float64']}') THEN false"
        f" WHEN strlen({text}) <= {_SAFE_LENGTH} AND NOT contains(lower({text}), 'e') THEN true"
        f" WHEN regexp_full_match({text}, '{INTEGER_PATTERN}')"
        f" THEN coalesce(TRY_CAST({number} AS HUGEINT)::VARCHAR, '') = {text}"
        f" WHEN {number}::VARCHAR = {text} THEN isfinite({number})"
        f" WHEN NOT isfinite({number}) THEN false"
        f" ELSE {digits} IN ({_digits(f'{number}::VARCHAR')}, {rounded}) END"
    )


def _digits(text: str) -> str:
    mantissa = f"split_part(lower({text}), 'e', 1)"
    return f"trim(replace(replace({mantissa}, '.', ''), '-', ''), '0')"
