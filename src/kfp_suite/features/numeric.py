"""Operations on numbers: impute, clip, scale, log, log1p, sqrt, bucketize, polynomial,
convert_units, identity and cast. (impute works on categories as well.)"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.features import portable_math
from kfp_suite.features.exact_sums import Moments
from kfp_suite.features.operation import (
    Builder,
    DomainError,
    Lane,
    Learner,
    NothingToLearnError,
    Operation,
    State,
    require,
    require_between,
)
from kfp_suite.features.order_statistics import Quantiles
from kfp_suite.features.units import UNITS, conversion
from kfp_suite.features.values import (
    NAN,
    NUMERIC,
    Categories,
    Floats,
    Kind,
    Matrix,
    Value,
)
from kfp_suite.features.vocabulary import Counts, add_categories, add_numbers


def present(x: Floats) -> Floats:
    """The values that are not missing."""
    missing = np.isnan(x)
    return x[~missing] if missing.any() else x


# States


@dataclass
class LearnMoments:
    """Mean and population standard deviation."""

    def __post_init__(self) -> None:
        self._moments = Moments()

    def update(self, x: Floats) -> None:
        self._moments.update(present(x))

    def finish(self) -> State:
        if not self._moments.count:
            raise NothingToLearnError
        return {"mean": self._moments.mean, "std": self._moments.std}


@dataclass
class LearnExtremes:
    """Minimum and maximum."""

    lowest: float = math.inf
    highest: float = -math.inf

    def update(self, x: Floats) -> None:
        x = present(x)
        if len(x):
            self.lowest = min(self.lowest, float(x.min()))
            self.highest = max(self.highest, float(x.max()))

    def finish(self) -> State:
        if self.lowest > self.highest:
            raise NothingToLearnError
        return {"min": self.lowest + 0.0, "max": self.highest + 0.0}


class LearnQuantiles:
    """Exact quantiles, handed to `state_of`."""

    def __init__(self, quantiles: Sequence[float], state_of: Callable[[list[float]], State]):
        self.shares = tuple(quantiles)
        self.state_of = state_of
        self._quantiles = Quantiles(quantiles)

    def update(self, x: Floats) -> None:
        self._quantiles.update(present(x))

    def finish(self) -> State | None:
        done = self._quantiles.finish_pass()
        if not self._quantiles.count:
            raise NothingToLearnError
        return self.state_of(self._quantiles.values) if done else None


class LearnMostFrequent:
    """The most frequent value; of several, the first in order."""

    def __init__(self, kind: Kind) -> None:
        self.categories = kind is Kind.CATEGORY
        self._texts: Counts[str] = Counts()
        self._numbers: Counts[float] = Counts()

    def update(self, column: Value) -> None:
        if self.categories:
            add_categories(self._texts, column)
        else:
            add_numbers(self._numbers, column)

    def finish(self) -> State:
        ranked: Sequence[str | float] = (self._texts or self._numbers).ranked(limit=1)
        if not ranked:
            raise NothingToLearnError
        return {"value": ranked[0]}


# impute


@dataclass(frozen=True)
class FillNumber:
    """Missing numbers become `value`."""

    value: float

    def columns(self, x: Floats) -> Floats:
        missing = np.isnan(x)
        return np.where(missing, self.value, x) if missing.any() else x

    def row(self, v: float) -> float:
        return self.value if math.isnan(v) else v


@dataclass(frozen=True)
class FillCategory:
    """Missing categories become `value`."""

    value: str

    def columns(self, column: Categories) -> Categories:
        missing = column.codes < 0
        if not missing.any():
            return column
        codes = np.where(missing, np.int32(len(column.values)), column.codes)
        return Categories(codes, [*column.values, self.value])

    def row(self, v: str | None) -> str:
        return self.value if v is None else v


@dataclass(frozen=True)
class MissingFlag:
    """1 if the value is missing, else 0."""

    op: ClassVar[str] = "impute.indicator"

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> MissingFlag:
        return self

    def names(self, name: str) -> list[str]:
        return [f"{name}_missing"]

    def write(self, out: Matrix, column: Value) -> None:
        out[:, 0] = column.codes < 0 if isinstance(column, Categories) else np.isnan(column)

    def row(self, v: Any) -> list[tuple[int, float]]:
        absent = v is None or (isinstance(v, float) and math.isnan(v))
        return [(0, 1.0)] if absent else []


@dataclass(frozen=True)
class FillMissing:
    """The primitive of `impute`, for one kind of lane."""

    strategy: str
    value: float | str | None
    kind: Kind
    op: ClassVar[str] = "impute"

    def learner(self) -> Learner | None:
        if self.strategy == "mean":
            return LearnMoments()
        if self.strategy == "median":
            return LearnQuantiles((0.5,), lambda found: {"value": found[0]})
        if self.strategy == "most_frequent":
            return LearnMostFrequent(self.kind)
        return None

    def bind(self, state: State) -> FillNumber | FillCategory:
        value: Any = state["mean"] if "mean" in state else state.get("value", self.value)
        return FillCategory(str(value)) if self.kind is Kind.CATEGORY else FillNumber(float(value))


@dataclass(frozen=True)
class Impute(Operation):
    """Fill missing values: with the mean, median or most frequent value of the train split,
    or with a constant `value`. `indicator` adds a column `NAME_missing` of 0 and 1."""

    strategy: Annotated[Literal["mean", "median", "most_frequent", "constant"], Field(alias="with")]
    value: float | str | bool | None = None
    indicator: bool = False
    op: ClassVar[str] = "impute"
    takes: ClassVar[tuple[Kind, ...]] = (*NUMERIC, Kind.CATEGORY)

    def check(self, where: str) -> None:
        if (self.value is not None) != (self.strategy == "constant"):
            raise ParameterError(
                "'with: constant' needs a 'value'"
                if self.value is None
                else f"'with: {self.strategy}' takes no 'value'",
                where=where,
                fix="give both 'with: constant' and 'value', or neither",
            )
        if isinstance(self.value, float):
            require(math.isfinite(self.value), where, "value", self.value, "a finite number")

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        (lane,) = lanes
        assert lane.kind is not None
        kind, value = lane.kind, self.value
        if kind is Kind.CATEGORY:
            if self.strategy in ("mean", "median"):
                raise ParameterError(
                    f"'with: {self.strategy}' does not fit '{lane.name}', which is a category",
                    where=where,
                    expected="most_frequent or constant",
                )
            if isinstance(value, bool):
                value = "true" if value else "false"
            elif isinstance(value, float):
                value = str(int(value)) if value.is_integer() else repr(value)
        else:
            require(not isinstance(value, str), where, "value", value, "a number")
            if self.strategy in ("mean", "median") or (
                isinstance(value, float) and not value.is_integer()
            ):
                kind = Kind.NUMBER
        flags = [program.emit(MissingFlag(), lanes, missing=False)] if self.indicator else []
        primitive = FillMissing(self.strategy, value, lane.kind)
        return [program.map(primitive, lanes, kind, missing=False), *flags]


# clip


@dataclass(frozen=True)
class Between:
    """Values below `lowest` become it, values above `highest` become that."""

    lowest: float
    highest: float

    def columns(self, x: Floats) -> Floats:
        x = np.where(x < self.lowest, self.lowest, x)
        return np.where(x > self.highest, self.highest, x)

    def row(self, v: float) -> float:
        if v < self.lowest:
            return self.lowest
        return self.highest if v > self.highest else v


@dataclass(frozen=True)
class Clip(Operation):
    """Limit values to `min` and `max`, or to `quantiles: [low, high]` of the train split."""

    min: float | None = None
    max: float | None = None
    quantiles: tuple[float, float] | None = None
    op: ClassVar[str] = "clip"
    takes: ClassVar[tuple[Kind, ...]] = NUMERIC

    def check(self, where: str) -> None:
        limits = [limit for limit in (self.min, self.max) if limit is not None]
        if bool(limits) == (self.quantiles is not None):
            raise ParameterError(
                "needs 'min', 'max' or both, or else 'quantiles'", where=where, fix="give one kind"
            )
        for limit in limits:
            require(math.isfinite(limit), where, "min, max", limits, "finite numbers")
        if len(limits) == 2:
            require(limits[0] <= limits[1], where, "min, max", limits, "min at most max")
        if self.quantiles is not None:
            low, high = self.quantiles
            require(
                0 <= low < high <= 1,
                where,
                "quantiles",
                [low, high],
                "two numbers from 0 to 1, the lower first",
            )

    def learner(self) -> Learner | None:
        if self.quantiles is None:
            return None
        return LearnQuantiles(self.quantiles, lambda found: {"min": found[0], "max": found[1]})

    def bind(self, state: State) -> Between:
        lowest, highest = state.get("min", self.min), state.get("max", self.max)
        return Between(
            -math.inf if lowest is None else lowest, math.inf if highest is None else highest
        )

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.map(self, lanes, Kind.NUMBER)]


# scale


@dataclass(frozen=True)
class Scaled:
    """`(x - offset) / divisor`."""

    offset: float
    divisor: float

    def columns(self, x: Floats) -> Floats:
        return (x - self.offset) / self.divisor

    def row(self, v: float) -> float:
        return (v - self.offset) / self.divisor


@dataclass(frozen=True)
class Scale(Operation):
    """Bring numbers to a common scale, by figures of the train split.

    `to: standard`: mean 0, population standard deviation 1. `min_max`: 0 to 1. `robust`:
    median 0, interquartile range 1. A constant column becomes 0.
    """

    to: Literal["standard", "min_max", "robust"] = "standard"
    op: ClassVar[str] = "scale"
    takes: ClassVar[tuple[Kind, ...]] = NUMERIC

    def learner(self) -> Learner:
        if self.to == "standard":
            return LearnMoments()
        if self.to == "min_max":
            return LearnExtremes()
        return LearnQuantiles(
            (0.25, 0.5, 0.75), lambda q: {"median": q[1], "interquartile_range": q[2] - q[0]}
        )

    def bind(self, state: State) -> Scaled:
        if self.to == "standard":
            offset, divisor = state["mean"], state["std"]
        elif self.to == "min_max":
            offset, divisor = state["min"], state["max"] - state["min"]
        else:
            offset, divisor = state["median"], state["interquartile_range"]
        return Scaled(offset, divisor or 1.0)

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.map(self, lanes, Kind.NUMBER)]


# log, log1p, sqrt


@dataclass(frozen=True)
class _Function(Operation):
    """A function of one number, defined above a bound."""

    takes: ClassVar[tuple[Kind, ...]] = NUMERIC
    above: ClassVar[float]
    bound_allowed: ClassVar[bool] = False

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> _Function:
        return self

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.map(self, lanes, Kind.NUMBER)]

    def outside(self, x: Any) -> Any:
        return x < self.above if self.bound_allowed else x <= self.above

    def columns(self, x: Floats) -> Floats:
        outside = self.outside(x)
        if outside.any():
            raise self._error(float(x[outside][0]))
        return self.of_columns(x)

    def row(self, v: float) -> float:
        if self.outside(v):
            raise self._error(v)
        return self.of_row(v)

    def _error(self, value: float) -> DomainError:
        least = "at least" if self.bound_allowed else "more than"
        return DomainError(value, f"a number of {least} {self.above:g} for {self.op}")

    def of_columns(self, x: Floats) -> Floats:
        raise NotImplementedError

    def of_row(self, v: float) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class Log(_Function):
    """The natural logarithm of numbers above 0."""

    op: ClassVar[str] = "log"
    above: ClassVar[float] = 0.0

    def of_columns(self, x: Floats) -> Floats:
        return np.asarray(portable_math.log(x))

    def of_row(self, v: float) -> float:
        return float(portable_math.log(v))


@dataclass(frozen=True)
class Log1p(_Function):
    """The natural logarithm of 1 + x, for numbers above -1."""

    op: ClassVar[str] = "log1p"
    above: ClassVar[float] = -1.0

    def of_columns(self, x: Floats) -> Floats:
        return np.asarray(portable_math.log1p(x))

    def of_row(self, v: float) -> float:
        return float(portable_math.log1p(v))


@dataclass(frozen=True)
class Sqrt(_Function):
    """The square root of numbers of at least 0."""

    op: ClassVar[str] = "sqrt"
    above: ClassVar[float] = 0.0
    bound_allowed: ClassVar[bool] = True

    def of_columns(self, x: Floats) -> Floats:
        return np.sqrt(x)

    def of_row(self, v: float) -> float:
        return math.sqrt(v)


# bucketize


@dataclass(frozen=True)
class BucketIndex:
    """The number of boundaries at or below the value."""

    boundaries: list[float]

    def columns(self, x: Floats) -> Floats:
        index = np.searchsorted(self.boundaries, x, side="right").astype(np.float64)
        missing = np.isnan(x)
        return np.where(missing, NAN, index) if missing.any() else index

    def row(self, v: float) -> float:
        return NAN if math.isnan(v) else float(bisect_right(self.boundaries, v))


@dataclass(frozen=True)
class BucketFlags:
    """One column a bucket, 1 for the bucket of the value."""

    index: BucketIndex

    def names(self, name: str) -> list[str]:
        b = [f"{boundary:.6g}" for boundary in self.index.boundaries]
        middle = [f"{name}=[{low},{high})" for low, high in itertools.pairwise(b)]
        return [f"{name}<{b[0]}", *middle, f"{name}>={b[-1]}"] if b else [f"{name}=any"]

    def write(self, out: Matrix, x: Floats) -> None:
        index = self.index.columns(x)
        missing = np.isnan(index)
        rows = np.flatnonzero(~missing)
        out[rows, index[rows].astype(np.intp)] = 1.0
        out[missing] = NAN

    def row(self, v: float) -> list[tuple[int, float]]:
        if math.isnan(v):
            return [(i, NAN) for i in range(len(self.index.boundaries) + 1)]
        return [(bisect_right(self.index.boundaries, v), 1.0)]


@dataclass(frozen=True)
class Bucketize(Operation):
    """Cut numbers into buckets at `boundaries`, or at equal shares of the train split
    (`quantiles: 4` for quartiles; equal boundaries are merged).

    Bucket i holds `boundary[i-1] <= x < boundary[i]`. `output: index` gives the bucket's
    number, `one_hot` a column a bucket.
    """

    boundaries: tuple[float, ...] | None = None
    quantiles: int | None = None
    output: Literal["index", "one_hot"] = "index"
    op: ClassVar[str] = "bucketize"
    takes: ClassVar[tuple[Kind, ...]] = NUMERIC

    def check(self, where: str) -> None:
        if (self.boundaries is None) == (self.quantiles is None):
            raise ParameterError(
                "needs 'boundaries' or 'quantiles'", where=where, fix="give one of the two"
            )
        if self.boundaries is not None:
            rising = all(low < high for low, high in itertools.pairwise(self.boundaries))
            finite = all(math.isfinite(boundary) for boundary in self.boundaries)
            require(
                bool(self.boundaries) and rising and finite,
                where,
                "boundaries",
                list(self.boundaries),
                "one or more finite numbers in rising order",
            )
        if self.quantiles is not None:
            require_between(2, self.quantiles, 1000, where, "quantiles")

    def learner(self) -> Learner | None:
        if self.quantiles is None:
            return None
        shares = [i / self.quantiles for i in range(1, self.quantiles)]
        return LearnQuantiles(shares, lambda found: {"boundaries": sorted(set(found))})

    def bind(self, state: State) -> BucketIndex | BucketFlags:
        index = BucketIndex(list(state.get("boundaries", self.boundaries or ())))
        return index if self.output == "index" else BucketFlags(index)

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        if self.output == "index":
            return [program.map(self, lanes, Kind.INDEX)]
        return [program.emit(self, lanes)]


# polynomial


@dataclass(frozen=True)
class Product:
    """The product of its inputs, from left to right."""

    op: ClassVar[str] = "polynomial"

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> Product:
        return self

    def columns(self, *values: Floats) -> Floats:
        result = values[0]
        for value in values[1:]:
            result = result * value
        return result

    def row(self, *values: float) -> float:
        result = values[0]
        for value in values[1:]:
            result = result * value
        return result


@dataclass(frozen=True)
class Polynomial(Operation):
    """All products of up to `degree` of the columns, the columns themselves first;
    `interaction_only` leaves out powers. Names are `a`, `a^2`, `a*b`."""

    degree: int = 2
    interaction_only: bool = False
    op: ClassVar[str] = "polynomial"
    takes: ClassVar[tuple[Kind, ...]] = NUMERIC
    joint: ClassVar[bool] = True

    def check(self, where: str) -> None:
        require_between(2, self.degree, 4, where, "degree")

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        choose = (
            itertools.combinations
            if self.interaction_only
            else itertools.combinations_with_replacement
        )
        products = [
            program.map(Product(), factors, Kind.NUMBER, name=self._name(factors))
            for degree in range(2, self.degree + 1)
            for factors in choose(lanes, degree)
        ]
        return [*lanes, *products]

    @staticmethod
    def _name(factors: Sequence[Lane]) -> str:
        powers = [
            (name, len(list(same))) for name, same in itertools.groupby(f.name for f in factors)
        ]
        return "*".join(name if power == 1 else f"{name}^{power}" for name, power in powers)


# convert_units


@dataclass(frozen=True)
class Affine:
    """`(x * multiplier + offset) / divisor`."""

    multiplier: float
    offset: float
    divisor: float

    def columns(self, x: Floats) -> Floats:
        return (x * self.multiplier + self.offset) / self.divisor

    def row(self, v: float) -> float:
        return (v * self.multiplier + self.offset) / self.divisor


@dataclass(frozen=True)
class ConvertUnits(Operation):
    """Convert numbers from one unit `from` to another `to` of the same dimension."""

    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    op: ClassVar[str] = "convert_units"
    takes: ClassVar[tuple[Kind, ...]] = NUMERIC

    def check(self, where: str) -> None:
        for unit in (self.source, self.target):
            if unit not in UNITS:
                raise ParameterError(
                    f"unknown unit '{unit}'", where=where, fix=did_you_mean(unit, UNITS)
                )
        try:
            conversion(self.source, self.target)
        except ValueError as error:
            raise ParameterError(
                f"'{self.source}' cannot be converted to '{self.target}'",
                where=where,
                got=str(error),
                expected="two units of one dimension",
            ) from error

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> Affine:
        return Affine(*conversion(self.source, self.target))

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.map(self, lanes, Kind.NUMBER)]


# identity, cast


@dataclass(frozen=True)
class Identity(Operation):
    """The numbers unchanged: the operation of a feature without steps."""

    op: ClassVar[str] = "identity"
    takes: ClassVar[tuple[Kind, ...]] = NUMERIC

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return list(lanes)


@dataclass(frozen=True)
class TextAsNumber:
    """Categories read as numbers: decimal, `1e3`, surrounding spaces allowed."""

    def columns(self, column: Categories) -> Floats:
        table = np.array([*(self.row(value) for value in column.values), NAN])
        return table[column.codes]  # -1 is the last: missing

    def row(self, v: str | None) -> float:
        if v is None:
            return NAN
        try:
            number = float(v)
        except ValueError:
            number = math.inf
        if not math.isfinite(number):
            raise DomainError(v, "a number")
        return number


@dataclass(frozen=True)
class NumberAsText:
    """Numbers as categories: whole ones as `12`, others in the shortest exact form."""

    def columns(self, x: Floats) -> Categories:
        values, codes = np.unique(x, return_inverse=True)
        if len(values) and math.isnan(values[-1]):  # NaN sorts last
            codes = np.where(codes == len(values) - 1, -1, codes)
            values = values[:-1]
        texts = [self.row(value) for value in values.tolist()]
        return Categories(codes.astype(np.int32), texts)  # type: ignore[arg-type]

    def row(self, v: float) -> str | None:
        if math.isnan(v):
            return None
        return str(int(v)) if v.is_integer() else repr(v)


@dataclass(frozen=True)
class Cast(Operation):
    """Read texts as numbers (`to: number`) or numbers as categories (`to: category`)."""

    to: Literal["number", "category"]
    op: ClassVar[str] = "cast"
    takes: ClassVar[tuple[Kind, ...]] = (*NUMERIC, Kind.CATEGORY)

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> TextAsNumber | NumberAsText:
        return TextAsNumber() if self.to == "number" else NumberAsText()

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        (lane,) = lanes
        if (lane.kind is Kind.CATEGORY) == (self.to == "category"):
            return [lane]
        return [program.map(self, lanes, Kind.NUMBER if self.to == "number" else Kind.CATEGORY)]
