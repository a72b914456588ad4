"""Operations on categories: one_hot, ordinal, hash and cross.

Each turns a category into a slot: a number from 0. `one_hot` output is one column a slot;
`index` output is the slot's number, for trees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.features.hashing import joined, stable_hash
from kfp_suite.features.operation import (
    Builder,
    Lane,
    Learner,
    Operation,
    State,
    require,
    require_between,
)
from kfp_suite.features.values import NAN, Categories, Floats, Kind, Matrix
from kfp_suite.features.vocabulary import Counts, add_categories

NO_SLOT = -1
"""A category outside the vocabulary, where there is no slot for those."""
MISSING = -2
"""A missing category that nothing was asked to be done about."""

MAX_SLOTS = 65_536


class Slots(ABC):
    """Categories to slots."""

    @abstractmethod
    def slot(self, value: str | None) -> int:
        """The slot of one category, `NO_SLOT` or `MISSING`."""

    @abstractmethod
    def labels(self) -> list[str]:
        """The label of each slot."""

    def of_column(self, column: Categories) -> npt.NDArray[np.int64]:
        """The slot of every row: looked up once a distinct text."""
        table = np.array([*map(self.slot, column.values), self.slot(None)], np.int64)
        return table[column.codes]  # -1 is the last: missing


@dataclass(frozen=True)
class VocabularySlots(Slots):
    """The vocabulary in order, then `oov` slots for other texts (by hash), then one for
    missing values if `missing_slot`; with `missing_zeros` those have none."""

    vocabulary: list[str]
    oov: int
    missing: str
    _index: dict[str | None, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index: dict[str | None, int] = {text: i for i, text in enumerate(self.vocabulary)}
        after = len(self.vocabulary) + self.oov
        index[None] = {"error": MISSING, "zeros": NO_SLOT}.get(self.missing, after)
        object.__setattr__(self, "_index", index)

    def slot(self, value: str | None) -> int:
        found = self._index.get(value)
        if found is not None:
            return found
        assert value is not None
        if not self.oov:
            return NO_SLOT
        return len(self.vocabulary) + (stable_hash(value) % self.oov if self.oov > 1 else 0)

    def labels(self) -> list[str]:
        others = ["<other>"] if self.oov == 1 else [f"<other {i}>" for i in range(self.oov)]
        missing = [] if self.missing in ("error", "zeros") else ["<missing>"]
        return [*self.vocabulary, *others, *missing]


@dataclass(frozen=True)
class HashSlots(Slots):
    """The remainder of the hash; `missing: bucket` hashes a missing value as its own text."""

    buckets: int
    missing: str

    def slot(self, value: str | None) -> int:
        if value is None:
            if self.missing != "bucket":
                return MISSING if self.missing == "error" else NO_SLOT
            value = joined([None])
        return stable_hash(value) % self.buckets

    def labels(self) -> list[str]:
        return [f"#{i}" for i in range(self.buckets)]


@dataclass(frozen=True)
class SlotFlags:
    """One column a slot, 1 for the slot of the category."""

    slots: Slots

    def names(self, name: str) -> list[str]:
        return [f"{name}={label}" for label in self.slots.labels()]

    def write(self, out: Matrix, column: Categories) -> None:
        slots = self.slots.of_column(column)
        rows = np.flatnonzero(slots >= 0)
        out[rows, slots[rows]] = 1.0
        if len(rows) < len(slots):
            out[slots == MISSING] = NAN

    def row(self, v: str | None) -> list[tuple[int, float]]:
        slot = self.slots.slot(v)
        if slot >= 0:
            return [(slot, 1.0)]
        return [] if slot == NO_SLOT else [(i, NAN) for i in range(len(self.slots.labels()))]


@dataclass(frozen=True)
class SlotIndex:
    """The slot's number: -1 without a slot."""

    slots: Slots

    def columns(self, column: Categories) -> Floats:
        slots = self.slots.of_column(column)
        return np.where(slots == MISSING, NAN, slots)

    def row(self, v: str | None) -> float:
        slot = self.slots.slot(v)
        return NAN if slot == MISSING else float(slot)


class LearnVocabulary:
    """The texts by falling count, then by code point."""

    def __init__(self, min_count: int, max_size: int) -> None:
        self.min_count, self.max_size = min_count, max_size
        self._counts: Counts[str] = Counts()

    def update(self, column: Categories) -> None:
        add_categories(self._counts, column)

    def finish(self) -> State:
        return {"vocabulary": self._counts.ranked(self.min_count, self.max_size)}


@dataclass(frozen=True)
class _WithVocabulary(Operation):
    """Base of one_hot and ordinal: a vocabulary, given or learned."""

    takes: ClassVar[tuple[Kind, ...]] = (Kind.CATEGORY,)
    max_categories: int = 1000
    min_count: int = 1
    vocabulary: tuple[str, ...] | None = None
    oov: int = 0
    missing: str = "error"

    def check(self, where: str) -> None:
        require_between(1, self.max_categories, MAX_SLOTS, where, "max_categories")
        require(self.min_count >= 1, where, "min_count", self.min_count, "1 or more")
        require_between(0, self.oov, MAX_SLOTS, where, "oov")
        if self.vocabulary is not None:
            if self.min_count != 1 or len(self.vocabulary) > self.max_categories:
                raise ParameterError(
                    "'vocabulary' is given, so it is not learned",
                    where=where,
                    fix="leave out 'min_count' and 'max_categories'",
                )
            repeated = [text for text, count in Counter(self.vocabulary).items() if count > 1]
            require(
                bool(self.vocabulary) and not repeated,
                where,
                "vocabulary",
                repeated or list(self.vocabulary),
                "one or more texts, each once",
            )

    def learner(self) -> Learner | None:
        if self.vocabulary is not None:
            return None
        return LearnVocabulary(self.min_count, self.max_categories)

    def slots(self, state: State) -> VocabularySlots:
        return VocabularySlots(
            list(state.get("vocabulary", self.vocabulary or ())), self.oov, self.missing
        )


@dataclass(frozen=True)
class OneHot(_WithVocabulary):
    """One column a category: the `max_categories` most frequent of the train split with at
    least `min_count` rows, or the `vocabulary` given.

    Other texts go to `oov` further columns (by hash if there are several), or are all
    zeros. `missing`: `error`, `indicator` (a column of its own) or `zeros`.
    """

    missing: Literal["error", "indicator", "zeros"] = "error"
    op: ClassVar[str] = "one_hot"

    def bind(self, state: State) -> SlotFlags:
        return SlotFlags(self.slots(state))

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.emit(self, lanes, missing=lanes[0].missing and self.missing == "error")]


@dataclass(frozen=True)
class Ordinal(_WithVocabulary):
    """The category's place in the vocabulary, 0 for the most frequent: for trees.

    Other texts follow in `oov` places (-1 if `oov` is 0). `missing`: `error` or `index`
    (the place after those).
    """

    oov: int = 1
    missing: Literal["error", "index"] = "error"
    op: ClassVar[str] = "ordinal"

    def bind(self, state: State) -> SlotIndex:
        return SlotIndex(self.slots(state))

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        missing = lanes[0].missing and self.missing == "error"
        return [program.map(self, lanes, Kind.INDEX, missing=missing)]


@dataclass(frozen=True)
class Hash(Operation):
    """The category's hash (see `hashing`) in `buckets`; nothing is learned.

    `missing`: `error`, `bucket` (hashed as a text of its own) or `zeros`.
    """

    buckets: int
    output: Literal["one_hot", "index"] = "one_hot"
    missing: Literal["error", "bucket", "zeros"] = "error"
    op: ClassVar[str] = "hash"
    takes: ClassVar[tuple[Kind, ...]] = (Kind.CATEGORY,)

    def check(self, where: str) -> None:
        require(2 <= self.buckets <= MAX_SLOTS, where, "buckets", self.buckets, f"2 to {MAX_SLOTS}")

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> SlotFlags | SlotIndex:
        slots = HashSlots(self.buckets, self.missing)
        return SlotFlags(slots) if self.output == "one_hot" else SlotIndex(slots)

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        missing = lanes[0].missing and self.missing == "error"
        if self.output == "one_hot":
            return [program.emit(self, lanes, missing=missing)]
        return [program.map(self, lanes, Kind.INDEX, missing=missing)]


@dataclass(frozen=True)
class Joined:
    """One category from several; missing if any of them is, unless `keep_missing`."""

    keep_missing: bool
    op: ClassVar[str] = "cross.join"

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> Joined:
        return self

    def columns(self, *columns: Categories) -> Categories:
        codes = columns[0].codes.astype(np.int64) + 1
        combinations: list[tuple[str | None, ...]] = [
            (value,) for value in (None, *columns[0].values)
        ]
        for column in columns[1:]:
            choices = (None, *column.values)
            codes = codes * len(choices) + (column.codes + 1)
            found, codes = _distinct(codes, len(combinations) * len(choices))
            combinations = [
                (*combinations[both // len(choices)], choices[both % len(choices)])
                for both in found.tolist()
            ]
        texts = [self.row(*combination) for combination in combinations]
        absent = [i for i, text in enumerate(texts) if text is None]
        if absent:
            codes = np.where(np.isin(codes, absent), -1, codes)
        return Categories(codes.astype(np.int32), [text or "" for text in texts])

    def row(self, *values: str | None) -> str | None:
        if None in values and not self.keep_missing:
            return None
        return joined(values)


def _distinct(
    codes: npt.NDArray[np.int64], limit: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct codes, all below `limit`, and each row's place among them."""
    if limit > MAX_SLOTS:
        found, places = np.unique(codes, return_inverse=True)
        return found, places.astype(np.int64)
    found = np.flatnonzero(np.bincount(codes, minlength=limit))
    table = np.zeros(limit, np.int64)
    table[found] = np.arange(len(found))
    return found, table[codes]


@dataclass(frozen=True)
class Cross(Operation):
    """The combination of two to five categories, hashed into `buckets`.

    `missing`: `error`, `bucket` (missing is a category like others) or `zeros`.
    """

    buckets: int
    output: Literal["one_hot", "index"] = "one_hot"
    missing: Literal["error", "bucket", "zeros"] = "error"
    op: ClassVar[str] = "cross"
    takes: ClassVar[tuple[Kind, ...]] = (Kind.CATEGORY,)
    joint: ClassVar[bool] = True

    def check(self, where: str) -> None:
        Hash(self.buckets).check(where)

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        if not 2 <= len(lanes) <= 5:
            raise ParameterError(
                "'cross' needs two to five columns",
                where=where,
                got=len(lanes),
                fix="give them as 'columns: [a, b]'",
            )
        both = program.map(
            Joined(self.missing == "bucket"),
            lanes,
            Kind.CATEGORY,
            name=program.joint_name or "*".join(lane.name for lane in lanes),
            missing=any(lane.missing for lane in lanes) and self.missing != "bucket",
        )
        return Hash(self.buckets, self.output, self.missing).build(program, [both], where)
