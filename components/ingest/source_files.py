"""The files of a source as readers take them: unpacked, in UTF-8, and what they are said to be."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import pyarrow as pa

from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.sources import Source
from kfp_suite.stores.sources import SourceSpec

_BLOCK = 1 << 20
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# The first bytes of what is often found under a name that ends in .csv, and what to do.
_NOT_TABLES: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "git lfs pull"),
    (b"<!doctype html", "an HTML page", "download the file itself; a link may need a login"),
    (b"<html", "an HTML page", "download the file itself; a link may need a login"),
    (b"<?xml", "an XML file", "convert it to CSV, JSON Lines or Parquet"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save it as CSV"),
    (b"%pdf", "a PDF", "export its table as CSV"),
    (b"sqlite format 3", "a SQLite database", "export the table as CSV or Parquet"),
)


@dataclass(frozen=True)
class SourceFile:
    """A file to read.

    Attributes:
        path: Where its bytes are; gzipped if the name ends in .gz.
        name: What the user knows it by: a path, a URI, or a member of an archive.
    """

    path: Path
    name: str

    def open(self) -> BinaryIO:
        """Its bytes, unpacked."""
        return gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")  # type: ignore[return-value]

    def pattern(self) -> str:
        """Its path for DuckDB, which takes paths as patterns."""
        return re.sub(r"([\[*?])", r"[\1]", str(self.path))


def source_files(
    name: str, source: Source, spec: SourceSpec, files: list[Path], work: Path
) -> list[SourceFile]:
    """The files to read, in order.

    Archives are unpacked and other encodings converted below `work`, under numbers: no name
    in an archive, and no two archives of one name, can meet there.

    Args:
        name: The source's name.
        source: The pinned source.
        spec: How to read it.
        files: A local file for each of the source's objects.
        work: A folder for what must be unpacked.

    Raises:
        DataError: an empty, damaged or encrypted file, or one of another kind.
    """
    folder = work / f"{name}.files"
    found = []
    for number, (path, pinned) in enumerate(zip(files, source.objects, strict=True)):
        if path.stat().st_size == 0:
            raise DataError("the file is empty", where=f"sources.{name}: {pinned.uri}")
        file = SourceFile(path, pinned.uri)
        target = folder / f"{number:05}"
        with _damage(name, file):
            parts = _members(name, file, target) if _begins(file, _ZIP) else [file]
        for part_number, part in enumerate(parts):
            with _damage(name, part):
                plain = _unpack(part, target / f"{part_number:05}.data", source.format)
            if source.format != "parquet":
                _check_kind(name, plain, spec)
            if source.format == "csv" and spec.encoding != "utf-8":
                plain = _in_utf_8(name, plain, spec, target / f"{part_number:05}.utf8")
            found.append(plain)
    return found


def _begins(file: SourceFile, magic: bytes) -> bool:
    with file.path.open("rb") as content:
        return content.read(len(magic)) == magic


@contextmanager
def _damage(name: str, file: SourceFile) -> Iterator[None]:
    """Turn what the readers of archives raise into one line."""
    try:
        yield
    except (EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as e:
        # RuntimeError: an encrypted archive, or a method of compression that Python has not.
        raise DataError(
            "not a whole archive",
            where=f"sources.{name}: {file.name}",
            got=str(e),
            fix="write it again, unencrypted",
        ) from e


def _members(name: str, file: SourceFile, folder: Path) -> list[SourceFile]:
    """The files in a zip archive, extracted."""
    found = []
    with zipfile.ZipFile(file.path) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
        if any(entry.filename == "[Content_Types].xml" for entry in entries):
            raise DataError(
                "an Excel workbook", where=f"sources.{name}: {file.name}", fix="save it as CSV"
            )
        for number, entry in enumerate(entries):
            if entry.is_dir() or entry.filename.startswith("__MACOSX"):
                continue
            suffix = ".gz" if entry.filename.endswith(".gz") else ".member"
            target = folder / f"member-{number:05}{suffix}"
            with archive.open(entry) as content:
                _write(content, target)
            if not entry.file_size:
                raise DataError(
                    "the file is empty", where=f"sources.{name}: {file.name}/{entry.filename}"
                )
            found.append(SourceFile(target, f"{file.name}/{entry.filename}"))
    if not found:
        raise DataError("the archive is empty", where=f"sources.{name}: {file.name}")
    return found


def _unpack(file: SourceFile, target: Path, file_format: str) -> SourceFile:
    """The file without compression, or gzipped under a name that says so."""
    named_gzip = file.path.suffix == ".gz"
    if named_gzip and file_format != "parquet":
        with gzip.open(file.path) as content:  # whole, before anything is read from it
            while content.read(_BLOCK):
                pass
        return file
    kind = next((kind for magic, kind in _OTHERS.items() if _begins(file, magic)), None)
    if named_gzip or _begins(file, _GZIP):
        kind = "gzip"
    if kind is None:
        return file
    with _open_decompressed(file.path, kind) as content:
        _write(content, target)
    return SourceFile(target, file.name)


def _open_decompressed(path: Path, kind: str) -> IO[bytes]:
    match kind:
        case "gzip":
            return gzip.open(path)  # type: ignore[return-value]
        case "bzip2":
            return bz2.open(path)
        case "xz":
            return lzma.open(path)
    return pa.input_stream(str(path), compression="zstd")  # type: ignore[no-any-return]


def _write(content: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while block := content.read(_BLOCK):
            file.write(block)


def _check_kind(name: str, file: SourceFile, spec: SourceSpec) -> None:
    """Name the files that are no table, and those in another encoding."""
    with file.open() as content:
        first = content.read(512)
    where = f"sources.{name}: {file.name}"
    if not first:
        raise DataError("the file is empty", where=where)
    if first.startswith(_UTF_16) and not spec.encoding.lower().startswith(("utf-16", "utf_16")):
        raise DataError(
            "not utf-8", where=where, got="utf-16", fix=f"sources.{name}.encoding: utf-16"
        )
    if first.startswith(b"PAR1"):
        raise DataError("a Parquet file", where=where, fix=f"sources.{name}.format: parquet")
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, kind, fix in _NOT_TABLES:
        if text.startswith(magic):
            raise DataError(kind, where=where, expected="a table", fix=fix)


def _in_utf_8(name: str, file: SourceFile, spec: SourceSpec, target: Path) -> SourceFile:
    """A copy of the file in UTF-8; line ends stay as they are."""
    decoder = codecs.getincrementaldecoder(spec.encoding)()
    target.parent.mkdir(parents=True, exist_ok=True)
    line = 1
    try:
        with file.open() as content, target.open("wb") as written:
            while block := content.read(_BLOCK):
                text = decoder.decode(block)
                line += text.count("\n")
                written.write(text.encode())
            written.write(decoder.decode(b"", final=True).encode())
    except UnicodeError as error:
        raise DataError(
            f"not {spec.encoding}",
            where=f"{file.name}: after line {line}",
            got=str(error),
            fix=f"give the file's encoding: sources.{name}.encoding",
        ) from error
    return SourceFile(target, file.name)
