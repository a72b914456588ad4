"""The fitted transform, which training and serving apply to raw rows, and its folder.

    transform/
      transform.json            format version, inputs, features, fitted states, outputs
      transformers/000.skops    a user's own transformers, in a format that runs no code

`transform.json` is canonical JSON; floats are written in their shortest exact form, so a
loaded transform gives the same bits. Names of operations, of their parameters and of
their states are a contract: each version reads the files of those before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_suite.contracts.canonical import canonical_json, read_json, write_file
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.errors import (
    ContractError,
    DataError,
    InputError,
    IntegrityError,
    MissingError,
    ParameterError,
    did_you_mean,
    store_error,
)
from kfp_suite.contracts.model import Field
from kfp_suite.contracts.tables import ARROW_TYPES, COLUMN_TYPES
from kfp_suite.features.compiled_program import BoundProgram
from kfp_suite.features.operation import State
from kfp_suite.features.program import Program
from kfp_suite.features.spec import parse_features
from kfp_suite.features.values import Matrix

FORMAT_VERSION = 1
TRANSFORM = "transform.json"
TRANSFORMERS = "transformers"


@dataclass(frozen=True)
class Fitted:
    """The state of one operation, for a reader; `of` is its column or output."""

    op: str
    of: str
    state: Mapping[str, Any]


class FittedTransform:
    """Raw rows to the float32 matrix an estimator takes.

    `inputs`: the raw columns it reads; `nullable` if the spec handles null. NaN in a
    float column is missing, as null is. `output_names`: the columns of the matrix.
    """

    def __init__(
        self, program: Program, states: Sequence[State | None], label: str, rows: int
    ) -> None:
        self.label = label
        self.rows = rows
        self.features = program.features
        self._files: dict[str, bytes] = {}
        self._content = self._content_of(program, states)
        self.program = BoundProgram(
            program,
            [
                node.primitive.bind(state or {})
                for node, state in zip(program.nodes, states, strict=True)
            ],
        )
        self.inputs = tuple(
            Field(column.name, column.type, required=True, nullable=nullable)
            for column, nullable in program.inputs
        )
        self.output_names = tuple(self.program.names)
        repeated = [n for n, count in _tally(self.output_names).items() if count > 1]
        if repeated:
            entries = [
                f"features[{feature}]"
                for name, feature in zip(self.output_names, self.program.features, strict=True)
                if name == repeated[0]
            ]
            raise ParameterError(
                f"output '{repeated[0]}' is made twice",
                where=" and ".join(dict.fromkeys(entries)),
                fix="give one of the entries a 'name'",
            )
        if not self.output_names:
            raise ParameterError("the features give no output", where="features")
        self._content["outputs"] = list(self.output_names)
        self._names = {field.name for field in self.inputs}
        self._may_be_missing = np.array(
            [self.features[i].keep_missing for i in self.program.features]
        )
        self._keeps_missing = bool(self._may_be_missing.any())
        self._last_layout: tuple[pa.Schema, list[tuple[int, pa.DataType | None]]] | None = None

    # Transforming

    def transform(self, table: pa.Table) -> Matrix:
        """The matrix of a table's rows: float32, C-contiguous, shape (rows, outputs).

        A row gives the same bits alone and among others. Columns that are not inputs are
        ignored; integers are taken for a float column, a column of nulls for any.

        Raises:
            MissingError: an input column is not there.
            DataError: a column of another type, a null that the spec does not impute, an
                infinity, a value outside an operation's domain; naming the column.
        """
        columns = []
        for position, type_ in self._layout(table.schema):
            column = table.column(position)
            columns.append(column if type_ is None else column.cast(type_))
        matrix = self.program.transform(columns, table.num_rows)
        if not np.isfinite(matrix).all():
            self._check(matrix, columns)
        return matrix

    def numbers_in_64_bits(self, table: pa.Table) -> dict[str, Any]:
        """The outputs that are a number each, by name, before they are rounded to 32 bits.

        Raises:
            MissingError, DataError: as `transform`.
        """
        columns = []
        for position, type_ in self._layout(table.schema):
            column = table.column(position).combine_chunks()
            columns.append(column if type_ is None else column.cast(type_))
        return self.program.numbers_in_64_bits(columns)

    def _layout(self, schema: pa.Schema) -> list[tuple[int, pa.DataType | None]]:
        """The position of each input in tables of `schema`, and the type to cast it to."""
        if self._last_layout is not None and self._last_layout[0].equals(schema):
            return self._last_layout[1]
        places: dict[str, int] = {}
        for i, name in enumerate(schema.names):
            if name in places and name in self._names:
                raise DataError("the column is there twice", where=f"column '{name}'")
            places[name] = i
        layout = []
        for field in self.inputs:
            if field.name not in places:
                raise MissingError(
                    f"no column '{field.name}'",
                    where="transform",
                    fix=did_you_mean(field.name, schema.names),
                )
            got, expected = schema.field(places[field.name]).type, ARROW_TYPES[field.type]
            if got != expected and not (
                pa.types.is_null(got) or (pa.types.is_integer(got) and field.type == "float64")
            ):
                raise DataError(
                    "the column has another type",
                    where=f"column '{field.name}'",
                    got=COLUMN_TYPES.get(got, str(got)),
                    expected=field.type,
                )
            layout.append((places[field.name], None if got == expected else expected))
        self._last_layout = (schema, layout)
        return layout

    def _check(self, matrix: Matrix, columns: Sequence[pa.ChunkedArray]) -> None:
        wrong = ~np.isfinite(matrix)
        if self._keeps_missing:
            wrong &= ~(np.isnan(matrix) & self._may_be_missing)
        if not wrong.any():
            return
        row, output = (int(i) for i in np.argwhere(wrong)[0])
        feature = self.features[self.program.features[output]]
        for field, column in zip(self.inputs, columns, strict=True):
            if field.name not in feature.columns:
                continue
            value = column[row].as_py()
            if value is None or (isinstance(value, float) and np.isnan(value)):
                raise DataError(
                    "the value is missing" if len(matrix) == 1 else f"row {row} has no value",
                    where=f"column '{field.name}'",
                    got="null" if value is None else "NaN",
                    expected=field.type,
                    fix="send a value, or impute the column in the features",
                )
            if isinstance(value, float) and abs(value) == float("inf"):
                raise DataError(
                    "the value is infinite" if len(matrix) == 1 else f"row {row} is infinite",
                    where=f"column '{field.name}'",
                    got=value,
                    expected="a finite number",
                )
        raise DataError(
            f"output '{self.output_names[output]}' does not fit a 32-bit float",
            where=f"column '{feature.columns[0]}'",
            got=[
                column[row].as_py()
                for f, column in zip(self.inputs, columns, strict=True)
                if f.name in feature.columns
            ],
            expected="numbers that give at most 3.4e38",
            fix="clip or scale the column in the features",
        )

    # Description

    @property
    def content(self) -> Mapping[str, Any]:
        """The content of `transform.json`."""
        return self._content

    @property
    def digest(self) -> str:
        """The digest of `transform.json`, which names the digests of the other files."""
        return digest_bytes(canonical_json(self._content))

    def learned(self) -> list[list[Fitted]]:
        """The states that the operations of each feature learned from the train split."""
        found: list[list[Fitted]] = [[] for _ in self.features]
        for item in self._content["fitted"]:
            found[item["feature"]].append(Fitted(item["op"], item["of"], item["state"]))
        return found

    def outputs_by_feature(self) -> list[list[str]]:
        """The output columns of each feature."""
        found: list[list[str]] = [[] for _ in self.features]
        for name, feature in zip(self.output_names, self.program.features, strict=True):
            found[feature].append(name)
        return found

    def _content_of(self, program: Program, states: Sequence[State | None]) -> dict[str, Any]:
        fitted = []
        for node, learned in zip(program.nodes, states, strict=True):
            if learned is None:
                continue
            state = dict(learned)
            if "skops" in state:
                name = f"{TRANSFORMERS}/{len(self._files):03d}.skops"
                self._files[name] = state["skops"]
                state["skops"] = {"file": name, "sha256": digest_bytes(state["skops"])}
            fitted.append(
                {"feature": node.feature, "op": node.primitive.op, "of": node.lane, "state": state}
            )
        return {
            "format_version": FORMAT_VERSION,
            "label": self.label,
            "rows": self.rows,
            "inputs": [{"name": column.name, "type": column.type} for column, _ in program.inputs],
            "features": [feature.to_json() for feature in program.features],
            "fitted": fitted,
        }

    # Its folder

    def save(self, folder: Path) -> None:
        """Write the files into `folder`, which is created if it is missing.

        Raises:
            StoreError: it is not writable or the disk is full.
        """
        for name, content in self._files.items():
            write_file(folder / name, content)
        write_file(folder / TRANSFORM, canonical_json(self._content))

    @classmethod
    def load(cls, folder: Path) -> FittedTransform:
        """Read a folder written by `save`.

        Raises:
            MissingError: there is no `transform.json`.
            ContractError: it is of another format version or not ours.
            IntegrityError: a transformer's bytes are not those recorded.
            ParameterError: a user's transformer cannot be imported here.
        """
        path = folder / TRANSFORM
        content = read_json(path)
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise ContractError(
                "unknown format of transform.json",
                where=path,
                got=version,
                expected=f"format_version {FORMAT_VERSION}",
                fix="fit the transform again with this version of kfp-suite",
            )
        try:
            return cls._from_content(content, folder)
        except (InputError, IntegrityError):
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ContractError(
                "not a fitted transform",
                where=path,
                got=f"{type(error).__name__}: {error}",
                fix="fit the transform again",
            ) from error

    @classmethod
    def _from_content(cls, content: Mapping[str, Any], folder: Path) -> FittedTransform:
        where = str(folder / TRANSFORM)
        spec = parse_features(content["features"], where)
        columns = [Column(i["name"], i["type"]) for i in content["inputs"]]
        program = Program(spec.features, columns, where=where)
        waiting = iter(content["fitted"])
        states: list[State | None] = []
        for node in program.nodes:
            if node.primitive.learner() is None:
                states.append(None)
                continue
            item: dict[str, Any] = next(waiting, {})
            if (item.get("feature"), item.get("op")) != (node.feature, node.primitive.op):
                raise ValueError(f"no state of '{node.primitive.op}' of '{node.lane}'")
            states.append(_with_files(item["state"], folder))
        loaded = cls(program, states, content["label"], content["rows"])
        if json.loads(canonical_json(loaded._content)) != content:
            raise ValueError("its parts do not fit each other")
        return loaded


def _with_files(state: State, folder: Path) -> State:
    if "skops" not in state:
        return state
    recorded = state["skops"]
    path = folder / recorded["file"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"a file outside the folder: {recorded['file']}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise store_error(error, path) from error
    if digest_bytes(content) != recorded["sha256"]:
        raise IntegrityError(
            "the bytes do not match the recorded digest",
            where=path,
            got=digest_bytes(content),
            expected=recorded["sha256"],
            fix="fit the transform again; do not edit it in place",
        )
    return {**state, "skops": content}


def _tally(names: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
