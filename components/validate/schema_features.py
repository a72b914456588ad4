"""One column of a schema: declared, or inferred from the train split.

What the proto has no field for is in tags of a feature's annotation: `kfp-suite:date` and
`kfp-suite:timestamp` for the type, `kfp-suite:unique` for columns without duplicates.
"""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import schema_pb2 as pb

from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.schema_bounds import RangeSpec, check_range, convert_bound
from kfp_suite.components.validate.schema_spec import ColumnSpec
from kfp_suite.components.validate.text import StringColumn
from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import ParameterError

MAX_INFERRED_DOMAIN = 100
"""Distinct values up to which a string column is taken as categorical, as in TFDV."""
_UNIQUE = "kfp-suite:unique"
_TYPE_TAGS: dict[str, ColumnType] = {
    "kfp-suite:date": "date",
    "kfp-suite:timestamp": "timestamp",
}


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


def infer_column(
    proto: pb.Schema, feature: pb.Feature, kind: ColumnType, train: SplitPartial
) -> None:
    """Add to a new feature the constraints inferred from the train split.

    Args:
        proto: The schema, for the domain of a string column.
        feature: The feature, so far a name.
        kind: The type of the column.
        train: The statistics of the train split.
    """
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
        and 0 < found.distinct() <= MAX_INFERRED_DOMAIN
    ):
        proto.string_domain.add(name=feature.name, value=sorted(found.counts))
        feature.domain = feature.name
    if isinstance(found, NumericColumn) and found.negative_infinities + found.positive_infinities:
        feature.float_domain.disallow_inf = True


def declare_column(
    proto: pb.Schema, feature: pb.Feature, kind: ColumnType | None, spec: ColumnSpec, where: str
) -> None:
    """Add to a new feature the constraints that the user declared.

    Args:
        proto: The schema, for the domain of a string column.
        feature: The feature, so far a name.
        kind: The type of the column; None: neither declared nor in the data.
        spec: The declared constraints.
        where: The column, for errors.

    Raises:
        ParameterError: a domain that does not fit the type.
    """
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
    check_range(declared, kind, where)
    domain = feature.float_domain if kind == "float64" else feature.int_domain
    low, high = (convert_bound(bound, kind, where) for bound in (declared.min, declared.max))
    if low is not None:
        domain.min = low
    if high is not None:
        domain.max = high
