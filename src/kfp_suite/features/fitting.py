"""Fitting: a spec and the train split to a fitted transform, in bounded memory.

Passes over the split, batch by batch: operations that depend on the state of others wait
for them, so a feature of median, logarithm and scale takes two passes. The fitted state
does not depend on batches, threads or the order of rows (a user's own transformer aside).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.environment import available_cpus
from kfp_suite.contracts.errors import DataError, ParameterError, did_you_mean
from kfp_suite.features.compiled_program import outside_domain
from kfp_suite.features.defaults import default_features
from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.features.operation import (
    DomainError,
    Learner,
    NothingToLearnError,
    State,
    TooManyValuesError,
)
from kfp_suite.features.precision import check_features
from kfp_suite.features.program import EMITS, Node, Program
from kfp_suite.features.spec import FeatureSpec
from kfp_suite.features.values import COLUMN_READERS
from kfp_suite.features.vocabulary import MAX_DISTINCT

BATCH_ROWS = 65_536
MAX_OUTPUTS = 1_000_000
"""The most columns of the matrix: a row of more takes over 4 MB."""
_CHECKED_ROWS = 4096


Learn = Callable[[Program, Dataset], tuple[list[State | None], int]]
"""What fills the states of a program's nodes, and says how many rows it saw."""


def fit(
    spec: FeatureSpec,
    data: Dataset,
    label: str = "",
    exclude: Sequence[str] = (),
    learn: Learn | None = None,
) -> FittedTransform:
    """Fit `spec` on the train split of `data`.

    Args:
        spec: From `parse_features`.
        data: The dataset; no other split is read.
        label: The label column, which no feature may read.
        exclude: Further columns that no feature may read: weights, keys.
        learn: How states are learned; by default in passes over the split in this process.

    Raises:
        ParameterError: the spec does not fit the columns.
        DataError: no rows, an infinity, a null that the spec does not impute, a value
            outside an operation's domain; naming the column.
    """
    columns = data.manifest.columns
    names = [column.name for column in columns]
    if label and label not in names:
        raise ParameterError(f"no column '{label}'", where="label", fix=did_you_mean(label, names))
    exclude = (*spec.exclude, *exclude)
    known = set(names)
    for name in exclude:
        if name not in known:
            raise ParameterError(
                f"no column '{name}'", where="exclude", fix=did_you_mean(name, names)
            )
    features = spec.features
    if spec.others == "auto":
        named = {label, *exclude} | {name for feature in features for name in feature.columns}
        rest = [c for c in columns if c.name not in named]
        features += default_features(data, rest)
    if not features:
        raise ParameterError(
            "no features", where="features", fix="name some, or give 'others: auto'"
        )
    program = Program(features, columns, label=label, exclude=exclude)
    states, rows = (learn or _learn)(program, data)
    fitted = FittedTransform(program, states, label, rows)
    _check_outputs(fitted)
    _check_precision(fitted, data)
    return fitted


def _check_outputs(fitted: FittedTransform) -> None:
    if len(fitted.output_names) <= MAX_OUTPUTS:
        return
    widths = [len(names) for names in fitted.outputs_by_feature()]
    largest = max(range(len(widths)), key=widths.__getitem__)
    raise ParameterError(
        "the features give too many columns",
        where="features",
        got=f"{sum(widths):,}; features[{largest}] alone gives {widths[largest]:,}",
        expected=f"at most {MAX_OUTPUTS:,} in all",
        fix="take fewer buckets or max_categories, or output: index for trees",
    )


def _check_precision(fitted: FittedTransform, data: Dataset) -> None:
    """Refuse features that 32-bit floats blur. All of train is read only if its first rows,
    which may be alike because they are sorted, lose too much."""
    inputs = [field.name for field in fitted.inputs]
    try:
        check_features([fitted.numbers_in_64_bits(data.head("train", _CHECKED_ROWS, inputs))])
    except DataError:
        tables = (
            pa.Table.from_batches([batch])
            for batch in data.batches("train", inputs, BATCH_ROWS)
            if batch.num_rows
        )
        check_features(fitted.numbers_in_64_bits(table) for table in tables)


class Learning:
    """Which nodes of a program have learned, and which can learn now: those whose inputs
    rest on nothing that has yet to be learned."""

    def __init__(self, program: Program) -> None:
        self.states: list[State | None] = [None] * len(program.nodes)
        self.bound: dict[int, Any] = {}
        self.learners: dict[int, Learner] = {}
        self.producer = {
            node.output: i for i, node in enumerate(program.nodes) if node.output != EMITS
        }
        self._program = program
        for i, node in enumerate(program.nodes):
            learner = node.primitive.learner()
            if learner is None:
                self.bound[i] = node.primitive.bind({})
            else:
                self.learners[i] = learner

    def ready(self) -> list[int]:
        """The nodes that can learn now."""
        return [i for i in self.learners if self._is_ready(self._program.nodes[i])]

    def _is_ready(self, node: Node) -> bool:
        above = [self.producer[r] for r in node.inputs if r in self.producer]
        return all(i in self.bound and self._is_ready(self._program.nodes[i]) for i in above)

    def learned(self, i: int, state: State) -> None:
        """Keep the state of node `i`."""
        self.states[i] = state
        self.bound[i] = self._program.nodes[i].primitive.bind(state)
        del self.learners[i]


def _learn(program: Program, data: Dataset) -> tuple[list[State | None], int]:
    learning = Learning(program)
    rows = 0
    first = True
    while first or learning.learners:
        now = {i: learning.learners[i] for i in learning.ready()}
        seen = _Pass(program, learning.bound, learning.producer, now, check=first).run(data)
        if first:
            rows = seen
            if not rows:
                raise no_rows()
        for i, learner in now.items():
            state = _finish(program.nodes[i], learner)
            if state is not None:
                learning.learned(i, state)
        first = False
    return learning.states, rows


def no_rows() -> DataError:
    """The error of an empty train split."""
    return DataError("no rows to fit the features on", where="split 'train'")


class _Pass:
    """One pass over the split: feeds the learners that are ready."""

    def __init__(
        self,
        program: Program,
        bound: dict[int, Any],
        producer: dict[int, int],
        learners: dict[int, Learner],
        *,
        check: bool,
    ) -> None:
        self._program, self._bound, self._producer = program, bound, producer
        self._nullable = {column.name: nullable for column, nullable in program.inputs}
        self._check = check
        needed = {c for i in learners for c in program.nodes[i].columns}
        self._columns = [c for c in self._nullable if check or c in needed]
        reading = set(self._columns)
        self._reads = [r for r in program.reads if r.column.name in reading]
        self._by_feature: dict[int, list[tuple[Node, Learner]]] = {}
        for i, learner in learners.items():
            node = program.nodes[i]
            self._by_feature.setdefault(node.feature, []).append((node, learner))

    def run(self, data: Dataset) -> int:
        """The number of rows seen."""
        rows = 0
        with ThreadPoolExecutor(available_cpus()) as pool:
            for batch in data.batches("train", self._columns, BATCH_ROWS):
                if not batch.num_rows:
                    continue
                work = [self._reader(batch, read) for read in self._reads]
                registers = dict(self._each(pool, work, batch.num_rows))
                self._each(
                    pool, [self._feeder(f, registers) for f in self._by_feature], batch.num_rows
                )
                rows += batch.num_rows
        return rows

    @staticmethod
    def _each(pool: ThreadPoolExecutor, work: list[Callable[[], Any]], rows: int) -> list[Any]:
        if rows < 4096:
            return [task() for task in work]
        return list(pool.map(lambda task: task(), work))

    def _reader(self, batch: pa.RecordBatch, read: Any) -> Callable[[], tuple[int, Any]]:
        def task() -> tuple[int, Any]:
            array = batch.column(read.column.name)
            if self._check:
                _check_column(read.column.name, array, self._nullable[read.column.name])
            return read.register, COLUMN_READERS[read.kind](array)

        return task

    def _feeder(self, feature: int, columns: dict[int, Any]) -> Callable[[], None]:
        def task() -> None:
            own: dict[int, Any] = {}  # not a copy of `columns`: there is a feeder a feature
            with np.errstate(all="ignore"):
                for node, learner in self._by_feature[feature]:
                    values = [self._value(register, own, columns) for register in node.inputs]
                    try:
                        learner.update(*values)
                    except TooManyValuesError as error:
                        raise _too_many(node) from error

        return task

    def _value(self, register: int, own: dict[int, Any], columns: dict[int, Any]) -> Any:
        if register in columns:
            return columns[register]
        if register not in own:
            i = self._producer[register]
            node = self._program.nodes[i]
            values = [self._value(r, own, columns) for r in node.inputs]
            try:
                own[register] = self._bound[i].columns(*values)
            except DomainError as error:
                raise outside_domain(node, error) from error
        return own[register]


def _check_column(name: str, array: pa.Array, nullable: bool) -> None:
    floats = pa.types.is_floating(array.type)
    numbers = array.to_numpy(zero_copy_only=False) if floats else None
    if numbers is not None and np.isinf(numbers).any():
        raise DataError(
            "the train split holds an infinity",
            where=f"column '{name}'",
            got=float(numbers[np.isinf(numbers)][0]),
            expected="finite numbers",
            fix="correct it in the SQL of ingest: CASE WHEN isfinite(x) THEN x END",
        )
    if nullable:
        return
    if array.null_count or (numbers is not None and np.isnan(numbers).any()):
        raise DataError(
            "the train split holds a missing value, which the features do not handle",
            where=f"column '{name}'",
            got="null" if array.null_count else "NaN",
            fix="impute the column, or set keep_missing for an estimator that takes NaN",
        )


def _finish(node: Node, learner: Learner) -> State | None:
    try:
        return learner.finish()
    except NothingToLearnError as error:
        raise nothing_to_learn(node) from error
    except TooManyValuesError as error:
        raise _too_many(node) from error


def nothing_to_learn(node: Node) -> DataError:
    """The error of a column that is all missing."""
    return DataError(
        f"'{node.primitive.op}' has nothing to learn from: every value of train is missing",
        where=f"column '{node.columns[0]}'",
        fix="leave the column out of the features",
    )


def _too_many(node: Node) -> DataError:
    return DataError(
        f"too many distinct values for '{node.primitive.op}'",
        where=f"column '{node.columns[0]}'",
        expected=f"at most {MAX_DISTINCT:,}",
        fix="use hash (or ngrams with buckets), or bucketize",
    )
