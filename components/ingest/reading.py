"""Files of a source as a view of typed columns; whatever is wrong with them is found first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from kfp_suite.components.ingest.bad_rows import BadRow
from kfp_suite.components.ingest.csv_files import add_csv_view, read_csv_once
from kfp_suite.components.ingest.expected_rows import ExpectedRows
from kfp_suite.components.ingest.json_lines import add_json_view
from kfp_suite.components.ingest.parquet_files import add_parquet_view
from kfp_suite.components.ingest.query import one_line
from kfp_suite.components.ingest.source_files import SourceFile, source_files
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.sources import Source
from kfp_suite.stores.sources import SourceSpec, check_options, spec_of


def add_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    files: list[Path],
    work: Path,
) -> list[BadRow]:
    """Make the files of a source readable as the view `name`.

    A value of the view is exactly the value in the file. All files were read once when this
    returns: types are decided by all rows, and every bad row is known.

    Args:
        connection: Where the view is created.
        name: The source's name.
        source: The pinned source.
        files: A local file for each of its objects.
        work: A folder for what must be unpacked.

    Returns:
        The rows that the view does not have.

    Raises:
        DataError: a file that cannot be read, columns that differ or cannot keep their names,
            or values for which a type must be declared.
    """
    spec, plain = _prepared(name, source, files, work)
    with _errors(name, plain):
        match source.format:
            case "parquet":
                return add_parquet_view(connection, name, spec, plain)
            case "jsonl":
                return add_json_view(connection, name, spec, plain, work)
        return add_csv_view(connection, name, spec, plain, work)


@contextmanager
def read_source_once(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    files: list[Path],
    work: Path,
) -> Iterator[ExpectedRows | None]:
    """The rows of a source for one reading, or None if the format is not CSV.

    Raises:
        UnexpectedRowsError: see `read_rows_once`; `add_view` reads the rows.
        DataError: as `add_view`.
    """
    if source.format != "csv":
        yield None
        return
    spec, plain = _prepared(name, source, files, work)
    with read_csv_once(connection, name, spec, plain) as rows:
        yield rows


def _prepared(
    name: str, source: Source, files: list[Path], work: Path
) -> tuple[SourceSpec, list[SourceFile]]:
    spec = spec_of(source)
    check_options(spec, source.format, f"sources.{name}")
    return spec, source_files(name, source, spec, files, work)


@contextmanager
def _errors(name: str, files: list[SourceFile]) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise DataError(one_line(error), where=f"sources.{name}: {files[0].name}") from error
