"""A database's rows, kept as a file: what a database says tomorrow is not what it said today.

A snapshot is the rows of one query in a fixed order, as one Parquet file in the store of
the models, named by its content: the same rows are the same file. So a cached step stays
cached until a row changes, and a model can be made again when the table has moved on.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from kfp_suite.contracts.digests import PREFIX, digest_file
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    DataError,
    MissingError,
    ParameterError,
    TransientError,
)
from kfp_suite.contracts.sources import SourceObject
from kfp_suite.contracts.sql import quote_name
from kfp_suite.stores.store import open_store

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMES = ("postgresql", "postgres")
SNAPSHOTS = "_sources"
"""The folder of a store that holds snapshots; no model can have its name."""
_ROW_GROUP_ROWS = 131_072
_CONNECT_SECONDS = "10"
_SAID = "ERROR: "  # how PostgreSQL begins what it says of a query
# Types that Arrow has no plain type for, to one that the database casts them to.
_CASTS = {"numeric": "float8", "uuid": "text", "json": "text", "jsonb": "text", "bpchar": "text"}
_READ_ONLY = "-c default_transaction_read_only=on"
# The text of a value depends on no setting of the server, the role, the URI or, as PGTZ and
# PGDATESTYLE, the machine: the environment comes after options, and SET after that.
_SETTINGS = (
    "TimeZone = 'UTC'",
    "DateStyle = ISO",
    "IntervalStyle = postgres",
    "extra_float_digits = 1",
)


def is_database(uri: str) -> bool:
    """Whether a source's URI names a database."""
    return uri.partition("://")[0] in SCHEMES


def snapshot(uri: str, query: str, store: str, where: str) -> SourceObject:
    """Read the rows of `query` now, and keep them in `store`.

    The transaction is read-only, and one moment's view of the database.

    Args:
        uri: `postgresql://[user@]host[:port]/database[?libpq-option=…]`, without a password.
        query: One SELECT, in the database's own dialect.
        store: Where the file is kept: a folder, `gs://…` or `s3://…`.
        where: The parameter, for errors.

    Raises:
        ParameterError: a password in the URI, no query, or no store.
        MissingError: the database refuses the user, or is not there.
        DataError: the query fails.
        TransientError: no connection.
    """
    _check(uri, query, store, where)
    with tempfile.TemporaryDirectory(prefix="kfp-suite-snapshot-") as scratch:
        file = Path(scratch) / "rows.parquet"
        with _connect(uri, where) as cursor, _one_line_errors(where):
            cursor.execute(f"SELECT * FROM ({query}\n) AS source LIMIT 0")  # noqa: S608 - the user's own
            empty = cursor.fetch_arrow_table()
            _check_names(empty.schema.names, f"{where}.query")
            numerics = [f.name for f in empty.schema if _type_of(f) == "numeric"]
            columns = ", ".join(
                [_select_column(f) for f in empty.schema] + _select_inexact(numerics)
            )
            cursor.execute(f"SELECT {columns} FROM ({query}\n) AS source")  # noqa: S608
            rows = _ExactRows(cursor.fetch_record_batch(), numerics)
            _write(rows.reader(), file, Path(scratch))
            rows.check(f"{where}.query")
        digest = digest_file(file)
        name = f"{SNAPSHOTS}/{digest.removeprefix(PREFIX)}.parquet"
        kept = open_store(store)
        with contextlib.suppress(AlreadyExistsError):
            kept.create(name, file)
        info = kept.stat(name)
    return SourceObject(f"{kept.uri}/{name}", info.bytes, digest, info.generation)


def check_no_password(uri: str, where: str) -> None:
    """Raises ParameterError, which never shows the URI, if it contains a password.

    Args:
        uri: Of any scheme.
        where: The parameter, for errors.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:  # such as an open bracket in the host
        raise ParameterError(f"not a URI: {error}", where=where) from error
    if parts.password or any(key == "password" for key, _ in parse_qsl(parts.query)):
        raise ParameterError(
            "a password in a parameter is recorded with the run",
            where=where,
            fix="leave it out, and set PGPASSWORD or PGPASSFILE in the step's environment",
        )


def _check(uri: str, query: str, store: str, where: str) -> None:
    check_no_password(uri, f"{where}.uri")
    if not query.strip():
        raise ParameterError(
            "a database needs a query", where=f"{where}.query", expected="one SELECT"
        )
    if not store:
        raise ParameterError(
            "a database source needs a place to keep its rows",
            where=where,
            fix="give the parameter `store`",
        )


@contextlib.contextmanager
def _connect(uri: str, where: str) -> Iterator[Any]:
    from adbc_driver_manager import Error
    from adbc_driver_postgresql import dbapi

    parts = urlsplit(uri)
    given = dict(parse_qsl(parts.query))
    options = {
        "connect_timeout": _CONNECT_SECONDS,
        **given,
        "options": f"{given.get('options', '')} {_READ_ONLY}".strip(),  # the last of two counts
    }
    query = urlencode(options).replace("+", "%20")
    try:
        connection = dbapi.connect(parts._replace(query=query).geturl())
    except Error as error:
        message = _words(error)
        if "FATAL: " in str(error) or "no password supplied" in message:
            raise MissingError(
                "the database refused the connection",
                where=f"{where}.uri",
                got=message,
                fix="check the user, the database's name, PGPASSWORD or PGPASSFILE",
            ) from error
        raise TransientError("no connection", where=f"{where}.uri", got=message) from error
    with connection, connection.cursor() as cursor:
        for setting in _SETTINGS:
            cursor.execute(f"SET {setting}")
        yield cursor


@contextlib.contextmanager
def _one_line_errors(where: str) -> Iterator[None]:
    import duckdb
    from adbc_driver_manager import Error

    try:
        yield
    except (Error, duckdb.Error) as error:  # DuckDB's where the rows are being read
        if _SAID not in str(error):
            raise TransientError("the connection broke", where=where, got=_words(error)) from error
        raise DataError("the query failed", where=f"{where}.query", got=_words(error)) from error


def _words(error: Exception) -> str:
    """The database's own message, without what the driver wraps it in."""
    text = str(error).partition("\n\nQuery was:")[0].partition("\nLINE ")[0]
    for opening in (_SAID, "FATAL: ", "[libpq] Failed to connect: "):
        text = text.partition(opening)[2] or text
    return " ".join(text.split())


def _check_names(names: list[str], where: str) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            "two columns of one name", where=where, got=twice[0], fix="rename one in the query"
        )


def _type_of(field: pa.Field) -> str:
    kind: bytes = (field.metadata or {}).get(b"POSTGRESQL:type", b"")
    return kind.decode()


def _select_column(field: pa.Field) -> str:
    kind, name = _type_of(field), quote_name(field.name)
    return f"{name}::{_CASTS[kind]} AS {name}" if kind in _CASTS else name


def _select_inexact(numerics: list[str]) -> list[str]:
    """A column for each one of type numeric: the text of what float8 does not hold."""
    return [
        f"CASE WHEN {name}::float8::text::numeric <> {name} THEN {name}::text END"
        for name in map(quote_name, numerics)
    ]


class _ExactRows:
    """Rows whose last columns are those of `_select_inexact`, up to the first value there."""

    def __init__(self, rows: pa.RecordBatchReader, numerics: list[str]) -> None:
        self._rows, self._numerics = rows, numerics
        self._found: tuple[str, str] | None = None

    def reader(self) -> pa.RecordBatchReader:
        """The rows without those columns."""
        import pyarrow as pa

        fields = list(self._rows.schema)
        schema = pa.schema(fields[: len(fields) - len(self._numerics)])
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def check(self, where: str) -> None:
        """Raise DataError for a value that was met and is not exact."""
        if self._found is None:
            return
        column, value = self._found
        raise DataError(
            f"the value of '{column}' is not exact as float64",
            where=where,
            got=value,
            fix=f"say in the query what may be lost, {quote_name(column)}::float8, or keep all of "
            "it: ::bigint for whole numbers, ::text for others",
        )

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in self._rows:
            columns = batch.columns[len(schema) :]
            for name, texts in zip(self._numerics, columns, strict=True):
                if texts.null_count < len(texts):
                    self._found = (name, texts.drop_null()[0].as_py())
                    return  # an exception would be DuckDB's, which is the reader
            yield pa.RecordBatch.from_arrays(batch.columns[: len(schema)], schema=schema)


def _write(rows: pa.RecordBatchReader, file: Path, scratch: Path) -> None:
    """Write `rows`, ordered by all columns: a query without an order gives another each time."""
    import duckdb
    import pyarrow.parquet as pq

    with duckdb.connect(config={"temp_directory": str(scratch)}) as connection:
        # The zone is written with the column, and is the machine's otherwise.
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", rows)
        ordered = connection.sql("SELECT * FROM rows ORDER BY ALL")
        reader = ordered.to_arrow_reader(_ROW_GROUP_ROWS)
        with pq.ParquetWriter(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
