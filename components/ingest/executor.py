"""Pinned sources to a split, digested Dataset."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from kfp_suite.components.ingest.bad_rows import BadRow
from kfp_suite.components.ingest.casting import canonical_query, inexact_value
from kfp_suite.components.ingest.connections import (
    check_memory_limit,
    connect,
    connect_again,
    query_errors,
    time_limit,
)
from kfp_suite.components.ingest.expected_rows import UnexpectedRowsError
from kfp_suite.components.ingest.preview import preview_page
from kfp_suite.components.ingest.query import check_query
from kfp_suite.components.ingest.reading import add_view, read_source_once
from kfp_suite.components.ingest.source_tables import add_result, store_rows, store_table
from kfp_suite.components.ingest.split_rows import read_batches, split_rows
from kfp_suite.components.ingest.splitting import SplitRule, parse_split
from kfp_suite.components.ingest.writing import write_splits
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.dataset import (
    SPLITS,
    Dataset,
    DatasetManifest,
    Split,
    dataset_digest,
    write_dataset_manifest,
)
from kfp_suite.contracts.errors import DataError, ParameterError
from kfp_suite.contracts.sources import Source
from kfp_suite.contracts.sql import quote_name
from kfp_suite.contracts.tables import columns_of
from kfp_suite.stores.sources import materialize, sources_to_json


@dataclass(frozen=True)
class IngestParameters:
    """How sources become a dataset. Everything here goes into the lineage.

    `sql` is empty for a single source as it is. `rows_per_shard` and `max_query_seconds`
    never change the digest; for `memory_limit` see the component.
    """

    sql: str = ""
    split: Mapping[str, Any] = field(default_factory=dict)
    on_bad_rows: str = "fail"
    max_bad_fraction: float = 0.0
    rows_per_shard: int = 1_000_000
    memory_limit: str = "4GB"
    max_query_seconds: int = 3600

    def __post_init__(self) -> None:
        if self.on_bad_rows not in ("fail", "quarantine"):
            raise ParameterError(
                "not allowed",
                where="on_bad_rows",
                got=self.on_bad_rows,
                expected="fail or quarantine",
            )
        if not 0 <= self.max_bad_fraction <= 1:
            raise ParameterError(
                "out of range",
                where="max_bad_fraction",
                got=self.max_bad_fraction,
                expected="0 to 1",
            )
        if self.rows_per_shard < 1:
            raise ParameterError(
                "out of range",
                where="rows_per_shard",
                got=self.rows_per_shard,
                expected="at least 1",
            )
        if not 1 <= self.max_query_seconds <= threading.TIMEOUT_MAX:
            raise ParameterError(
                "out of range",
                where="max_query_seconds",
                got=self.max_query_seconds,
                expected="at least 1",
            )
        check_memory_limit(self.memory_limit)


def ingest(
    parameters: IngestParameters, sources: Mapping[str, Source], output: Path, preview: Path
) -> Dataset:
    """Read the sources, query, split and write the Dataset artifact `output`.

    Rows have a fixed order before they are digested: that of the files for a single
    source, that of all columns (`ORDER BY ALL`) for a query. A query whose result may depend
    on the order in which it meets rows (a sum of floats, a window, `LIMIT`) runs on one
    thread, over the rows of each source in the order of all their columns.

    Args:
        parameters: What to do.
        sources: Pinned sources, by name.
        output: The folder of the dataset.
        preview: The HTML file of the preview.

    Raises:
        InputError: the sources, the query or the split are not right; nothing is written.
        IntegrityError: a source is no longer what was pinned.
    """
    split = parse_split(parameters.split)
    with whole_folder(output) as folder:
        work = folder / ".work"
        work.mkdir()
        write = _write_query if parameters.sql.strip() else _write_source
        schema, written, rejected = write(parameters, sources, split, folder, work)
        _check_splits(written, split.expected, parameters)
        shutil.rmtree(work)
        _write_quarantine(rejected, folder / "quarantine")
        columns = columns_of(schema)
        manifest = DatasetManifest(
            digest=dataset_digest(columns, written),
            columns=columns,
            splits=written,
            sources=dict(sources),
            parameters={**asdict(parameters), "sources": json.loads(sources_to_json(sources))},
            quarantined=_count(rejected),
        )
        write_dataset_manifest(folder, manifest)
    dataset = Dataset(output, manifest)
    write_file(preview, preview_page(dataset).encode())
    return dataset


def _write_source(
    parameters: IngestParameters,
    sources: Mapping[str, Source],
    split: SplitRule,
    folder: Path,
    work: Path,
) -> tuple[pa.Schema, dict[str, Split], list[BadRow]]:
    """Write the rows of the only source, in the order of its files, while they are read."""
    if len(sources) != 1:
        raise ParameterError(
            "several sources and no query",
            where="sql",
            got=", ".join(sources),
            expected="one source, or a query that joins them",
        )
    (name,) = sources
    rows = parameters.rows_per_shard
    with (
        connect(work, parameters.memory_limit) as connection,
        query_errors(f"sources.{name}", parameters.memory_limit),
    ):
        files = materialize(name, sources[name], work / name)
        rejected: list[BadRow] = []
        found = _write_expected(connection, name, sources[name], files, work, split, folder, rows)
        if found is None:
            rejected = add_view(connection, name, sources[name], files, work)
            selection, schema = canonical_query(connection, quote_name(name), ordered=False)
            found = schema, _write(connection, selection, schema, split, folder, rows)
    schema, written = found
    _check_bad_rows(parameters, rejected, sum(part.rows for part in written.values()))
    return schema, written, rejected


def _write_query(
    parameters: IngestParameters,
    sources: Mapping[str, Source],
    split: SplitRule,
    folder: Path,
    work: Path,
) -> tuple[pa.Schema, dict[str, Split], list[BadRow]]:
    """Read every source, then run the query over their rows, and write what it gives."""
    file = work / "sources.duckdb"
    rejected: list[BadRow] = []
    rows = 0
    with connect(work, parameters.memory_limit) as connection:
        query = check_query(connection, parameters.sql, list(sources))
        for name, source in sources.items():
            with query_errors(f"sources.{name}", parameters.memory_limit):
                ordered = query.depends_on_order
                files = materialize(name, source, work / name)
                stored = _store_expected(connection, name, source, files, work, file, ordered)
                if stored is None:
                    rejected += add_view(connection, name, source, files, work)
                    stored = store_table(connection, name, file, ordered=ordered)
                rows += stored
    _check_bad_rows(parameters, rejected, rows)
    with (
        connect(work, parameters.memory_limit, file) as connection,
        query_errors("sql", parameters.memory_limit),
        time_limit(connection, parameters.max_query_seconds),
    ):
        relation = add_result(connection, query)
        selection, schema = canonical_query(connection, relation, ordered=True)
        rows_per_shard = parameters.rows_per_shard
        written = _write(connection, selection, schema, split, folder, rows_per_shard)
    return schema, written, rejected


def _store_expected(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    files: list[Path],
    work: Path,
    file: Path,
    ordered: bool,
) -> int | None:
    """Store the rows of a source while they are read for the first time.

    Returns:
        How many there are; None if all rows must be looked at before they are stored.
    """
    try:
        with read_source_once(connection, name, source, files, work) as rows:
            if rows is None:
                return None
            return store_rows(connection, name, rows, file, ordered=ordered)
    except UnexpectedRowsError:
        return None


def _write_expected(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    files: list[Path],
    work: Path,
    split: SplitRule,
    folder: Path,
    rows_per_shard: int,
) -> tuple[pa.Schema, dict[str, Split]] | None:
    """Write the rows of a source while they are read for the first time.

    Returns:
        The schema and the splits; None if all rows must be looked at before they are written.
    """
    try:
        with (
            read_source_once(connection, name, source, files, work) as expected,
            connect_again(connection) as splitting,
        ):
            if expected is None:
                return None
            try:
                rows = split_rows(splitting, split, expected.schema, expected.batches)
            except ParameterError:  # the column may be of another type
                return None
            return expected.schema, write_splits(rows, expected.schema, folder, rows_per_shard)
    except UnexpectedRowsError:
        for part in SPLITS:
            shutil.rmtree(folder / part, ignore_errors=True)
        return None


def _write(
    connection: duckdb.DuckDBPyConnection,
    selection: str,
    schema: pa.Schema,
    split: SplitRule,
    folder: Path,
    rows_per_shard: int,
) -> dict[str, Split]:
    """Write the rows of `selection`."""
    try:
        with connect_again(connection) as splitting:
            batches = read_batches(connection, selection, schema)
            rows = split_rows(splitting, split, schema, batches)
            return write_splits(rows, schema, folder, rows_per_shard)
    except duckdb.Error as error:
        inexact = inexact_value(error, schema)
        if inexact is None:
            raise
        raise inexact from error


def _count(rejected: list[BadRow]) -> int:
    """As how many rows bad ones count."""
    return sum(row.rows for row in rejected)


def _check_bad_rows(parameters: IngestParameters, rejected: list[BadRow], good: int) -> None:
    """Refuse too many bad rows, among those that were read from the sources."""
    if not rejected:
        return
    first = rejected[0]
    bad = _count(rejected)
    fraction = bad / (bad + good)
    if parameters.on_bad_rows == "fail" or fraction > parameters.max_bad_fraction:
        limit = (
            "none (on_bad_rows is fail)"
            if parameters.on_bad_rows == "fail"
            else f"at most {parameters.max_bad_fraction:.2%} bad rows"
        )
        raise DataError(
            f"{first.reason} ({bad} bad rows, {fraction:.2%})",
            where=f"{first.file}:{first.line}",
            got=first.text,
            expected=limit,
            fix=first.fix,
        )


def _check_splits(
    written: Mapping[str, Any], expected: tuple[str, ...], parameters: IngestParameters
) -> None:
    empty = [name for name in expected if written[name].rows == 0]
    if empty:
        counts = ", ".join(f"{name} {s.rows}" for name, s in written.items())
        total = sum(s.rows for s in written.values())
        raise DataError(
            "no rows" if total == 0 else f"no rows in the split '{empty[0]}'",
            where="sql" if parameters.sql else "sources",
            got=counts,
            expected="at least one row in each split",
            fix="check the data" if total == 0 else "check the parameter `split`",
        )


def _write_quarantine(rejected: list[BadRow], folder: Path) -> None:
    by_source: dict[str, list[BadRow]] = {}
    for row in rejected:
        by_source.setdefault(row.source, []).append(row)
    for name, rows in by_source.items():
        folder.mkdir(exist_ok=True)
        lines = [
            json.dumps(
                {
                    "file": r.file,
                    "line": r.line,
                    "rows": r.rows,
                    "column": r.column,
                    "reason": r.reason,
                    "text": r.text,
                }
            )
            for r in rows
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
