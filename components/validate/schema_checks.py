"""Checks of a TensorFlow Metadata schema, and the constraints in it that are not enforced."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from tensorflow_metadata.proto.v0 import schema_pb2 as pb

from kfp_suite.contracts.errors import ContractError, did_you_mean

_DOMAINS = {pb.INT: "int_domain", pb.FLOAT: "float_domain", pb.BYTES: "string_domain"}
_UNCHECKED = (
    "group_presence",
    "value_counts",
    "struct_domain",
    "natural_language_domain",
    "image_domain",
    "audio_domain",
    "video_domain",
    "content_chunk_domain",
    "mid_domain",
    "url_domain",
    "time_of_day_domain",
    "sequence_metadata",
    "in_environment",
    "not_in_environment",
)


def check_schema(schema: pb.Schema, where: Path) -> None:
    """Refuse a schema that contradicts itself.

    Raises:
        ContractError: bounds the wrong way round, a domain that is not there or is of another
            type than its column, a fraction outside 0 to 1, a column twice; naming it.
    """
    names = Counter(feature.name for feature in schema.feature)
    for name, count in names.items():
        if not name:
            raise ContractError("a feature has no name", where=where)
        if count > 1:
            raise ContractError(f"the feature '{name}' is there twice", where=where)
    domains = {
        kind: {domain.name: domain for domain in getattr(schema, kind)}
        for kind in _DOMAINS.values()
    }
    for domain in (*schema.int_domain, *schema.float_domain):
        _check_order(domain.min, domain.max, domain, f"{where}: domain '{domain.name}'")
    for feature in schema.feature:
        _check_feature(feature, domains, f"{where}: feature '{feature.name}'")
    constraints = schema.dataset_constraints
    place = f"{where}: dataset_constraints"
    for end in ("min", "max"):
        _check_count(getattr(constraints, f"{end}_examples_count"), f"{end}_examples_count", place)
    if 0 < constraints.max_examples_count < constraints.min_examples_count:
        raise _wrong_way(constraints.min_examples_count, constraints.max_examples_count, place)


def unchecked_constraints(schema: pb.Schema) -> dict[str, list[str]]:
    """The constraints that are in the schema and are not checked, by column ("" for the rest)."""
    found = {
        feature.name: [
            name
            for name in _UNCHECKED
            if (
                len(getattr(feature, name))
                if name.endswith("in_environment")
                else feature.HasField(name)
            )
        ]
        for feature in schema.feature
    }
    found[""] = [name for name in ("sparse_feature", "weighted_feature") if getattr(schema, name)]
    if schema.dataset_constraints.HasField("num_examples_version_comparator"):
        found[""].append("num_examples_version_comparator")
    return {name: constraints for name, constraints in found.items() if constraints}


class Domains:
    """The values and ranges that are allowed, a column's own or those of the schema it names."""

    def __init__(self, schema: pb.Schema) -> None:
        self._named = {
            (kind, domain.name): domain
            for kind in _DOMAINS.values()
            for domain in getattr(schema, kind)
        }
        self._values: dict[str, frozenset[str]] = {}

    def values(self, feature: pb.Feature) -> frozenset[str] | None:
        """The values allowed in a string column; None for any."""
        domain = self._named.get(("string_domain", feature.domain), feature.string_domain)
        if not (feature.HasField("domain") or feature.HasField("string_domain")):
            return None
        if feature.name not in self._values:
            self._values[feature.name] = frozenset(domain.value)
        return self._values[feature.name]

    def range(self, feature: pb.Feature) -> pb.IntDomain | pb.FloatDomain:
        """The range of a column of numbers; empty for any."""
        kind = "float_domain" if feature.type == pb.FLOAT else "int_domain"
        return self._named.get((kind, feature.domain), getattr(feature, kind))


def _check_feature(feature: pb.Feature, domains: dict[str, dict[str, object]], where: str) -> None:
    given = feature.WhichOneof("domain_info")
    wanted = _DOMAINS.get(feature.type)
    if given == "domain":
        named = (
            domains[wanted] if wanted else {n: d for of in domains.values() for n, d in of.items()}
        )
        if feature.domain not in named:
            raise ContractError(
                f"unknown domain '{feature.domain}'",
                where=where,
                expected=f"one of the schema's {wanted}s" if wanted else "a domain of the schema",
                fix=did_you_mean(feature.domain, named) if named else "add it, or remove 'domain'",
            )
    elif given in _DOMAINS.values() and wanted and given != wanted:
        raise ContractError(
            f"'{given}' does not fit the feature's type",
            where=where,
            got=f"type {pb.FeatureType.Name(feature.type)}",
            expected=wanted,
        )
    for name in ("int_domain", "float_domain"):
        if given == name:
            domain = getattr(feature, name)
            _check_order(domain.min, domain.max, domain, where)
    limits = feature.unique_constraints
    _check_order(limits.min, limits.max, limits, f"{where}: unique_constraints")
    _check_count(feature.presence.min_count, "min_count", f"{where}: presence")
    _check_fraction(feature.presence.min_fraction, "min_fraction", f"{where}: presence")
    mass = feature.distribution_constraints.min_domain_mass
    _check_fraction(mass, "min_domain_mass", f"{where}: distribution_constraints")
    for side in ("skew_comparator", "drift_comparator"):
        comparator = getattr(feature, side)
        for name in ("infinity_norm", "jensen_shannon_divergence"):
            _check_fraction(
                getattr(comparator, name).threshold, "threshold", f"{where}: {side}: {name}"
            )


def _check_order(low: float, high: float, message: object, where: str) -> None:
    has = message.HasField  # type: ignore[attr-defined]
    for end, value in (("min", low), ("max", high)):
        if has(end) and math.isnan(value):
            raise ContractError(f"'{end}' is not a number", where=where, got=value)
    if has("min") and has("max") and low > high:
        raise _wrong_way(low, high, where)


def _wrong_way(low: float, high: float, where: str) -> ContractError:
    return ContractError(
        "min is above max: nothing could be right",
        where=where,
        got=f"min {low:g} and max {high:g}",
        fix="swap the two",
    )


def _check_count(value: int, name: str, where: str) -> None:
    if value < 0:
        raise ContractError(
            f"'{name}' is out of range", where=where, got=value, expected="0 or more"
        )


def _check_fraction(value: float, name: str, where: str) -> None:
    if not 0 <= value <= 1:
        raise ContractError(f"'{name}' is out of range", where=where, got=value, expected="0 to 1")
