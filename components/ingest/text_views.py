"""A relation of text columns as a view of typed ones; what does not fit is a bad row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import duckdb

from kfp_suite.components.ingest.bad_rows import MAX_TEXT_LENGTH, BadRow, type_misfit
from kfp_suite.components.ingest.text_columns import (
    UnclearType,
    column_types,
    misfits,
    value,
)
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import DataError, did_you_mean
from kfp_suite.contracts.sql import quote_name, quote_text
from kfp_suite.stores.sources import SourceSpec


@dataclass(frozen=True)
class Record:
    """A row of a file, as text.

    Attributes:
        file: The file's name.
        line: The line it begins in, from 1.
        text: All of it.
        values: Column name to text; a missing value is not there.
    """

    file: str
    line: int
    text: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class TextSource:
    """Files as one relation of text columns.

    Attributes:
        name: The source's name.
        relation: What follows FROM to read them.
        columns: Column name to the types its values may turn out to have, beside string.
        records: The rows once more, one by one, to find those that do not fit.
        nested: The columns of JSON objects or lists.
        plain: As `relation`, if it is quicker to read with texts that stand for null.
        texts: Column name to the SQL of its text in `plain`, null for those.
    """

    name: str
    relation: str
    columns: Mapping[str, Collection[ColumnType]]
    records: Callable[[], Iterator[Record]]
    nested: Collection[str] = field(default=())
    plain: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


def create_text_view(
    connection: duckdb.DuckDBPyConnection, source: TextSource, spec: SourceSpec
) -> list[BadRow]:
    """Create the view of the source's name, with typed columns.

    Returns:
        The rows with a value that is not of the type that was declared; the view has the
        others.

    Raises:
        DataError: a declared column is not there, or a type cannot be decided.
    """
    declared = declared_types(source.name, spec, source.columns)
    undeclared = undeclared_columns(source, declared)
    bad = {
        name: misfits(quote_name(name), kind, spec.formats.get(name, ""))
        for name, kind in declared.items()
        if kind != "string"
    }
    try:
        types, counts = column_types(connection, source.relation, undeclared, bad)
    except UnclearType as unclear:
        raise _unclear(connection, source, unclear) from unclear
    bad = {name: rule for name, rule in bad.items() if counts[name]}
    values = {
        name: _nested(connection, source.relation, name)
        if name in source.nested and name not in declared
        else typed_value(name, declared.get(name) or types[name], spec)
        for name in source.columns
    }
    kept = f" WHERE NOT ({' OR '.join(bad.values())})" if bad else ""
    _create_view(connection, source.name, values, source.relation + kept)
    return _misfits(connection, source, declared, bad) if bad else []


def undeclared_columns(
    source: TextSource, declared: Collection[str]
) -> dict[str, Collection[ColumnType]]:
    return {
        name: kinds
        for name, kinds in source.columns.items()
        if name not in declared and name not in source.nested
    }


def typed_value(name: str, kind: ColumnType, spec: SourceSpec) -> str:
    """SQL for the value of a column of text that fits its type."""
    return value(quote_name(name), kind, spec.formats.get(name, ""))


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, values: Mapping[str, str], relation: str
) -> None:
    selected = ", ".join(f"{found} AS {quote_name(column)}" for column, found in values.items())
    connection.execute(
        f"CREATE OR REPLACE VIEW {quote_name(name)} AS SELECT {selected} FROM {relation}"
    )


def declared_types(name: str, spec: SourceSpec, columns: Collection[str]) -> dict[str, ColumnType]:
    """The types that the user gave, those of `formats` among them.

    Raises:
        DataError: a column that is not there.
    """
    for key, given in (("types", spec.types), ("formats", spec.formats)):
        for column in given:
            if column not in columns:
                raise DataError(
                    f"no column '{column}'",
                    where=f"sources.{name}.{key}",
                    fix=did_you_mean(column, columns),
                )
    return {**{column: format_type(text) for column, text in spec.formats.items()}, **spec.types}


def format_type(text: str) -> ColumnType:
    """date for a format of strptime without a time of day, else timestamp."""
    directives = {part[:1] for part in text.replace("%%", "").replace("%-", "%").split("%")[1:]}
    return "timestamp" if directives & set("HIMSfgnpXczZ") else "date"


def _misfits(
    connection: duckdb.DuckDBPyConnection,
    source: TextSource,
    declared: Mapping[str, ColumnType],
    bad: Mapping[str, str],
) -> list[BadRow]:
    texts = {
        name: {
            row[0]
            for row in connection.execute(
                f"SELECT DISTINCT {quote_name(name)} FROM {source.relation} WHERE {rule}"
            ).fetchall()
        }
        for name, rule in bad.items()
    }
    found = []
    for record in source.records():
        column = next((name for name in bad if record.values.get(name) in texts[name]), None)
        if column is not None:
            text = record.text[:MAX_TEXT_LENGTH]
            found.append(
                type_misfit(source.name, record.file, record.line, column, declared[column], text)
            )
    wrong = " OR ".join(bad.values())
    counted = connection.execute(f"SELECT count(*) FROM {source.relation} WHERE {wrong}").fetchone()
    if counted != (len(found),):  # Else they would be left out without a word.
        raise DataError(
            f"rows with values that are not of type {', '.join(sorted(set(declared.values())))}, "
            "which were not found again in the files",
            where=f"sources.{source.name}",
            got=", ".join(sorted(itertools.chain(*texts.values()))),
            fix="give the type string to " + ", ".join(bad),
        )
    return found


def _unclear(
    connection: duckdb.DuckDBPyConnection, source: TextSource, unclear: UnclearType
) -> DataError:
    text = quote_name(unclear.column)
    row = connection.execute(
        f"SELECT {text} FROM {source.relation} WHERE {misfits(text, unclear.kind)} LIMIT 1"
    ).fetchone()
    place = f"sources.{source.name}"
    if row is not None:
        records = (r for r in source.records() if r.values.get(unclear.column) == row[0])
        record = next(records, None)
        if record is not None:
            place = f"{record.file}:{record.line}"
    fixes = " or ".join(
        f"sources.{source.name}.types.{unclear.column}: {kind}" for kind in unclear.fixes
    )
    return DataError(
        f"column '{unclear.column}': {unclear.what}",
        where=place,
        got=None if row is None else row[0],
        fix=f"give the column's type: {fixes}",
    )


def _nested(connection: duckdb.DuckDBPyConnection, relation: str, name: str) -> str:
    """SQL for a column of JSON objects or lists as DuckDB's structs and lists."""
    found = connection.execute(
        f"SELECT json_group_structure({quote_name(name)}::JSON) FROM {relation}"
    ).fetchone()
    assert found is not None
    return f"json_transform({quote_name(name)}::JSON, {quote_text(str(found[0]))})"
