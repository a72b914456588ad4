"""Connections to DuckDB whose results depend on no setting of the machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from kfp_suite.components.ingest.query import one_line
from kfp_suite.contracts.errors import DataError, ParameterError
from kfp_suite.contracts.sql import quote_text

# DuckDB also takes a share of the machine's memory, and no limit at all.
_SIZE = re.compile(r"\d+(\.\d+)?\s*[KMGT]i?B", re.IGNORECASE)

_UTC = "SET TimeZone = 'UTC'"
_OUT_OF_MEMORY = "Out of Memory Error"


def check_memory_limit(memory_limit: str) -> None:
    """Raise ParameterError for what is not a size."""
    if not _SIZE.fullmatch(memory_limit.strip()):
        raise ParameterError(
            "not a size", where="memory_limit", got=memory_limit, expected="such as 4GB"
        )


@contextmanager
def connect(
    work: Path, memory_limit: str, file: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that spills to `work` and works in UTC, on all cores.

    Args:
        work: A folder for what does not fit in memory.
        memory_limit: A size, such as 4GB.
        file: A DuckDB file to read. With it, the connection reads that file and nothing else.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "temp_directory": str(work / "spill"),
        "preserve_insertion_order": "true",
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    if file is None:
        # DuckDB plans `x IN (...)` as a join, if the list is long enough, and a join loses the
        # order of the rows. A query has an order of its own, so it may be planned that way.
        config["disabled_optimizers"] = "in_clause"
    connection = duckdb.connect(
        ":memory:" if file is None else str(file), read_only=file is not None, config=config
    )
    try:
        connection.execute(_UTC)
        if file is not None:
            connection.execute(f"SET allowed_directories = [{quote_text(f'{work}/')}]")
            connection.execute("SET enable_external_access = false")
        yield connection
    finally:
        connection.close()


@contextmanager
def connect_again(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A second connection to the same database, for queries while the first one is busy."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(_UTC)
        yield cursor


@contextmanager
def query_errors(where: str, memory_limit: str) -> Iterator[None]:
    """Turn what DuckDB says into one line about `where`."""
    try:
        yield
    except duckdb.Error as error:
        message = one_line(error)
        if message.startswith(_OUT_OF_MEMORY):
            raise DataError(
                "it needs more memory than it may have",
                where=where,
                expected=f"at most {memory_limit} (memory_limit)",
                fix="raise memory_limit, or select fewer columns and rows",
            ) from error
        raise DataError(message, where=where) from error


@contextmanager
def time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """End what `connection` does when it takes longer than `seconds`.

    Raises:
        ParameterError: it took longer.
    """
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        connection.interrupt()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except duckdb.Error as error:
        if not is_over.is_set():
            raise
        raise ParameterError(
            "the query did not end in time",
            where="sql",
            expected=f"at most {seconds} seconds (max_query_seconds)",
            fix="give its recursion an end and its joins a condition, or raise max_query_seconds",
        ) from error
    finally:
        timer.cancel()
