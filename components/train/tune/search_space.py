"""The search space: the possible hyperparameters of each estimator.

    hist_gradient_boosting:
      learning_rate: {low: 0.01, high: 0.3, log: true}
      max_leaf_nodes: {type: int, low: 8, high: 128, log: true}
      l2_regularization: [0.0, 0.1, 1.0]
      max_iter: 300

A list is a choice, a number or a text is fixed. How values are suggested is Optuna's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, Literal

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import parse, whole_numbers

Plain = str | int | float | bool | None
_MAX_TRIALS = 10_000


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `type` is int or float, since KFP has no
    integers.

    `log`: as many between 0.01 and 0.1 as between 0.1 and 1. `step`: the distance of values,
    which a grid needs. `share_of_rows`: `high` is at most this part of the rows of train, but
    not below `low`: 100 rows cannot have leaves of 200.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    low: float
    high: float
    type: Literal["float", "int"] = "float"
    log: bool = False
    step: float | None = None
    share_of_rows: float | None = None

    def __post_init__(self) -> None:
        values = (self.low, self.high, self.step or 1.0)
        if not all(map(math.isfinite, values)) or self.low > self.high or (self.step or 1) <= 0:
            raise ParameterError("not a range", got=f"low {self.low}, high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ParameterError("a logarithmic range is above 0 and has no step", got=self.low)
        if self.share_of_rows is not None and not 0 < self.share_of_rows <= 1:
            raise ParameterError("not a share", got=self.share_of_rows, expected="above 0, to 1")
        if self.type == "int" and not all(float(value).is_integer() for value in values):
            raise ParameterError("not whole numbers", got=f"low {self.low}, high {self.high}")

    def of_rows(self, rows: int) -> Range:
        """The range for a train split of so many rows."""
        if self.share_of_rows is None:
            return self
        most = self.share_of_rows * rows
        if self.type == "int":
            most = float(int(most))
        return replace(self, high=max(self.low, min(self.high, most)))

    def grid(self) -> list[Plain]:
        """Every step from `low` on."""
        if self.step is None:
            raise ParameterError("a grid needs steps", expected="a list, or a range with `step`")
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        return [self._convert(self.low + i * self.step) for i in range(count)]

    def suggest(self, trial: Any, name: str) -> Plain:
        """What Optuna suggests."""
        if self.type == "int":
            step = int(self.step or 1)
            low, high = int(self.low), int(self.high)
            found: int = trial.suggest_int(name, low, high, step=step, log=self.log)
            return found
        value: float = trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)
        return value

    def _convert(self, value: float) -> Plain:
        return int(value) if self.type == "int" else value


@dataclass(frozen=True)
class Choice:
    """One of several values; of one, that value."""

    values: tuple[Plain, ...]

    def grid(self) -> list[Plain]:
        """Every value."""
        return list(self.values)

    def suggest(self, trial: Any, name: str) -> Plain:
        """What Optuna suggests."""
        if len(self.values) == 1:
            return self.values[0]
        found: Plain = trial.suggest_categorical(name, self.values)
        return found


@dataclass(frozen=True)
class Candidate:
    """An estimator with its hyperparameters."""

    estimator: str
    hyperparameters: Mapping[str, Plain]


@dataclass(frozen=True)
class Space:
    """A parsed search space."""

    estimators: Mapping[str, Mapping[str, Range | Choice]]

    def of_rows(self, rows: int) -> Space:
        """The space for a train split of so many rows; see `Range.share_of_rows`."""
        return Space(
            {
                name: {
                    key: found.of_rows(rows) if isinstance(found, Range) else found
                    for key, found in dimensions.items()
                }
                for name, dimensions in self.estimators.items()
            }
        )

    def start(self, estimator: str, hyperparameters: Mapping[str, Plain]) -> Candidate:
        """The first candidate of a search: an estimator as it would be without a search.

        Args:
            estimator: If the space has none of that name, the space's first is used.
            hyperparameters: Of `estimator`; fixed values of the space are added, and the rest
                are the library's defaults.
        """
        name = estimator if estimator in self.estimators else next(iter(self.estimators))
        given = hyperparameters if name == estimator else {}
        fixed = {
            key: found.values[0]
            for key, found in self.estimators[name].items()
            if isinstance(found, Choice) and len(found.values) == 1
        }
        return Candidate(name, {**fixed, **given})

    def grid(self) -> list[Candidate]:
        """Every combination, in order.

        Raises:
            ParameterError: a range without steps, or more than 10,000 combinations.
        """
        size = 0
        for name, dimensions in self.estimators.items():
            lengths = [len(_grid(name, key, found)) for key, found in dimensions.items()]
            size += math.prod(lengths)
        if size > _MAX_TRIALS:
            raise ParameterError(
                f"a grid of {size:,} trials",
                where="search_space",
                expected=f"at most {_MAX_TRIALS:,}",
                fix="search at random, or with tpe",
            )
        return list(self._combinations())

    def _combinations(self) -> Iterator[Candidate]:
        for name, dimensions in self.estimators.items():
            values = [_grid(name, key, found) for key, found in dimensions.items()]
            for combination in product(*values):
                yield Candidate(name, dict(zip(dimensions, combination, strict=True)))

    def suggest(self, trial: Any) -> Candidate:
        """What Optuna's `trial` suggests."""
        names = list(self.estimators)
        name = names[0] if len(names) == 1 else trial.suggest_categorical("estimator", names)
        return Candidate(
            name,
            {
                key: dimension.suggest(trial, f"{name}.{key}")
                for key, dimension in self.estimators[name].items()
            },
        )


def parse_space(value: Mapping[str, Any]) -> Space:
    """Read a search space; integers that KFP turned into floats are restored.

    Raises:
        ParameterError: it is empty, or an entry is not right, naming it.
    """
    if not value:
        raise ParameterError(
            "empty", where="search_space", expected="estimators with what they may be"
        )
    found = {}
    for estimator, dimensions in value.items():
        where = f"search_space.{estimator}"
        if not isinstance(dimensions, Mapping):
            raise ParameterError("not a mapping", where=where, got=dimensions)
        found[estimator] = {
            name: _dimension(given, f"{where}.{name}") for name, given in dimensions.items()
        }
    return Space(found)


def _dimension(given: Any, where: str) -> Range | Choice:
    if isinstance(given, Mapping):
        return parse(Range, given, where)
    plain = whole_numbers(given)
    values = plain if isinstance(plain, Sequence) and not isinstance(plain, str) else [plain]
    if not values or any(isinstance(one, (list, dict)) for one in values):
        raise ParameterError(
            "not allowed", where=where, got=given, expected="a value, a list of values, or a range"
        )
    return Choice(tuple(values))


def _grid(estimator: str, name: str, dimension: Range | Choice) -> list[Plain]:
    try:
        return dimension.grid()
    except ParameterError as error:
        raise ParameterError(
            error.what, where=f"search_space.{estimator}.{name}", expected=error.expected
        ) from error
