"""Contradictions between data and its schema.

An error makes the dataset invalid; a warning does not. A contradiction of a constraint that was
only inferred from the train split is a warning, since splits by time differ legitimately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tensorflow_metadata.proto.v0 import schema_pb2

from kfp_suite.components.validate.anomaly import Anomaly, Severity
from kfp_suite.components.validate.column_checks import ColumnCheck
from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.row_counts import check_row_counts
from kfp_suite.components.validate.schema import DatasetSchema
from kfp_suite.components.validate.schema_checks import Domains, unchecked_constraints
from kfp_suite.components.validate.schema_features import column_type
from kfp_suite.contracts.columns import Column, ColumnType
from kfp_suite.contracts.errors import did_you_mean

_MAX_HINTS = 20  # columns that are gone, for each of which a near name is looked for
_UNUSED_STAGES = {
    schema_pb2.PLANNED,
    schema_pb2.ALPHA,
    schema_pb2.DEPRECATED,
    schema_pb2.DEBUG_ONLY,
    schema_pb2.DISABLED,
}


def find_anomalies(
    schema: DatasetSchema, columns: tuple[Column, ...], splits: Mapping[str, SplitPartial]
) -> list[Anomaly]:
    """The contradictions of the schema, by split, in the schema's order of columns."""
    found = [
        *check_row_counts(
            {name: partial.rows for name, partial in splits.items()},
            schema.min_rows,
            schema.proto.dataset_constraints.max_examples_count,
        ),
        *_report_unchecked(schema),
        *_unexpected_columns(schema, columns),
    ]
    kinds = {column.name: column.type for column in columns}
    domains = Domains(schema.proto)
    gone = [feature.name for feature in schema.proto.feature if feature.name not in kinds]
    candidates = list(kinds) if len(gone) <= _MAX_HINTS else []
    for feature in schema.proto.feature:
        if feature.deprecated or feature.lifecycle_stage in _UNUSED_STAGES:
            continue
        severity: Severity = "error" if feature.name in schema.declared else "warning"
        if feature.name not in kinds:
            found += _missing_column(feature, candidates, severity)
        elif mismatch := _type_mismatch(feature, kinds[feature.name], severity):
            found.append(mismatch)
        else:
            for split, partial in splits.items():
                column = partial.columns[feature.name]
                if column.rows:
                    check = ColumnCheck(domains, feature, kinds[feature.name], split, severity)
                    found += check.run(column)
    return found


def _report_unchecked(schema: DatasetSchema) -> Iterator[Anomaly]:
    for column, constraints in unchecked_constraints(schema.proto).items():
        yield Anomaly(
            column,
            "STATS_NOT_AVAILABLE",
            "The schema asks for something that is not checked.",
            ", ".join(constraints),
            "constraints of presence, type, range, values and distances",
            "",
            "warning",
        )


def _unexpected_columns(schema: DatasetSchema, columns: tuple[Column, ...]) -> Iterator[Anomaly]:
    expected = (
        schema.declared
        if schema.unexpected != "allow"
        else frozenset(feature.name for feature in schema.proto.feature)
    )
    for column in columns:
        if column.name not in expected:
            yield Anomaly(
                column.name,
                "SCHEMA_NEW_COLUMN",
                f"New column '{column.name}' (in the data but not in the schema).",
                f"a column of type {column.type}",
                "no such column",
                "",
                "error" if schema.unexpected == "error" else "warning",
            )


def _missing_column(
    feature: schema_pb2.Feature, candidates: list[str], severity: Severity
) -> Iterator[Anomaly]:
    if feature.presence.min_count > 0 or feature.presence.min_fraction > 0:
        near = did_you_mean(feature.name, candidates) if candidates else ""
        hint = f" ({near})" if near.startswith("did") else ""
        yield Anomaly(
            feature.name,
            "SCHEMA_MISSING_COLUMN",
            f"The column '{feature.name}' is not in the data{hint}.",
            "no such column",
            f"a column of type {column_type(feature)}" if column_type(feature) else "the column",
            "",
            severity,
        )


def _type_mismatch(
    feature: schema_pb2.Feature, kind: ColumnType, severity: Severity
) -> Anomaly | None:
    wanted = column_type(feature)
    if wanted is None or wanted == kind:
        return None
    if wanted == "bool" and kind == "int64":
        return None  # TFDV's booleans are integers in 0..1: checked as a range
    return Anomaly(
        feature.name,
        "UNEXPECTED_DATA_TYPE",
        f"Expected data of type {wanted} but got {kind}.",
        kind,
        wanted,
        "",
        severity,
    )
