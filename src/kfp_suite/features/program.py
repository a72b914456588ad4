"""A spec resolved against the columns of a dataset: registers, in order of computation.

Registers are filled by reading columns and by primitives that map values to values;
other primitives, and the numbers left at a feature's end, become columns of the matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

from kfp_suite.contracts.columns import Column, ColumnType
from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.features.numeric import Cast, Impute
from kfp_suite.features.operation import Lane, Operation, Primitive
from kfp_suite.features.spec import Feature
from kfp_suite.features.values import AS_CATEGORY, NATURAL_KIND, NUMERIC, Kind

EMITS = -1
"""The output register of a primitive whose output is columns of the matrix."""


@dataclass(frozen=True)
class Read:
    """Fill `register` with `column`, read as `kind`."""

    register: int
    column: Column
    kind: Kind


@dataclass(frozen=True)
class Node:
    """A primitive between registers, as part of the feature with that number.

    `columns` are the raw columns it depends on, `lane` its output's name.
    """

    primitive: Primitive
    inputs: tuple[int, ...]
    output: int
    lane: str
    feature: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Output:
    """Columns of the matrix: the output of node `node`, or the number in `register`."""

    feature: int
    name: str
    node: int | None = None
    register: int | None = None


class Program:
    """The reads, nodes and outputs of a list of features.

    Raises:
        ParameterError: an unknown column, the label as a feature, an operation that does
            not fit; naming the entry.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        columns: Iterable[Column],
        *,
        label: str = "",
        exclude: Sequence[str] = (),
        where: str = "features",
    ) -> None:
        self.features = tuple(features)
        self.reads: list[Read] = []
        self._read_by: dict[tuple[Column, Kind], Read] = {}
        self.nodes: list[Node] = []
        self.outputs: list[Output] = []
        self._types = {column.name: column.type for column in columns}
        self._registers: list[tuple[str, ...]] = []  # the raw columns behind each
        self._feature = 0
        self.joint_name: str | None = None
        self._needs_values: set[str] = set()
        excluded = frozenset(exclude)
        for i, feature in enumerate(self.features):
            self._feature = i
            self.joint_name = feature.name
            self._add(feature, label, excluded, f"{where}[{i}]")

    @property
    def registers(self) -> int:
        """How many registers there are."""
        return len(self._registers)

    @property
    def inputs(self) -> list[tuple[Column, bool]]:
        """The raw columns read, in order, and whether each may be null."""
        columns = dict.fromkeys(read.column for read in self.reads)
        return [(column, column.name not in self._needs_values) for column in columns]

    def map(
        self,
        primitive: Primitive,
        lanes: Sequence[Lane],
        kind: Kind,
        *,
        name: str | None = None,
        missing: bool | None = None,
    ) -> Lane:
        """Add a primitive whose output is a value (see `operation.Builder`)."""
        lane = _join_lanes(lanes, kind, name, missing)
        lane = replace(lane, register=self._new_register(self._columns_of(lanes)))
        self._add_node(primitive, lanes, lane)
        return lane

    def emit(
        self,
        primitive: Primitive,
        lanes: Sequence[Lane],
        *,
        name: str | None = None,
        missing: bool | None = None,
    ) -> Lane:
        """Add a primitive whose output is columns (see `operation.Builder`)."""
        lane = _join_lanes(lanes, None, name, missing)
        self._add_node(primitive, lanes, lane)
        # A finished lane lies in no register: its number is that of its node.
        return replace(lane, register=len(self.nodes) - 1)

    def _add_node(self, primitive: Primitive, lanes: Sequence[Lane], output: Lane) -> None:
        self.nodes.append(
            Node(
                primitive,
                tuple(lane.register for lane in lanes),
                EMITS if output.kind is None else output.register,
                output.name,
                self._feature,
                self._columns_of(lanes),
            )
        )

    def _columns_of(self, lanes: Sequence[Lane]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c for lane in lanes for c in self._registers[lane.register]))

    def _new_register(self, columns: tuple[str, ...]) -> int:
        self._registers.append(columns)
        return len(self._registers) - 1

    def _add(self, feature: Feature, label: str, exclude: Set[str], where: str) -> None:
        lanes = [self._read(name, feature, label, exclude, where) for name in feature.columns]
        for i, step in enumerate(feature.steps):
            at = f"{where}.steps[{i}]" if len(feature.steps) > 1 else where
            lanes = self._step(step, lanes, at)
        for lane in lanes:
            if lane.kind is None:
                self.outputs.append(Output(self._feature, lane.name, node=lane.register))
            elif lane.kind in NUMERIC:
                self.outputs.append(Output(self._feature, lane.name, register=lane.register))
            else:
                raise ParameterError(
                    f"'{lane.name}' is not a number in the end, but a {_KIND_NAMES[lane.kind]}",
                    where=where,
                    fix=f"add a step such as {_ENDINGS[lane.kind]}",
                )
        if not feature.keep_missing and any(lane.missing for lane in lanes):
            self._needs_values.update(feature.columns)

    def _read(self, name: str, feature: Feature, label: str, exclude: Set[str], where: str) -> Lane:
        if name == label:
            raise ParameterError(
                f"column '{name}' is the label", where=where, fix="leave it out of the features"
            )
        if name not in self._types:
            raise ParameterError(
                f"unknown column '{name}'",
                where=where,
                fix=did_you_mean(name, [c for c in self._types if c != label]),
            )
        if name in exclude:
            raise ParameterError(
                f"column '{name}' is excluded from the features",
                where=where,
                fix="leave it out of the features, or out of the excluded columns",
            )
        column = Column(name, self._types[name])
        kind = _reading(column.type, feature.steps)
        read = self._read_by.get((column, kind))
        if read is None:
            read = Read(self._new_register((name,)), column, kind)
            self._read_by[column, kind] = read
            self.reads.append(read)
        called = feature.name if len(feature.columns) == 1 else None
        return Lane(read.register, called or name, kind, missing=True)

    def _step(self, step: Operation, lanes: list[Lane], where: str) -> list[Lane]:
        if all(lane.kind is None for lane in lanes):
            raise ParameterError(
                f"op '{step.op}' comes after the end",
                where=where,
                fix="remove it, or put it before the step that makes the final columns",
            )
        fitting = [
            lane if lane.kind is None else self._fitting(step, lane, where) for lane in lanes
        ]
        if step.joint:
            finished = [lane for lane in fitting if lane.kind is None]
            return [*finished, *step.build(self, [lane for lane in fitting if lane.kind], where)]
        return [
            out
            for lane in fitting
            for out in ([lane] if lane.kind is None else step.build(self, [lane], where))
        ]

    def _fitting(self, step: Operation, lane: Lane, where: str) -> Lane:
        assert lane.kind is not None
        if lane.kind in step.takes:
            return lane
        if lane.kind is Kind.INDEX and Kind.CATEGORY in step.takes:
            return self.map(Cast(to="category"), [lane], Kind.CATEGORY)
        column = self._registers[lane.register][0]
        raw = lane.name in self._types
        raise ParameterError(
            f"op '{step.op}' does not fit '{lane.name}'",
            where=where,
            got=f"a column of type {self._types[column]}" if raw else f"a {_KIND_NAMES[lane.kind]}",
            expected=" or ".join(dict.fromkeys(_KIND_NAMES[kind] for kind in step.takes)),
            fix=_HINTS.get((lane.kind, step.takes[0])),
        )


_KIND_NAMES = {
    Kind.NUMBER: "number",
    Kind.INDEX: "number",
    Kind.CATEGORY: "category",
    Kind.TIME: "date or time",
}
_ENDINGS = {
    Kind.CATEGORY: "one_hot, ordinal or hash",
    Kind.TIME: "cyclic or date_parts",
}
_HINTS = {
    (Kind.NUMBER, Kind.CATEGORY): "bucketize it first, or cast it to a category",
    (Kind.CATEGORY, Kind.NUMBER): "use one_hot, ordinal or hash, or cast it to a number",
    (Kind.TIME, Kind.NUMBER): "use cyclic, or take date_parts first",
    (Kind.TIME, Kind.CATEGORY): "use cyclic, or take date_parts first",
}


def _join_lanes(
    lanes: Sequence[Lane], kind: Kind | None, name: str | None, missing: bool | None
) -> Lane:
    return Lane(
        lanes[0].register,
        lanes[0].name if name is None else name,
        kind,
        any(lane.missing for lane in lanes) if missing is None else missing,
    )


def _reading(type_: ColumnType, steps: Sequence[Operation]) -> Kind:
    """How a column is read: as a category if the first step (imputing aside) needs one."""
    natural = NATURAL_KIND[type_]
    if type_ not in AS_CATEGORY:
        return natural
    for step in steps:
        if isinstance(step, Impute):
            continue
        to_category = isinstance(step, Cast) and step.to == "category"
        if to_category or (natural not in step.takes and Kind.CATEGORY in step.takes):
            return Kind.CATEGORY
        break
    return natural
