"""The expected columns of a dataset, as a TensorFlow Metadata `Schema`.

It comes from one of three sources: inferred from the train split; a declared mapping, with
the rest inferred; or a `schema.pbtxt` (ours, or one that TFDV wrote).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2 as pb

from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.schema_checks import check_schema
from kfp_suite.components.validate.schema_features import declare_column, infer_column
from kfp_suite.components.validate.schema_spec import SchemaSpec, Severity
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.errors import (
    ContractError,
    store_error,
)


@dataclass(frozen=True)
class DatasetSchema:
    """The schema to enforce.

    Attributes:
        proto: Every column, declared and inferred.
        declared: The columns with constraints of the user: contradicting them is an error,
            contradicting an inferred constraint a warning.
        unexpected: The severity of a column that the proto does not have.
        min_rows: The least number of rows, by split.
    """

    proto: pb.Schema
    declared: frozenset[str]
    unexpected: Severity
    min_rows: Mapping[str, int]


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
            infer_column(proto, feature, kinds[name], train)
        else:
            kind = declared.type or kinds.get(name)
            declare_column(proto, feature, kind, declared, f"schema: columns.{name}")
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
