"""A program bound to its states: raw columns in, a matrix out; by columns or row by row."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_suite.contracts.environment import available_cpus
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.tables import ARROW_TYPES
from kfp_suite.features.operation import DomainError
from kfp_suite.features.program import EMITS, Node, Program
from kfp_suite.features.values import COLUMN_READERS, Matrix, row_reader

BLOCK_ROWS = 8192
"""Rows transformed at a time: what a block needs stays in the processor's cache."""
PARALLEL_ROWS = 4 * BLOCK_ROWS
"""Fewer rows than this are not worth a second thread."""
ROWS_BY_ROW = 12
"""Up to this many rows are transformed one by one, which is faster for so few."""


class BoundProgram:
    """`bound` holds the `Map` or `Emit` of each node of `program`."""

    def __init__(self, program: Program, bound: Sequence[Any]) -> None:
        self.program = program
        self.names: list[str] = []
        self.features: list[int] = []
        """The feature that each output column belongs to."""
        self.emits: list[tuple[Node, Any, int, int]] = []
        """Nodes that write the columns from a place up to another."""
        self.numbers: list[tuple[int, int]] = []
        """Registers that are columns themselves, and their places."""
        for output in program.outputs:
            start = len(self.names)
            if output.node is None:
                assert output.register is not None
                self.names.append(output.name)
                self.numbers.append((output.register, start))
            else:
                node = program.nodes[output.node]
                self.names += bound[output.node].names(output.name)
                self.emits.append((node, bound[output.node], start, len(self.names)))
            self.features += [output.feature] * (len(self.names) - start)
        self.maps: list[tuple[Node, Any]] = [
            (node, bound[i]) for i, node in enumerate(program.nodes) if node.output != EMITS
        ]
        self.inputs = [column for column, _ in program.inputs]
        place = {column.name: i for i, column in enumerate(self.inputs)}
        self._reads = [
            (
                place[read.column.name],
                COLUMN_READERS[read.kind],
                row_reader(read.kind, ARROW_TYPES[read.column.type]),
                read.register,
            )
            for read in program.reads
        ]
        # The same, with methods looked up, for rows.
        self._row_maps = [(node, b.row, node.inputs, node.output) for node, b in self.maps]
        self._row_emits = [(node, b.row, node.inputs, start) for node, b, start, _ in self.emits]

    def transform(self, columns: Sequence[pa.ChunkedArray], rows: int) -> Matrix:
        """The matrix (rows, names) float32 for `inputs` columns of `rows` rows each.

        Raises:
            DataError: a value outside an operation's domain, naming the column.
        """
        if rows <= ROWS_BY_ROW:
            return self._by_row(columns, rows)
        out = np.zeros((rows, len(self.names)), np.float32)
        table = pa.Table.from_arrays(list(columns), names=[c.name for c in self.inputs])
        blocks = []
        start = 0
        for batch in table.to_batches(max_chunksize=BLOCK_ROWS):
            blocks.append((batch.columns, out[start : start + batch.num_rows]))
            start += batch.num_rows
        if rows < PARALLEL_ROWS:
            for arrays, part in blocks:
                self._by_columns(arrays, part)
        else:
            with ThreadPoolExecutor(available_cpus()) as pool:
                for _ in pool.map(lambda block: self._by_columns(*block), blocks):
                    pass
        return out

    def numbers_in_64_bits(self, arrays: Sequence[pa.Array]) -> dict[str, Any]:
        """The output columns that are a number each, by name, as they are before they are
        written to the matrix: float64."""
        registers = self._registers(arrays)
        return {self.names[place]: registers[register] for register, place in self.numbers}

    def _registers(self, arrays: Sequence[pa.Array]) -> list[Any]:
        registers: list[Any] = [None] * self.program.registers
        # Non-finite values are detected at the end, so warnings on the way are noise.
        with np.errstate(all="ignore"):
            for place, read, _, register in self._reads:
                registers[register] = read(arrays[place])
            try:
                for node, bound in self.maps:
                    registers[node.output] = bound.columns(*[registers[i] for i in node.inputs])
            except DomainError as error:
                raise outside_domain(node, error) from error
        return registers

    def _by_columns(self, arrays: Sequence[pa.Array], out: Matrix) -> None:
        registers = self._registers(arrays)
        with np.errstate(all="ignore"):
            try:
                for node, bound, start, stop in self.emits:
                    bound.write(out[:, start:stop], *[registers[i] for i in node.inputs])
            except DomainError as error:
                raise outside_domain(node, error) from error
            for register, place in self.numbers:
                out[:, place] = registers[register]

    def _by_row(self, columns: Sequence[pa.ChunkedArray], rows: int) -> Matrix:
        out = np.zeros((rows, len(self.names)), np.float32)
        registers: list[Any] = [None] * self.program.registers
        reads = [(columns[place], read, register) for place, _, read, register in self._reads]
        with np.errstate(all="ignore"):
            for i in range(rows):
                row = out[i]
                for column, read, register in reads:
                    registers[register] = read(column[i])
                try:
                    for node, function, inputs, output in self._row_maps:  # noqa: B007
                        registers[output] = function(*[registers[j] for j in inputs])
                    for node, function, inputs, start in self._row_emits:  # noqa: B007
                        for place, value in function(*[registers[j] for j in inputs]):
                            row[start + place] = value
                except DomainError as error:
                    raise outside_domain(node, error) from error
                for register, place in self.numbers:
                    row[place] = registers[register]
        return out


def outside_domain(node: Node, error: DomainError) -> DataError:
    """The error of a value that a node's operation is not defined for."""
    return DataError(
        f"a value is outside the domain of '{node.primitive.op}'",
        where=f"column '{node.columns[0]}'",
        got=error.value,
        expected=error.expected,
        fix="clip or correct it first",
    )
