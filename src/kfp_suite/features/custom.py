"""The operation that runs a user's own scikit-learn transformer, by import path.

Its results are its own: one row gives the same bits as many for our operations, but not
for a matrix product, for example.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kfp_suite.contracts.errors import DataError, ParameterError, did_you_mean
from kfp_suite.contracts.parameters import whole_numbers
from kfp_suite.features import skops_archive
from kfp_suite.features.operation import Builder, Lane, Operation, State
from kfp_suite.features.values import NAN, Categories, Kind, Matrix, Times, Value

BLOCK_ROWS = 65_536
"""Rows a call of `partial_fit`, however the data is cut."""


def import_transformer(path: str, where: str) -> type:
    """The class at an import path.

    Raises:
        ParameterError: it cannot be imported or is not a transformer.
    """
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ParameterError(
            f"cannot import '{module_name}' of the transformer '{path}'",
            where=where,
            got=f"{type(error).__name__}: {error}",
            fix="install the package in the image of this step, and of the server",
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ParameterError(
            f"no class '{name}' in '{module_name}'",
            where=where,
            fix=did_you_mean(name, [n for n, v in vars(module).items() if isinstance(v, type)]),
        )
    if not (hasattr(found, "fit") and hasattr(found, "transform")):
        raise ParameterError(
            f"'{path}' is not a transformer",
            where=where,
            expected="a class with fit(X) and transform(X)",
        )
    return found


def as_matrix(values: Sequence[Value]) -> tuple[Any, Any]:
    """Columns as one matrix, and the rows in which one is missing.

    float64 with NaN if all are numbers; else objects: `float`, `str`,
    `numpy.datetime64`, None for missing values.
    """
    missing = [_missing(value) for value in values]
    if all(isinstance(value, np.ndarray) for value in values):
        return np.column_stack(values), np.logical_or.reduce(missing)
    matrix = np.empty((len(missing[0]), len(values)), object)
    for j, value in enumerate(values):
        if isinstance(value, Categories):
            matrix[:, j] = np.array([*value.values, None], object)[value.codes]
        elif isinstance(value, Times):
            matrix[:, j] = list(value.microseconds.astype("datetime64[us]"))
        else:
            matrix[:, j] = value
        matrix[missing[j], j] = None
    return matrix, np.logical_or.reduce(missing)


def _missing(value: Value) -> Any:
    if isinstance(value, Categories):
        return value.codes < 0
    if isinstance(value, Times):
        return np.zeros(len(value.microseconds), bool) if value.missing is None else value.missing
    return np.isnan(value)


def _one_row(value: Any) -> Value:
    """A row's value as a column of one."""
    if value is None or isinstance(value, str):
        return Categories(np.array([0 if value is not None else -1], np.int32), [value or ""])
    if isinstance(value, int):
        return Times(np.array([value]), None)
    return np.array([value])


class LearnTransformer:
    """Fits with `partial_fit`, block by block in row order, or on all rows in memory."""

    def __init__(self, spec: Transformer, names: Sequence[str]) -> None:
        self._spec, self._names = spec, list(names)
        self._where = spec.path
        self._transformer = spec.instance(self._where)
        self._blocks: list[Any] = []
        self._rows = 0

    def update(self, *values: Value) -> None:
        matrix, missing = as_matrix(values)
        if self._spec.missing == "error":
            matrix = matrix[~missing]
        self._blocks.append(matrix)
        self._rows += len(matrix)
        if hasattr(self._transformer, "partial_fit"):
            while self._rows >= BLOCK_ROWS:
                rows = np.concatenate(self._blocks)
                self._fit(self._transformer.partial_fit, rows[:BLOCK_ROWS])
                self._blocks, self._rows = [rows[BLOCK_ROWS:]], len(rows) - BLOCK_ROWS

    def finish(self) -> State:
        rows = np.concatenate(self._blocks)
        if not hasattr(self._transformer, "partial_fit"):
            self._fit(self._transformer.fit, rows)
        elif len(rows):
            self._fit(self._transformer.partial_fit, rows)
        probe = rows[:1] if len(rows) else np.zeros((1, len(self._names)))
        width = _call(self._transformer, probe, self._where).shape[1]
        archive = skops_archive.dumps(self._transformer)
        return {
            "outputs": self._output_names(width),
            "types": skops_archive.types_to_trust(archive),
            "skops": archive,
        }

    def _fit(self, fit: Any, rows: Any) -> None:
        try:
            fit(rows)
        except Exception as error:
            raise DataError(
                "the transformer could not be fitted",
                where=self._where,
                got=f"{type(error).__name__}: {error}",
            ) from error

    def _output_names(self, width: int) -> list[str]:
        try:
            names = [str(n) for n in self._transformer.get_feature_names_out(self._names)]
        except Exception:
            names = []
        if len(names) == width:
            return names
        return [f"{type(self._transformer).__name__.lower()}{i}" for i in range(width)]


def _call(transformer: Any, matrix: Any, where: str) -> Any:
    try:
        result = transformer.transform(matrix)
        result = result.toarray() if hasattr(result, "toarray") else np.asarray(result)
        result = result.astype(np.float32, copy=False)
    except Exception as error:
        raise DataError(
            "the transformer could not transform",
            where=where,
            got=f"{type(error).__name__}: {error}",
        ) from error
    if result.ndim != 2 or len(result) != len(matrix):
        raise DataError(
            "the transformer's output has the wrong shape",
            where=where,
            got=result.shape,
            expected=f"({len(matrix)}, outputs)",
        )
    return result


class Transformed:
    """A fitted transformer."""

    def __init__(self, spec: Transformer, state: State) -> None:
        self._spec = spec
        self._outputs: list[str] = list(state["outputs"])
        import_transformer(spec.path, spec.path)
        # These types were recorded by us, next to the digest of the archive.
        self._transformer = skops_archive.loads(state["skops"], state["types"])

    def names(self, name: str) -> list[str]:
        return self._outputs

    def write(self, out: Matrix, *values: Value) -> None:
        matrix, missing = as_matrix(values)
        if self._spec.missing == "error" and missing.any():
            out[missing] = NAN
            if not missing.all():
                out[~missing] = _call(self._transformer, matrix[~missing], self._spec.path)
            return
        out[:] = _call(self._transformer, matrix, self._spec.path)

    def row(self, *values: Any) -> list[tuple[int, float]]:
        out = np.zeros((1, len(self._outputs)), np.float32)
        self.write(out, *map(_one_row, values))
        return list(enumerate(out[0].tolist()))


@dataclass(frozen=True)
class _TransformerOf:
    """The primitive: a transformer of named lanes."""

    spec: Transformer
    lanes: tuple[str, ...]
    op: ClassVar[str] = "transformer"

    def learner(self) -> LearnTransformer:
        return LearnTransformer(self.spec, self.lanes)

    def bind(self, state: State) -> Transformed:
        return Transformed(self.spec, state)


@dataclass(frozen=True)
class Transformer(Operation):
    """A scikit-learn transformer by import path, fitted on the columns together.

    It gets a float64 matrix with NaN for missing values if all columns are numbers, else a
    matrix of objects. The server must be able to import it, and skops to save it.
    `missing`: `error`, or `pass` if it handles missing values itself.
    """

    path: Annotated[str, Field(alias="transformer")]
    parameters: dict[str, Any] = field(default_factory=dict)
    missing: Literal["error", "pass"] = "error"
    op: ClassVar[str] = "transformer"
    takes: ClassVar[tuple[Kind, ...]] = tuple(Kind)
    joint: ClassVar[bool] = True

    def check(self, where: str) -> None:
        if "." not in self.path:
            raise ParameterError(
                "'transformer' is not an import path",
                where=where,
                got=self.path,
                expected="package.module.Class",
            )

    def instance(self, where: str) -> Any:
        """A new, unfitted transformer.

        Raises:
            ParameterError: it cannot be imported or does not take the parameters.
        """
        kind = import_transformer(self.path, where)
        try:
            return kind(**whole_numbers(self.parameters))
        except Exception as error:
            raise ParameterError(
                f"'{self.path}' does not take these parameters",
                where=where,
                got=f"{type(error).__name__}: {error}",
            ) from error

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        self.instance(where)
        primitive = _TransformerOf(self, tuple(lane.name for lane in lanes))
        missing = any(lane.missing for lane in lanes) and self.missing == "error"
        return [program.emit(primitive, lanes, missing=missing)]
