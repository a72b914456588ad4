"""Operations: their parameters, and the primitives they add to a program.

An `Operation` is a frozen dataclass of parameters, as the spec gives them. Added to a
program it creates `Primitive`s, each with one output. A primitive learns its state from
the train split (or has none) and is bound to it; bound, it works on columns and on one
row, with the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import ConfigDict

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.features.values import Kind, Matrix, Value

State = dict[str, Any]
"""What a primitive learned: JSON."""


@dataclass(frozen=True)
class Lane:
    """A value on its way through a feature: its register, its name and its kind.

    `kind` is None for finished outputs. `missing`: it can be missing if a raw column is.
    """

    register: int
    name: str
    kind: Kind | None
    missing: bool


class Map(Protocol):
    """A bound primitive whose output is a value."""

    def columns(self, *values: Value) -> Value:
        """The output for columns of equal length."""

    def row(self, *values: Any) -> Any:
        """The output for one row."""


class Emit(Protocol):
    """A bound primitive whose output is columns of the matrix."""

    def names(self, name: str) -> list[str]:
        """The names of the output columns of the lane `name`."""

    def write(self, out: Matrix, *values: Value) -> None:
        """Fill `out` (rows, outputs), which holds zeros."""

    def row(self, *values: Any) -> list[tuple[int, float]]:
        """The positions and values that are not zero, for one row."""


class Learner(Protocol):
    """Accumulates the state of a primitive from the train split."""

    def update(self, *values: Value) -> None:
        """Take in columns; called for every batch, in any cut and order."""

    def finish(self) -> State | None:
        """End a pass: the state, or None if another pass is needed.

        Raises:
            NothingToLearnError, TooManyValuesError: for the caller to name the column.
        """


class NothingToLearnError(Exception):
    """Every value of the train split is missing."""


class TooManyValuesError(Exception):
    """More distinct values than fit in bounded memory."""


class DomainError(Exception):
    """A value that an operation is not defined for."""

    def __init__(self, value: float | str, expected: str) -> None:
        super().__init__(value, expected)
        self.value, self.expected = value, expected


class Primitive(Protocol):
    """One output: how its state is learned, and how it is computed."""

    op: ClassVar[str]

    def learner(self) -> Learner | None:
        """None for a primitive without state."""

    def bind(self, state: State) -> Any:
        """A `Map` or an `Emit`."""


class Builder(Protocol):
    """The program under construction.

    Attributes:
        joint_name: The entry's `name`, for an output of several columns.
    """

    joint_name: str | None

    def map(
        self,
        primitive: Primitive,
        lanes: Sequence[Lane],
        kind: Kind,
        *,
        name: str | None = None,
        missing: bool | None = None,
    ) -> Lane:
        """Add a primitive whose output is a value; name and missing default to its inputs'."""

    def emit(
        self,
        primitive: Primitive,
        lanes: Sequence[Lane],
        *,
        name: str | None = None,
        missing: bool | None = None,
    ) -> Lane:
        """Add a primitive whose output is columns of the matrix."""


@dataclass(frozen=True)
class Operation(ABC):
    """An operation of the spec with its parameters, whose names and meaning are a contract.

    `takes` are the kinds of lane it fits, `joint` whether it takes all columns at once
    (else it is applied to each).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    op: ClassVar[str]
    takes: ClassVar[tuple[Kind, ...]]
    joint: ClassVar[bool] = False

    def check(self, where: str) -> None:  # noqa: B027 - most have nothing beyond their types
        """Check the parameters beyond their types.

        Raises:
            ParameterError: naming the parameter.
        """

    @abstractmethod
    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        """Add this operation on `lanes` (one, unless joint) and return its outputs."""


def require(condition: bool, where: str, key: str, got: object, expected: str) -> None:
    """A parameter's value must satisfy `condition`.

    Raises:
        ParameterError: it does not.
    """
    if not condition:
        raise ParameterError(f"'{key}' is not allowed", where=where, got=got, expected=expected)


def require_between(least: int, value: int, most: int, where: str, key: str) -> None:
    """A whole number must lie between `least` and `most`, both allowed.

    Raises:
        ParameterError: it does not.
    """
    require(least <= value <= most, where, key, value, f"{least} to {most}")
