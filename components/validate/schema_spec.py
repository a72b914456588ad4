"""A schema as a user declares it, in a mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from kfp_suite.components.validate.schema_bounds import RangeSpec, check_range
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import (
    ParameterError,
    did_you_mean,
)
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.tables import ARROW_TYPES
from kfp_suite.contracts.text_values import MAX_INT64

Severity = Literal["error", "warn", "allow"]


@dataclass(frozen=True)
class ColumnSpec:
    """The declared constraints of a column.

    Attributes:
        type: `int64`, `float64`, `bool`, `string`, `date` or `timestamp`.
        required: The column must be there, with at least one value in each split.
        not_null: No value is missing.
        min_fraction: The least fraction of rows with a value, 0 to 1.
        unique: No value occurs twice in the dataset, over all splits.
        domain: The values allowed (strings), or `{min, max}`, both inclusive.
        min_domain_mass: The least fraction of values inside the domain, 0 to 1.
        categorical: An integer column of codes: compared by values, not by size.
        allow_nan: NaN is a value like others.
        allow_infinite: So are infinities.
    """

    type: ColumnType | None = None
    required: bool = True
    not_null: bool = False
    min_fraction: float | None = None
    unique: bool = False
    domain: tuple[str, ...] | RangeSpec | None = None
    min_domain_mass: float | None = None
    categorical: bool = False
    allow_nan: bool = True
    allow_infinite: bool = False
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class SchemaSpec:
    """The schema as declared by the user; empty: inferred from the train split.

    Attributes:
        uri: A `schema.pbtxt` (or a folder with one) that is the whole schema.
        columns: The constraints of columns, by name.
        unexpected_columns: The severity of a column that `columns` does not list.
        min_rows: The least number of rows, by split.
    """

    uri: str = ""
    columns: dict[str, ColumnSpec] = field(default_factory=dict)
    unexpected_columns: Severity = "allow"
    min_rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _DeclaredSchema:
    """A `SchemaSpec` with columns that are not parsed yet."""

    uri: str = ""
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    unexpected_columns: Severity = "allow"
    min_rows: dict[str, int] = field(default_factory=dict)
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def parse_schema(value: object, where: str = "schema") -> SchemaSpec:
    """The declared schema, checked for contradictions within it.

    Raises:
        ParameterError: an unknown key, with the near miss; a domain that no value or the
            wrong type of value is in; bounds the wrong way round.
    """
    declared = parse(_DeclaredSchema, value, where)
    spec = SchemaSpec(
        uri=declared.uri,
        columns={
            name: _parse_column(column, f"{where}: columns.{name}")
            for name, column in declared.columns.items()
        },
        unexpected_columns=declared.unexpected_columns,
        min_rows=declared.min_rows,
    )
    if spec.uri and (spec.columns or spec.min_rows):
        raise ParameterError(
            "both 'uri' and 'columns' or 'min_rows' are given",
            where=where,
            fix="edit the schema at the uri, or declare all of it here",
        )
    for name, column in spec.columns.items():
        _check_text(name, f"{where}: columns")
        _check_column(column, f"{where}: columns.{name}")
    for split, least in spec.min_rows.items():
        if not 0 <= least <= MAX_INT64:
            raise ParameterError(
                f"'{split}' is out of range",
                where=f"{where}: min_rows",
                got=least,
                expected="0 or more",
            )
    return spec


def _parse_column(declared: Mapping[str, Any], where: str) -> ColumnSpec:
    """One column; level by level, so that an error names the key next to the wrong one."""
    domain = declared.get("domain")
    if isinstance(domain, Mapping):
        domain = parse(RangeSpec, domain, f"{where}.domain")
    elif domain is not None:
        if not isinstance(domain, list | tuple):
            raise ParameterError(
                "'domain' is neither a list of strings nor a range",
                where=where,
                got=domain,
                expected="[a, b] or {min: …, max: …}",
            )
        if other := [item for item in domain if not isinstance(item, str)]:
            raise ParameterError(
                "a list of values is a domain for strings",
                where=where,
                got=other[0],
                fix="quote it, or use domain: {min: …, max: …}",
            )
        domain = tuple(domain)
    kind = declared.get("type")
    if kind is not None and kind not in ARROW_TYPES:
        raise ParameterError(
            f"unknown type '{kind}'", where=where, fix=did_you_mean(str(kind), ARROW_TYPES)
        )
    return replace(parse(ColumnSpec, {**declared, "domain": None}, where), domain=domain)


def _check_column(column: ColumnSpec, where: str) -> None:
    for key in ("min_fraction", "min_domain_mass"):
        fraction = getattr(column, key)
        if fraction is not None and not 0 <= fraction <= 1:
            raise ParameterError(
                f"'{key}' is out of range", where=where, got=fraction, expected="0 to 1"
            )
    if column.not_null and column.min_fraction not in (None, 1):
        raise ParameterError(
            "'not_null' contradicts 'min_fraction'",
            where=where,
            got=f"not_null: true and min_fraction: {column.min_fraction:g}",
            fix="keep one of the two",
        )
    if column.min_domain_mass is not None and column.domain is None:
        raise ParameterError("'min_domain_mass' without 'domain'", where=where, fix="add 'domain'")
    if column.categorical and column.type not in (None, "int64"):
        raise ParameterError(
            "'categorical' is for columns of type int64 (strings always are)",
            where=where,
            got=f"type {column.type}",
        )
    if isinstance(column.domain, RangeSpec):
        check_range(column.domain, column.type, where)
    elif column.domain is not None:
        if not column.domain:
            raise ParameterError(
                "'domain' is empty: no value could be right", where=where, fix="list the values"
            )
        for value in column.domain:
            _check_text(value, f"{where}: domain")
        twice = sorted(value for value, count in Counter(column.domain).items() if count > 1)
        if twice:
            raise ParameterError("'domain' lists a value twice", where=where, got=twice[0])
        if column.type not in (None, "string"):
            raise ParameterError(
                "a list of values is a domain for strings",
                where=where,
                got=f"type {column.type}",
                fix="use domain: {min: …, max: …}",
            )


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParameterError("not a text in Unicode", where=where, got=ascii(text)) from error
