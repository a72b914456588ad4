"""The operations on free text: ngrams and tokens."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.features.categorical import MAX_SLOTS
from kfp_suite.features.hashing import stable_hash
from kfp_suite.features.operation import (
    Builder,
    Lane,
    Learner,
    Operation,
    State,
    require,
    require_between,
)
from kfp_suite.features.portable_math import log
from kfp_suite.features.values import NAN, Categories, Kind, Matrix
from kfp_suite.features.vocabulary import Counts

_WORD = re.compile(r"\w+")

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
"""What the numbers of `tokens` begin with."""


def ngrams_of(text: str, spec: Ngrams) -> list[str]:
    """The n-grams of the first `max_tokens` words (or characters) of `text`."""
    if spec.lowercase:
        text = text.lower()
    if spec.analyzer == "word":
        tokens, glue = _WORD.findall(text)[: spec.max_tokens], " "
    else:
        tokens, glue = list(text[: spec.max_tokens]), ""
    shortest, longest = spec.n
    return [
        glue.join(tokens[i : i + n])
        for n in range(shortest, longest + 1)
        for i in range(len(tokens) - n + 1)
    ]


class LearnNgrams:
    """How many texts hold each n-gram (or bucket), among how many texts."""

    def __init__(self, spec: Ngrams) -> None:
        self.spec = spec
        self._texts = 0
        self._counts: Counts[str] = Counts()
        self._buckets: Counter[int] = Counter()

    def update(self, column: Categories) -> None:
        rows = np.bincount(column.codes + 1, minlength=len(column.values) + 1)[1:].tolist()
        self._texts += sum(rows)
        for text, count in zip(column.values, rows, strict=True):
            grams = set(ngrams_of(text, self.spec))
            if self.spec.buckets is None:
                self._counts.add(grams, [count] * len(grams))
            else:
                for bucket in {stable_hash(gram) % self.spec.buckets for gram in grams}:
                    self._buckets[bucket] += count

    def finish(self) -> State:
        if self.spec.buckets is not None:
            documents = [self._buckets[i] for i in range(self.spec.buckets)]
            return {"documents": documents, "texts": self._texts}
        vocabulary = self._counts.ranked(self.spec.min_count, self.spec.max_features)
        return {
            "vocabulary": vocabulary,
            "documents": [self._counts[gram] for gram in vocabulary],
            "texts": self._texts,
        }


class NgramColumns:
    """One column an n-gram of the vocabulary, or one a bucket."""

    def __init__(self, spec: Ngrams, state: State) -> None:
        self.spec = spec
        self.vocabulary: list[str] = state.get("vocabulary", [])
        self.width = spec.buckets or len(self.vocabulary)
        self._place: Callable[[str], int | None]
        if spec.buckets is None:
            self._place = {gram: i for i, gram in enumerate(self.vocabulary)}.get
        else:
            buckets = spec.buckets
            self._place = lambda gram: stable_hash(gram) % buckets
        self.weights: list[float] | None = None
        if spec.weight == "tfidf":
            texts = 1 + state["texts"]
            self.weights = [log(texts / (1 + count)) + 1.0 for count in state["documents"]]

    def names(self, name: str) -> list[str]:
        return [f"{name}:{label}" for label in self.vocabulary or map(str, range(self.width))]

    def row(self, v: str | None) -> list[tuple[int, float]]:
        if v is None:
            if self.spec.missing == "empty":
                return []
            return [(i, NAN) for i in range(self.width)]
        counts: Counter[int] = Counter()
        for gram in ngrams_of(v, self.spec):
            place = self._place(gram)
            if place is not None:
                counts[place] += 1
        places = sorted(counts)
        values = [1.0 if self.spec.weight == "binary" else float(counts[i]) for i in places]
        if self.weights is not None:
            values = [value * self.weights[i] for i, value in zip(places, values, strict=True)]
            length = 0.0
            for value in values:
                length += value * value
            values = [value / math.sqrt(length) for value in values]
        return list(zip(places, values, strict=True))

    def write(self, out: Matrix, column: Categories) -> None:
        order = np.argsort(column.codes, kind="stable")
        starts = np.searchsorted(column.codes[order], np.arange(-1, len(column.values) + 1))
        for i, text in enumerate((None, *column.values)):
            rows = order[starts[i] : starts[i + 1]]
            if len(rows):
                for place, value in self.row(text):
                    out[rows, place] = value


@dataclass(frozen=True)
class Ngrams(Operation):
    """Counts of n-grams of a text: of words (runs of letters, digits and `_`) or characters.

    `n: [shortest, longest]`. Either the `max_features` n-grams found in most texts of the
    train split (at least `min_count` of them), or hashed into `buckets`. `weight`: `count`,
    `binary`, or `tfidf`: count * (ln((1 + texts) / (1 + texts with it)) + 1), each row
    scaled to length 1. Only the first `max_tokens` words or characters of a text are read.
    `missing`: `error` or `empty` (as a text without words).
    """

    analyzer: Literal["word", "char"] = "word"
    n: tuple[int, int] = (1, 1)
    max_features: int = 1000
    min_count: int = 1
    buckets: int | None = None
    weight: Literal["count", "binary", "tfidf"] = "count"
    lowercase: bool = True
    max_tokens: int = 1000
    missing: Literal["error", "empty"] = "error"
    op: ClassVar[str] = "ngrams"
    takes: ClassVar[tuple[Kind, ...]] = (Kind.CATEGORY,)

    def check(self, where: str) -> None:
        shortest, longest = self.n
        require(1 <= shortest <= longest <= 8, where, "n", [shortest, longest], "1 to 8, in order")
        require(
            1 <= self.max_features <= MAX_SLOTS,
            where,
            "max_features",
            self.max_features,
            f"1 to {MAX_SLOTS}",
        )
        require(self.min_count >= 1, where, "min_count", self.min_count, "1 or more")
        require(
            1 <= self.max_tokens <= 100_000, where, "max_tokens", self.max_tokens, "1 to 100000"
        )
        if self.buckets is not None:
            require(
                2 <= self.buckets <= MAX_SLOTS,
                where,
                "buckets",
                self.buckets,
                f"2 to {MAX_SLOTS}",
            )
            if self.min_count != 1 or self.max_features != 1000:
                raise ParameterError(
                    "'buckets' hash every n-gram",
                    where=where,
                    fix="leave out 'min_count' and 'max_features'",
                )

    def learner(self) -> Learner | None:
        if self.buckets is not None and self.weight != "tfidf":
            return None
        return LearnNgrams(self)

    def bind(self, state: State) -> NgramColumns:
        return NgramColumns(self, state)

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.emit(self, lanes, missing=lanes[0].missing and self.missing == "error")]


@dataclass(frozen=True)
class TokenIds:
    """The words of a text as numbers, one column a place."""

    spec: Tokens
    vocabulary: list[str]
    _place: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        place = {word: FIRST_WORD + i for i, word in enumerate(self.vocabulary)}
        object.__setattr__(self, "_place", place)

    def names(self, name: str) -> list[str]:
        return [f"{name}[{i}]" for i in range(self.spec.length)]

    def write(self, out: Matrix, column: Categories) -> None:
        table = np.zeros((len(column.values) + 1, self.spec.length), np.float32)
        for i, text in enumerate((*column.values, None)):
            for place, value in self.row(text):
                table[i, place] = value
        out[:] = table[column.codes]  # -1 is the last: missing

    def row(self, v: str | None) -> list[tuple[int, float]]:
        if v is None:
            empty = self.spec.missing == "empty"
            return [] if empty else [(i, NAN) for i in range(self.spec.length)]
        words = ngrams_of(v, self.spec.as_ngrams())
        return [(i, float(self._place.get(word, UNKNOWN))) for i, word in enumerate(words)]


@dataclass(frozen=True)
class Tokens(Operation):
    """The first `length` words of a text as numbers, for embeddings: 0 pads short texts, 1
    is a word that the vocabulary lacks, 2 the most frequent word of the train split.

    Words are runs of letters, digits and `_`. The vocabulary holds the `max_words` words
    found in most texts, in at least `min_count` of them. `missing`: `error` or `empty`.
    """

    length: int = 64
    max_words: int = 10_000
    min_count: int = 1
    lowercase: bool = True
    missing: Literal["error", "empty"] = "error"
    op: ClassVar[str] = "tokens"
    takes: ClassVar[tuple[Kind, ...]] = (Kind.CATEGORY,)

    def check(self, where: str) -> None:
        require_between(1, self.length, 4096, where, "length")
        require_between(1, self.max_words, MAX_SLOTS, where, "max_words")
        require(self.min_count >= 1, where, "min_count", self.min_count, "1 or more")

    def as_ngrams(self) -> Ngrams:
        """The same words, as n-grams of one."""
        return Ngrams(
            max_features=self.max_words,
            min_count=self.min_count,
            lowercase=self.lowercase,
            max_tokens=self.length,
        )

    def learner(self) -> Learner:
        return LearnNgrams(self.as_ngrams())

    def bind(self, state: State) -> TokenIds:
        return TokenIds(self, list(state["vocabulary"]))

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.emit(self, lanes, missing=lanes[0].missing and self.missing == "error")]
