"""How rows are split: by a hash of a key, by time, or by a column; never by chance alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from pydantic import ConfigDict

from kfp_suite.components.ingest.query import SQL_TYPES
from kfp_suite.contracts.columns import Column, ColumnType
from kfp_suite.contracts.dataset import SPLITS
from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.sql import quote_name
from kfp_suite.contracts.text_values import parse_text

_FORBID = ConfigDict(extra="forbid")


class SplitRule(Protocol):
    """Gives each row one of the splits, from the row alone."""

    @property
    def expected(self) -> tuple[str, ...]:
        """The splits that must not be empty."""

    def key_columns(self, columns: tuple[Column, ...]) -> tuple[str, ...]:
        """The columns that decide, at least one."""

    def expression(self, columns: tuple[Column, ...]) -> str:
        """A SQL expression for the index of the split in `SPLITS`, or null for no split."""


@dataclass(frozen=True)
class HashSplit:
    """By MD5 of the key's text, so that rows of one key stay together, on any machine.

    Attributes:
        key: The key's columns; all columns if it is empty. Rows whose key is missing are
            rows of one key: they stay together.
        eval: The fraction of keys in eval, 0 to 1.
        test: The fraction of keys in test, 0 to 1.
        salt: Text that changes which keys go where.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    by: Literal["hash"] = "hash"
    key: tuple[str, ...] = ()
    eval: float = 0.1
    test: float = 0.1
    salt: str = ""

    def __post_init__(self) -> None:
        if min(self.eval, self.test) < 0 or self.eval + self.test >= 1:
            raise ParameterError(
                "fractions leave nothing to train on",
                where="split",
                got=f"eval {self.eval}, test {self.test}",
                expected="each at least 0, together below 1",
            )

    @property
    def expected(self) -> tuple[str, ...]:
        shares = {"train": 1.0, "eval": self.eval, "test": self.test}
        return tuple(name for name in SPLITS if shares[name] > 0)

    def key_columns(self, columns: tuple[Column, ...]) -> tuple[str, ...]:
        return self.key or tuple(c.name for c in columns)

    def expression(self, columns: tuple[Column, ...]) -> str:
        key = self.key_columns(columns)
        kinds = [_check_column(name, columns, "split.key").type for name in key]
        # Minus zero equals zero, so it is the same key.
        values = [
            f"({quote_name(name)} + 0.0)" if kind == "float64" else quote_name(name)
            for name, kind in zip(key, kinds, strict=True)
        ]
        parts = [f"coalesce('v' || {value}::VARCHAR, 'n')" for value in values]
        text = (
            f"concat_ws(chr(31), '{self.salt.replace(chr(39), chr(39) * 2)}', {', '.join(parts)})"
        )
        # Compared as hexadecimal text: it sorts as the number does, and needs no wide integer.
        train, evaluated = (_hex(1 - share) for share in (self.test + self.eval, self.test))
        return f"(md5({text}) >= '{train}')::TINYINT + (md5({text}) >= '{evaluated}')::TINYINT"


@dataclass(frozen=True)
class TimeSplit:
    """By a date or time: train before `eval_from`, test from `test_from` on.

    Attributes:
        column: A date, timestamp, int64 or float64 column.
        eval_from: The first value of eval; empty for no eval. For dates and timestamps a text
            in ISO 8601; a time with an offset is converted to UTC, as those of the data are.
        test_from: The first value of test; empty for no test.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    column: str
    by: Literal["time"] = "time"
    eval_from: str | int | float = ""
    test_from: str | int | float = ""

    @property
    def expected(self) -> tuple[str, ...]:
        given = {"train": True, "eval": self.eval_from != "", "test": self.test_from != ""}
        return tuple(name for name in SPLITS if given[name])

    def key_columns(self, columns: tuple[Column, ...]) -> tuple[str, ...]:
        return (self.column,)

    def expression(self, columns: tuple[Column, ...]) -> str:
        column = _check_column(self.column, columns, "split.column")
        if column.type not in BOUNDS:
            raise ParameterError(
                "cannot split by time",
                where="split.column",
                got=f"{column.name} ({column.type})",
                expected="a date, timestamp or number",
            )
        bounds = {
            name: _bound(f"split.{name}", value, column)
            for name, value in (("eval_from", self.eval_from), ("test_from", self.test_from))
            if value != ""
        }
        if len(bounds) == 2 and not bounds["eval_from"] < bounds["test_from"]:
            raise ParameterError(
                "eval would have no time of its own",
                where="split",
                got=f"eval_from {self.eval_from}, test_from {self.test_from}",
                expected="eval_from before test_from",
            )
        name, kind = quote_name(self.column), SQL_TYPES[column.type]
        cases = [
            f"WHEN {name} >= '{bounds[key]}'::{kind} THEN {SPLITS.index(key.removesuffix('_from'))}"
            for key in ("test_from", "eval_from")
            if key in bounds
        ]
        return f"CASE WHEN {name} IS NULL THEN NULL {' '.join(cases)} ELSE 0 END"


BOUNDS: dict[ColumnType, str] = {
    "date": 'an ISO 8601 date in quotes, such as "2024-01-31"',
    "timestamp": 'an ISO 8601 date or time in quotes, such as "2024-01-31T08:30", in UTC or '
    "with its offset",
    "int64": "a whole number",
    "float64": "a number",
}
"""The types of column that rows can be split by, and what a bound is for each."""


def _bound(where: str, value: str | int | float, column: Column) -> Any:
    """The value that `value` stands for in the column, in UTC if it is a time."""
    text = str(value)
    if isinstance(value, float) and value.is_integer() and column.type == "int64":
        text = str(int(value))  # KFP makes floats of whole numbers
    try:
        found = parse_text(text, column.type)
    except ValueError as error:
        raise ParameterError(
            f"not a bound for '{column.name}' ({column.type})",
            where=where,
            got=text,
            expected=BOUNDS[column.type],
        ) from error
    if isinstance(found, float) and not math.isfinite(found):
        raise ParameterError("not a bound", where=where, got=text, expected="a finite number")
    return found


@dataclass(frozen=True)
class ColumnSplit:
    """By a column that holds `train`, `eval` or `test`."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    column: str
    by: Literal["column"] = "column"

    @property
    def expected(self) -> tuple[str, ...]:
        return ("train",)

    def key_columns(self, columns: tuple[Column, ...]) -> tuple[str, ...]:
        return (self.column,)

    def expression(self, columns: tuple[Column, ...]) -> str:
        _check_column(self.column, columns, "split.column")
        names = ", ".join(f"'{name}'" for name in SPLITS)
        return f"list_position([{names}], {quote_name(self.column)}::VARCHAR) - 1"


_RULES: dict[str, type[HashSplit] | type[TimeSplit] | type[ColumnSplit]] = {
    "hash": HashSplit,
    "time": TimeSplit,
    "column": ColumnSplit,
}


def parse_split(split: Mapping[str, Any]) -> SplitRule:
    """The rule of the parameter `split`; an empty one is a hash of all columns.

    Raises:
        ParameterError: an unknown rule or key.
    """
    kind = split.get("by", "hash")
    if kind not in _RULES:
        raise ParameterError(
            f"unknown rule '{kind}'", where="split.by", fix=did_you_mean(str(kind), _RULES)
        )
    return parse(_RULES[kind], split, "split")


def _check_column(name: str, columns: tuple[Column, ...], where: str) -> Column:
    for column in columns:
        if column.name == name:
            return column
    raise ParameterError(
        f"no column '{name}'", where=where, fix=did_you_mean(name, [c.name for c in columns])
    )


def _hex(fraction: float) -> str:
    """The first 64 bits, in hexadecimal, of the smallest MD5 not below `fraction` of all."""
    return "g" if fraction >= 1 else f"{math.ceil(fraction * 2**64):016x}"
