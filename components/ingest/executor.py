"""Pinned sources to a split, digested Dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.dataset import (
    Dataset,
    DatasetManifest,
    dataset_digest,
    write_dataset_manifest,
)
from kfp_suite.components.contracts.errors import DataError, ParameterError
from kfp_suite.components.contracts.sources import Source
from kfp_suite.components.contracts.tables import columns_of
from kfp_suite.components.ingest.bad_rows import BadRow
from kfp_suite.components.ingest.preview import preview_page
from kfp_suite.components.ingest.query import canonical_query, checked_query, one_line
from kfp_suite.components.ingest.reading import add_view
from kfp_suite.components.ingest.splitting import parse_split
from kfp_suite.components.ingest.writing import write_splits
from kfp_suite.components.stores.sources import materialize, sources_to_json


@dataclass(frozen=True)
class IngestParameters:
    """How sources become a dataset. Everything here goes into the lineage.

    `sql` is empty for a single source as it is. `rows_per_shard` and `memory_limit` change
    how the work is done and how shards are cut, never the digest.
    """

    sql: str = ""
    split: Mapping[str, Any] = field(default_factory=dict)
    on_bad_rows: str = "fail"
    max_bad_fraction: float = 0.0
    rows_per_shard: int = 1_000_000
    memory_limit: str = "4GB"

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


def ingest(
    parameters: IngestParameters, sources: Mapping[str, Source], output: Path, preview: Path
) -> Dataset:
    """Read the sources, query, split and write the Dataset artifact `output`.

    Rows have a fixed order before they are digested: that of the files for a single
    source, that of all columns (`ORDER BY ALL`) for a query.

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
        connection = _connect(work, parameters.memory_limit)
        files: dict[str, list[Path]] = {}
        rejected: list[BadRow] = []
        try:
            for name, source in sources.items():
                files[name] = materialize(name, source, work / name)
                rejected += add_view(connection, name, source, files[name], work)
            query = checked_query(connection, parameters.sql, list(sources))
            _lock(connection, [f for named in files.values() for f in named], work)
            selection, schema = canonical_query(connection, query, ordered=bool(parameters.sql))
            written = write_splits(
                connection, selection, schema, split, folder, parameters.rows_per_shard
            )
        except duckdb.Error as error:
            raise DataError(
                one_line(error), where="sql" if parameters.sql else f"sources.{next(iter(sources))}"
            ) from error
        finally:
            connection.close()
        total = sum(s.rows for s in written.values())
        _check_bad_rows(parameters, rejected, total)
        _check_splits(written, split.expected, parameters)
        _remove(work)
        _write_quarantine(rejected, folder / "quarantine")
        columns = columns_of(schema)
        manifest = DatasetManifest(
            digest=dataset_digest(columns, written),
            columns=columns,
            splits=written,
            sources=dict(sources),
            parameters={**asdict(parameters), "sources": json.loads(sources_to_json(sources))},
            quarantined=len(rejected),
        )
        write_dataset_manifest(folder, manifest)
    dataset = Dataset(output, manifest)
    write_file(preview, preview_page(dataset).encode())
    return dataset


def _connect(work: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "temp_directory": str(work / "spill"),
                "preserve_insertion_order": "true",
                "autoinstall_known_extensions": "false",
            }
        )
    except duckdb.Error as error:
        raise ParameterError(
            "not a size", where="memory_limit", got=memory_limit, expected="such as 4GB"
        ) from error


def _lock(connection: duckdb.DuckDBPyConnection, files: list[Path], work: Path) -> None:
    """Let the user's query read the pinned files and nothing else."""
    allowed = ", ".join("'" + str(f).replace("'", "''") + "'" for f in files) or "''"
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET allowed_directories = ['" + str(work).replace("'", "''") + "/']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _check_bad_rows(parameters: IngestParameters, rejected: list[BadRow], good: int) -> None:
    if not rejected:
        return
    first = rejected[0]
    fraction = len(rejected) / (len(rejected) + good)
    if parameters.on_bad_rows == "fail" or fraction > parameters.max_bad_fraction:
        limit = (
            "none (on_bad_rows is fail)"
            if parameters.on_bad_rows == "fail"
            else f"at most {parameters.max_bad_fraction:.2%} bad rows"
        )
        raise DataError(
            f"{first.reason} ({len(rejected)} bad rows, {fraction:.2%})",
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
                    "column": r.column,
                    "reason": r.reason,
                    "text": r.text,
                }
            )
            for r in rows
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def _remove(work: Path) -> None:
    import shutil

    shutil.rmtree(work)
