"""Named sources of data: what a user writes, what exactly it names today, and its files.

A source is mutable (a path, a pattern, a folder of a bucket); `pin` says which objects it
names now and what they hold, and `materialize` gives exactly those bytes or an error.
"""

from __future__ import annotations

import codecs
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import ConfigDict

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.digests import digest_file, digest_value
from kfp_suite.contracts.errors import (
    IntegrityError,
    MissingError,
    ParameterError,
)
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.sources import Source, SourceObject
from kfp_suite.stores.databases import check_no_password, is_database, snapshot
from kfp_suite.stores.matching import (
    EVERYTHING,
    check_link,
    convert_read_errors,
    find_files,
    fixed_prefix,
    matching_names,
    split_pattern,
)
from kfp_suite.stores.store import open_store

PACKAGE = "package://"
REMOTE = ("gs://", "s3://", "minio://")
Format = Literal["csv", "jsonl", "parquet"]
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSION = (".gz", ".zip", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user writes it.

    Attributes:
        uri: A path, a pattern, a folder, `package://NAME/path` (a file of an installed
            package), `gs://…`, `s3://…`, or a database as
            `postgresql://user@host:5432/name`, its password in PGPASSWORD or PGPASSFILE. Of a
            pattern, `*` and `?` stay within a name and `**` is any number of folders, also in
            a bucket. Names below a folder that begin with `.` or `_` are left out.
        query: Of a database: one SELECT in its own dialect.
        format: csv, jsonl or parquet; inferred from the files' names if not given.
        delimiter: Of CSV: one character; found if not given.
        header: Of CSV: whether a file starts with the column names.
        encoding: Of CSV: utf-8, utf-16, cp1252, latin-1 or another that Python knows.
        null_values: Of CSV: texts that mean a missing value, quoted or not, beside the empty
            one.
        types: Column name to type, if another than the inferred one is right. A value that
            is not exactly of that type makes its row a bad one.
        quote: Of CSV: the character around values, or empty for none.
        escape: Of CSV: the character before a quote within quotes; a doubled quote if not
            given.
        formats: Of CSV and JSON: column name to the format of its dates or times, as strptime
            takes it: `%d/%m/%Y`. Others are read only as ISO 8601.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    uri: str
    query: str = ""
    format: Format | None = None
    delimiter: str | None = None
    header: bool = True
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ()
    types: dict[str, ColumnType] = field(default_factory=dict)
    quote: str = '"'
    escape: str | None = None
    formats: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for option in ("delimiter", "quote", "escape"):
            text = getattr(self, option)
            if text is not None and (len(text) > 1 or (option == "delimiter" and not text)):
                raise ParameterError(
                    "not one character",
                    where=option,
                    got=text,
                    fix=f'in YAML a tab is "\\t", in double quotes: {option}: "\\t"',
                )
            if text in ("\n", "\r"):
                raise ParameterError("a line end", where=option, expected="another character")
        if self.quote and self.quote == self.delimiter:
            raise ParameterError("the delimiter and the quote are one", where="quote")
        try:
            is_text = codecs.lookup(self.encoding)._is_text_encoding
        except (LookupError, ValueError):
            is_text = False
        if not is_text:
            raise ParameterError(
                "not an encoding",
                where="encoding",
                got=self.encoding,
                expected="utf-8, utf-16, cp1252, latin-1 or another that Python knows",
            )
        for column, text in self.formats.items():
            if self.types.get(column, "date") not in ("date", "timestamp"):
                raise ParameterError(
                    "a format makes a date or a timestamp",
                    where=f"types.{column}",
                    got=self.types[column],
                )
            if "%" not in text:
                raise ParameterError(
                    "not a format", where=f"formats.{column}", got=text, expected="%d/%m/%Y"
                )


_OPTIONS: Mapping[str, frozenset[str]] = {
    "csv": frozenset(
        ("delimiter", "header", "encoding", "null_values", "types", "quote", "escape", "formats")
    ),
    "jsonl": frozenset(("types", "formats")),
    "parquet": frozenset(("types",)),
}
# Younger options change the digest of a source only if they are given.
_YOUNGER_OPTIONS = ("quote", "escape", "formats")


def check_options(spec: SourceSpec, file_format: str, where: str) -> None:
    """Refuse the options that a format does not have.

    Raises:
        ParameterError: naming the option.
    """
    plain = asdict(SourceSpec(spec.uri))
    for option, given in asdict(spec).items():
        if option in ("uri", "query", "format") or given == plain[option]:
            continue
        if option not in _OPTIONS[file_format]:
            raise ParameterError(
                f"{file_format} has no {option}",
                where=f"{where}.{option}",
                got=given,
                expected=f"one of {', '.join(sorted(_OPTIONS[file_format]))}",
            )


def parse_sources(sources: Mapping[str, Any]) -> dict[str, SourceSpec]:
    """The sources parameter: a name to a URI, or to a mapping with a `uri`.

    Raises:
        ParameterError: a name that SQL cannot use, an unknown key, or a password in a URI, which
            the run's record and Kubeflow would show.
    """
    if not sources:
        raise ParameterError("no source", where="sources", expected="a name and a URI")
    parsed = {}
    in_lower_case: dict[str, str] = {}
    for name, value in sources.items():
        if not name.isidentifier():
            raise ParameterError(
                "not a source name",
                where="sources",
                got=name,
                expected="letters, digits and '_', as SQL names a table",
            )
        other = in_lower_case.setdefault(name.lower(), name)
        if other != name:
            raise ParameterError(
                "two names that SQL takes for one", where="sources", got=f"{other}, {name}"
            )
        spec = {"uri": value} if isinstance(value, str) else value
        parsed[name] = parse(SourceSpec, spec, f"sources.{name}")
        if not parsed[name].uri.strip():
            raise ParameterError(
                "no URI",
                where=f"sources.{name}.uri",
                expected="a path, gs://…, s3://… or a database",
            )
        if "://" in parsed[name].uri:
            check_no_password(parsed[name].uri, f"sources.{name}.uri")
    return parsed


def pin(name: str, spec: SourceSpec, store: str = "") -> Source:
    """Which objects the source names now, and what they hold.

    The source's digest covers the objects' content (local files) or generations (stores)
    and how they are read; not their paths.

    Args:
        name: The source's name.
        spec: What the user wrote.
        store: Where the rows of a database are kept.

    Raises:
        MissingError: it names no object.
        ParameterError: the format does not follow from the names.
        As `databases.snapshot`.
    """
    where = f"sources.{name}"
    if is_database(spec.uri):
        objects: tuple[SourceObject, ...] = (snapshot(spec.uri, spec.query, store, where),)
    elif spec.query:
        raise ParameterError("files have no query", where=f"{where}.query", fix="use `sql`")
    elif spec.uri.startswith(REMOTE):
        objects = _remote(spec.uri, where)
    else:
        objects = _local(spec.uri, where)
    file_format = spec.format or _format(objects, where)
    check_options(spec, file_format, where)
    plain = asdict(SourceSpec(spec.uri))
    options = {
        option: given
        for option, given in asdict(spec).items()
        if option not in ("uri", "format")
        and (option not in _YOUNGER_OPTIONS or given != plain[option])
    }
    reading = {k: v for k, v in options.items() if k != "query"}
    content = [[o.digest, o.generation, o.bytes] for o in objects]
    digest = digest_value({"format": file_format, "options": reading, "objects": content})
    return Source(spec.uri, file_format, digest, objects, options)


def spec_of(source: Source) -> SourceSpec:
    """The spec that a pinned source came from."""
    return parse(
        SourceSpec, {"uri": source.uri, "format": source.format, **source.options}, source.uri
    )


def sources_to_json(sources: Mapping[str, Source]) -> str:
    """Pinned sources as the text that KFP passes from step to step."""
    return json.dumps({name: asdict(source) for name, source in sources.items()}, sort_keys=True)


def sources_from_json(text: str) -> dict[str, Source]:
    """Pinned sources from that text.

    Raises:
        ParameterError: it is not what resolve writes.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ParameterError(
            "not pinned sources", where="sources", got=text, fix="pass resolve's output `sources`"
        ) from error
    return {name: parse(Source, source, f"sources.{name}") for name, source in dict(value).items()}


def materialize(name: str, source: Source, folder: Path) -> list[Path]:
    """Local files with exactly the pinned bytes, in order; remote ones are copied to `folder`.

    Raises:
        IntegrityError: a file changed since it was pinned.
        MissingError: an object is gone.
    """
    files = []
    for number, pinned in enumerate(source.objects):
        if pinned.uri.startswith(REMOTE):
            files.append(_copy(pinned, folder / f"{number:05}"))
            continue
        path = Path(pinned.uri)
        digest = digest_file(path)
        if digest != pinned.digest:
            raise IntegrityError(
                "the file changed since it was resolved",
                where=f"sources.{name}: {path}",
                got=digest,
                expected=pinned.digest,
                fix="run the pipeline again; do not edit sources while a run reads them",
            )
        files.append(path)
    return files


def package_path(uri: str, where: str) -> Path:
    """The path of `package://NAME/path`, a file that an installed package ships.

    The package is found, not imported.

    Raises:
        MissingError: the package is not installed, or the path leaves it.
    """
    name, _, inside = uri.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations or ".." in inside.split("/"):
        raise MissingError(
            f"package '{name}' is not installed", where=where, got=uri, fix=f"pip install {name}"
        )
    return Path(next(iter(spec.submodule_search_locations))) / inside


def local_files(uri: str, where: str, base: Path = Path()) -> dict[str, Path]:
    """The files that a local URI names, by a name that is unique among them, in order.

    Links are followed, and a file that is reached twice is there once.

    Raises:
        MissingError: it names none, or a link leads to nothing.
        DataError: a folder that may not be read.
    """
    if not uri.strip():
        raise ParameterError("no path", where=where, expected="a file, a folder or a pattern")
    if not uri.isprintable():
        raise ParameterError("control characters in a path", where=where, got=uri)
    with convert_read_errors(where):
        path = _local_path(uri, where, base)
        if path.is_file():
            return {path.name: path}
        check_link(path, where)
        text = uri.removeprefix("file://")
        folder, pattern = split_pattern(text.rstrip("/"))
        if not folder and text.startswith("/"):
            folder = "/"
        root = _local_path(folder, where, base)
        while len(pattern) > 1 and (root / pattern[0]).is_dir():  # a folder's name has a bracket
            root, pattern = root / pattern[0], pattern[1:]
        found = find_files(*((path, EVERYTHING) if path.is_dir() else (root, pattern)), where)
    if not found:
        raise MissingError("no file matches", where=where, got=uri, fix="check the path")
    return found


def _local_path(uri: str, where: str, base: Path) -> Path:
    if uri.startswith(PACKAGE):
        return package_path(uri, where)
    return base / uri.removeprefix("file://")


def _local(uri: str, where: str) -> tuple[SourceObject, ...]:
    return tuple(
        SourceObject(str(path.absolute()), path.stat().st_size, digest_file(path))
        for path in local_files(uri, where).values()
    )


def _remote(uri: str, where: str) -> tuple[SourceObject, ...]:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    key = key.rstrip("/")
    store = open_store(f"{scheme}://{bucket}")
    listed = {info.name: info for info in store.list(fixed_prefix(key))}
    names = [key] if key in listed else matching_names(listed, key)
    if not names:
        raise MissingError("no object matches", where=where, got=uri, fix="check the URI")
    return tuple(
        SourceObject(
            f"{scheme}://{bucket}/{name}", listed[name].bytes, generation=listed[name].generation
        )
        for name in names
    )


def _copy(pinned: SourceObject, folder: Path) -> Path:
    scheme, _, rest = pinned.uri.partition("://")
    bucket, _, key = rest.partition("/")
    target = folder / key.rsplit("/", 1)[-1]
    folder.mkdir(parents=True, exist_ok=True)
    open_store(f"{scheme}://{bucket}").copy(key, target, pinned.generation)
    return target


def _format(objects: tuple[SourceObject, ...], where: str) -> Format:
    formats = set()
    for item in objects:
        name = item.uri.lower()
        for suffix in _COMPRESSION:
            name = name.removesuffix(suffix)
        formats.add(_SUFFIXES.get(Path(name).suffix))
    if len(formats) != 1 or None in formats:
        raise ParameterError(
            "the format does not follow from the file names",
            where=where,
            got=", ".join(sorted({Path(o.uri).name for o in objects})[:5]),
            fix=f"give `format`: {', '.join(get_args(Format))}",
        )
    (found,) = formats
    assert found is not None
    return found
