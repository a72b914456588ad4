"""What the columns of a dataset should be: a TensorFlow Metadata `Schema`.

It comes from one of three places: inferred from the train split; a declared mapping, with
what it leaves open inferred; or a `schema.pbtxt` (ours, or one that TFDV wrote).

What the proto has no field for is in tags of a feature's annotation: `kfp-suite:date` and
`kfp-suite:timestamp` for the type, `kfp-suite:unique` for columns without duplicates.
"""

from __future__ import annotations

import datetime
import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from google.protobuf import text_format
from pydantic import ConfigDict
from tensorflow_metadata.proto.v0 import schema_pb2 as pb

from kfp_suite.components.contracts.columns import Column, ColumnType
from kfp_suite.components.contracts.errors import (
    ContractError,
    ParameterError,
    did_you_mean,
    store_error,
)
from kfp_suite.components.contracts.parameters import parse
from kfp_suite.components.contracts.tables import ARROW_TYPES
from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.schema_checks import check_schema
from kfp_suite.components.validate.text import StringColumn

LARGEST_INFERRED_DOMAIN = 100
"""Distinct values up to which a string column is taken as categorical, as in TFDV."""

_UNIQUE = "kfp-suite:unique"
_TYPE_TAGS: dict[str, ColumnType] = {
    "kfp-suite:date": "date",
    "kfp-suite:timestamp": "timestamp",
}
_LARGEST_INTEGER = 2**63 - 1
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - timestamps are naive

Bound = int | float | str
Severity = Literal["error", "warn", "allow"]


@dataclass(frozen=True)
class RangeSpec:
    """The least and the greatest value allowed; ISO dates and times for such columns."""

    min: Bound | None = None
    max: Bound | None = None
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class ColumnSpec:
    """What a column should be.

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
        columns: What is required of columns, by name.
        unexpected_columns: What a column is that `columns` does not list.
        min_rows: The least number of rows, by split.
    """

    uri: str = ""
    columns: dict[str, ColumnSpec] = field(default_factory=dict)
    unexpected_columns: Severity = "allow"
    min_rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _DeclaredSchema:
    """A `SchemaSpec` whose columns are still to be read."""

    uri: str = ""
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    unexpected_columns: Severity = "allow"
    min_rows: dict[str, int] = field(default_factory=dict)
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class DatasetSchema:
    """The schema to enforce.

    Attributes:
        proto: Every column, declared and inferred.
        declared: The columns whose constraints the user stated: what contradicts them is
            an error, what contradicts an inferred constraint a warning.
        unexpected: What a column is that the proto does not have.
        min_rows: The least number of rows, by split.
    """

    proto: pb.Schema
    declared: frozenset[str]
    unexpected: Severity
    min_rows: Mapping[str, int]


def parse_schema(value: object, where: str = "schema") -> SchemaSpec:
    """The declared schema, checked for what contradicts itself.

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
        if not 0 <= least <= _LARGEST_INTEGER:
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
        _check_range(column.domain, column.type, where)
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


def _check_range(domain: RangeSpec, kind: ColumnType | None, where: str) -> None:
    if domain.min is None and domain.max is None:
        raise ParameterError("'domain' has neither min nor max", where=where)
    if kind in ("string", "bool"):
        raise ParameterError(
            "a range is a domain for numbers, dates and timestamps",
            where=where,
            got=f"type {kind}",
            fix="list the values: domain: [a, b]" if kind == "string" else "remove 'domain'",
        )
    if kind is None:
        return
    low, high = (_bound(bound, kind, where) for bound in (domain.min, domain.max))
    if low is not None and high is not None and low > high:
        raise ParameterError(
            "'domain' has min above max: no value could be right",
            where=where,
            got=f"min {domain.min} and max {domain.max}",
        )


def _bound(bound: Bound | None, kind: ColumnType, where: str) -> int | float | None:
    """A bound as the column holds it: days and microseconds since 1970 for dates and times."""
    if bound is None:
        return None
    if kind in ("date", "timestamp"):
        try:
            moment = datetime.datetime.fromisoformat(str(bound))
            since = moment - _EPOCH
        except (ValueError, TypeError) as error:
            raise ParameterError(
                "a bound of 'domain' is not a date",
                where=where,
                got=bound,
                expected="2013-01-31" if kind == "date" else "2013-01-31T06:00:00, without a zone",
            ) from error
        if kind == "date" and since % datetime.timedelta(days=1):
            raise ParameterError(
                "a bound of 'domain' has a time, but the column holds dates",
                where=where,
                got=bound,
                expected="2013-01-31",
            )
        return since.days if kind == "date" else since // datetime.timedelta(microseconds=1)
    if isinstance(bound, str):
        raise ParameterError(
            "a bound of 'domain' is not a number", where=where, got=bound, expected="a number"
        )
    if isinstance(bound, float) and math.isnan(bound):
        raise ParameterError(
            "a bound of 'domain' is not a number", where=where, got=bound, expected="a number"
        )
    largest = _LARGEST_INTEGER if kind == "int64" else sys.float_info.max
    if abs(bound) > largest and (kind == "int64" or abs(bound) != math.inf):
        raise ParameterError(
            f"a bound of 'domain' is beyond {kind}", where=where, got=bound, fix="leave it out"
        )
    if kind == "int64":
        if not float(bound).is_integer():
            raise ParameterError(
                "a bound of 'domain' is not a whole number, but the column is int64",
                where=where,
                got=bound,
            )
        return int(bound)
    return float(bound)


def dataset_schema(
    spec: SchemaSpec, columns: tuple[Column, ...], train: SplitPartial
) -> DatasetSchema:
    """The schema to enforce: as declared, and inferred from `train` for the rest."""
    if spec.uri:
        proto = read_schema(Path(spec.uri))
        least = proto.dataset_constraints.min_examples_count
        names = frozenset(feature.name for feature in proto.feature)
        return DatasetSchema(proto, names, "error", {"train": least} if least else {})
    proto = pb.Schema()
    kinds = {column.name: column.type for column in columns}
    for name in [*kinds, *(n for n in spec.columns if n not in kinds)]:
        feature = proto.feature.add(name=name)
        declared = spec.columns.get(name)
        if declared is None:
            _infer(proto, feature, kinds[name], train)
        else:
            kind = declared.type or kinds.get(name)
            _declare(proto, feature, kind, declared, f"schema: columns.{name}")
    if spec.min_rows.get("train"):
        proto.dataset_constraints.min_examples_count = spec.min_rows["train"]
    unexpected = spec.unexpected_columns if spec.columns else "allow"
    return DatasetSchema(proto, frozenset(spec.columns), unexpected, spec.min_rows)


def categorical_integers(spec: SchemaSpec, columns: tuple[Column, ...]) -> frozenset[str]:
    """The integer columns that the schema describes as codes."""
    if spec.uri:
        proto = read_schema(Path(spec.uri))
        names = {f.name for f in proto.feature if f.int_domain.is_categorical}
    else:
        names = {name for name, column in spec.columns.items() if column.categorical}
    return frozenset(c.name for c in columns if c.name in names and c.type == "int64")


def read_schema(path: Path) -> pb.Schema:
    """The schema in a `schema.pbtxt`, or in a folder that holds one.

    Raises:
        MissingError: it is not there.
        ContractError: it is not a schema in the text format, or contradicts itself.
    """
    path = Path(str(path).removeprefix("file://"))
    file = path / "schema.pbtxt" if path.is_dir() else path
    try:
        schema = text_format.Parse(file.read_text("utf-8"), pb.Schema())
    except OSError as error:
        raise store_error(error, file) from error
    except (text_format.ParseError, ValueError, RecursionError) as error:
        raise ContractError(
            "not a TensorFlow Metadata schema in the text format", where=file, got=str(error)
        ) from error
    check_schema(schema, file)
    return schema


def column_type(feature: pb.Feature) -> ColumnType | None:
    """The column type that a feature of a schema stands for."""
    for tag in feature.annotation.tag:
        if tag in _TYPE_TAGS:
            return _TYPE_TAGS[tag]
    if feature.type == pb.INT:
        return "bool" if feature.HasField("bool_domain") else "int64"
    kinds: dict[int, ColumnType] = {pb.FLOAT: "float64", pb.BYTES: "string"}
    return kinds.get(feature.type)


def is_unique(feature: pb.Feature) -> bool:
    """Whether no value of the column may occur twice."""
    return _UNIQUE in feature.annotation.tag


def _set_type(feature: pb.Feature, kind: ColumnType) -> None:
    types = {"float64": pb.FLOAT, "string": pb.BYTES}
    feature.type = types.get(kind, pb.INT)
    if kind in _TYPE_TAGS.values():
        feature.annotation.tag.append(f"kfp-suite:{kind}")


def _set_default_domain(feature: pb.Feature, kind: ColumnType) -> None:
    if kind == "bool":
        feature.bool_domain.SetInParent()
    elif kind == "date":
        feature.time_domain.integer_format = pb.TimeDomain.UNIX_DAYS
    elif kind == "timestamp":
        feature.time_domain.integer_format = pb.TimeDomain.UNIX_MICROSECONDS
    elif kind == "float64":
        feature.float_domain.disallow_inf = True


def _infer(proto: pb.Schema, feature: pb.Feature, kind: ColumnType, train: SplitPartial) -> None:
    found = train.columns[feature.name]
    _set_type(feature, kind)
    present = found.rows - found.missing
    if present:
        feature.presence.min_count = 1
    if present and not found.missing:
        feature.presence.min_fraction = 1.0
        feature.shape.dim.add(size=1)
    else:
        feature.value_count.min = feature.value_count.max = 1
    _set_default_domain(feature, kind)
    if (
        isinstance(found, StringColumn)
        and found.exact
        and 0 < found.distinct() <= LARGEST_INFERRED_DOMAIN
    ):
        proto.string_domain.add(name=feature.name, value=sorted(found.counts))
        feature.domain = feature.name
    if isinstance(found, NumericColumn) and found.negative_infinities + found.positive_infinities:
        feature.float_domain.disallow_inf = True


def _declare(
    proto: pb.Schema, feature: pb.Feature, kind: ColumnType | None, spec: ColumnSpec, where: str
) -> None:
    if kind is not None:
        _set_type(feature, kind)
        _set_default_domain(feature, kind)
    if spec.required:
        feature.presence.min_count = 1
    fraction = 1.0 if spec.not_null else spec.min_fraction
    if fraction is not None:
        feature.presence.min_fraction = fraction
    if fraction == 1.0:
        feature.shape.dim.add(size=1)
    else:
        feature.value_count.min = feature.value_count.max = 1
    if spec.unique:
        feature.annotation.tag.append(_UNIQUE)
    if kind == "float64":
        feature.float_domain.disallow_inf = not spec.allow_infinite
        feature.float_domain.disallow_nan = not spec.allow_nan
    if spec.categorical:
        feature.int_domain.is_categorical = True
    if isinstance(spec.domain, RangeSpec) and kind is not None:
        _declare_range(feature, kind, spec.domain, where)
    elif isinstance(spec.domain, tuple):
        if kind not in (None, "string"):
            raise ParameterError(
                "a list of values is a domain for strings",
                where=where,
                got=f"the column is {kind}",
                fix="use domain: {min: …, max: …}",
            )
        feature.domain = feature.name
        proto.string_domain.add(name=feature.name, value=list(spec.domain))
    if spec.min_domain_mass is not None:
        feature.distribution_constraints.min_domain_mass = spec.min_domain_mass


def _declare_range(feature: pb.Feature, kind: ColumnType, declared: RangeSpec, where: str) -> None:
    _check_range(declared, kind, where)
    domain = feature.float_domain if kind == "float64" else feature.int_domain
    low, high = (_bound(bound, kind, where) for bound in (declared.min, declared.max))
    if low is not None:
        domain.min = low
    if high is not None:
        domain.max = high
